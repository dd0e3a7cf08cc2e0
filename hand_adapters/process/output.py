"""What a program left: its standard output as declared, a note of its errors, and the files that it was to write."""

import base64
from codecs import getincrementaldecoder
from typing import Any, Final

from gateway.calls import HandResult, Truncation
from gateway.canonical import parse
from gateway.errors import Refused
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings
from hand_adapters.contract import HandError
from hand_adapters.jail import Completed, Scratch

NOTE_MAX_BYTES: Final = 4096
"""Of the end of standard error that goes along."""


def result(
    status: int, ended: Completed, action: ActionSettings, scratch: Scratch | None, max_bytes: int
) -> HandResult:
    """The result of a program that came to its own end.

    An exit status that is not declared makes an error result, whose ``structured`` is ``{"status": N}`` and whose
    output is taken as far as it is text. The note of standard error is a text block marked ``_meta.stream = "stderr"``;
    it is left out where standard output goes on behind what was kept, and that block is the only one.

    Raises:
        HandError: ``hand.protocol`` (executed): output that is not as declared, a required file that is none;
            ``hand.result_too_large`` (executed).
    """
    if ended.left_out_bytes:
        return _beginning(status, ended, action)
    if status not in action.ok_statuses:
        said = _text_block(ended.stdout.decode("utf-8", "backslashreplace")) if ended.stdout else None
        blocks = [block for block in (said, _note(ended.stderr)) if block is not None]
        return HandResult(tuple(blocks), {"status": status}, is_error=True)
    content, structured = _stdout(ended.stdout, action)
    content += _files(action, scratch, max_bytes)
    note = _note(ended.stderr)
    return HandResult((*content, *((note,) if note else ())), structured)


def _beginning(status: int, ended: Completed, action: ActionSettings) -> HandResult:
    """The result of a program that wrote more than is kept."""
    failed = status not in action.ok_statuses
    try:
        text = getincrementaldecoder("utf-8")("backslashreplace" if failed else "strict").decode(ended.stdout)
    except UnicodeDecodeError:
        raise _protocol("standard output is no UTF-8") from None
    truncated = Truncation(ended.left_out_bytes)
    return HandResult((_text_block(text),), {"status": status} if failed else None, failed, truncated=truncated)


def _stdout(said: bytes, action: ActionSettings) -> tuple[list[dict[str, Any]], Any]:
    if action.stdout == "bytes":
        return ([_blob("stdout", said)] if said else []), None
    try:
        text = said.decode()
    except UnicodeDecodeError:
        raise _protocol("standard output is no UTF-8") from None
    if action.stdout == "text":
        return ([_text_block(text)] if text else []), None
    try:
        return [_text_block(text)], parse(said.strip())
    except Refused as refused:
        raise _protocol(f"standard output: {refused.detail}") from None


def _files(action: ActionSettings, scratch: Scratch | None, max_bytes: int) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for name, file in sorted(action.output_files.items()):
        try:
            content = None if scratch is None else scratch.read(file.name, max_bytes)
        except ValueError:
            raise HandError(Reason.HAND_RESULT_TOO_LARGE, HandFailure.EXECUTED, f"file {name}") from None
        if content is None:
            if file.required:
                raise _protocol(f"no file {name}")
        elif file.content == "bytes":
            blocks.append(_blob(name, content))
        else:
            blocks.append(_text_file(name, content))
    return blocks


def _text_file(name: str, content: bytes) -> dict[str, Any]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _protocol(f"file {name} is no UTF-8") from None
    return {"type": "resource", "resource": {"uri": f"urn:handrail:{name}", "mimeType": "text/plain", "text": text}}


def _blob(name: str, content: bytes) -> dict[str, Any]:
    blob = base64.b64encode(content).decode("ascii")
    uri = f"urn:handrail:{name}"
    return {"type": "resource", "resource": {"uri": uri, "mimeType": "application/octet-stream", "blob": blob}}


def _note(errors: bytes) -> dict[str, Any] | None:
    if not errors:
        return None
    return {**_text_block(errors.decode("utf-8", "backslashreplace")), "_meta": {"stream": "stderr"}}


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _protocol(detail: str) -> HandError:
    return HandError(Reason.HAND_PROTOCOL, HandFailure.EXECUTED, detail)
