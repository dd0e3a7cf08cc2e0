"""One line asked, one line answered, with a jailed process of ours: bounded, and strict JSON."""

from typing import Any

from gateway.canonical import parse
from gateway.errors import Refused
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from hand_adapters.jail import JailedProcess


async def ask(process: JailedProcess, question: bytes, max_bytes: int, failure: HandFailure) -> dict[str, Any]:
    """Send ``question`` as it is and read the line that answers it.

    Args:
        max_bytes: of the answer.
        failure: what is known where no answer comes.

    Raises:
        HandError: ``hand.crashed``, ``hand.protocol`` or ``hand.result_too_large``.
    """
    try:
        process.stdin.write(question)
        await process.stdin.drain()
    except (OSError, RuntimeError):
        raise HandError(Reason.HAND_CRASHED, failure, "its input is closed") from None
    return await answer(process, max_bytes, failure)


async def answer(process: JailedProcess, max_bytes: int, failure: HandFailure) -> dict[str, Any]:
    """Read one line. Raises as :func:`ask` does."""
    buffer = bytearray()
    while not buffer.endswith(b"\n"):
        chunk = await process.stdout.read(65_536)
        if not chunk:
            raise HandError(Reason.HAND_CRASHED, failure, "half a line" if buffer else "end of output")
        buffer += chunk
        if len(buffer) > max_bytes + 1:
            raise HandError(Reason.HAND_RESULT_TOO_LARGE, failure, "answer")
    try:
        said = parse(bytes(buffer[:-1]))
    except Refused as refused:
        raise HandError(Reason.HAND_PROTOCOL, failure, refused.detail) from None
    if not isinstance(said, dict):
        raise HandError(Reason.HAND_PROTOCOL, failure, "no object")
    return said


def last_words(process: JailedProcess) -> str:
    """The last line that a process wrote to its standard error, made harmless. For what happens before any call: after
    one it may hold somebody's data."""
    lines = process.stderr_tail().decode("utf-8", errors="replace").strip().splitlines()
    return "".join(character for character in lines[-1] if character.isprintable())[:300] if lines else ""
