"""What the gateway's answers over HTTP mean to a client that speaks stdio: a message, a refusal, or none."""

from collections.abc import Mapping
from typing import Any, Final

import httpx2
from mcp.types import CONNECTION_CLOSED

from gateway.cli.hints import hint_for
from gateway.cli.stdio_messages import NoMessage, RequestId, error, read
from gateway.ingress.mcp.failures import REFUSED
from gateway.safe import safe

ANSWER_MAX_BYTES: Final = 67_108_864
_TOLD_MAX_CHARACTERS: Final = 500

UNKNOWN: Final = "It is not known whether the call was taken: look before you do it again."
SILENT: Final = f"fell silent. {UNKNOWN}"


class Failed(Exception):
    """A request gets no answer from the gateway.

    Attributes:
        code: of JSON-RPC, for the client.
        text: for the client, and for the person who looks at standard error.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Stale(Exception):
    """The gateway did not take what was sent: it knows the session no more, or wants other headers.

    Attributes:
        session: the one that it does not know; ``None`` where it is about headers.
    """

    def __init__(self, session: str | None) -> None:
        super().__init__()
        self.session = session


async def body_of(response: httpx2.Response) -> bytes:
    """The body of an answer. Raises ``Failed``: it is too long."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_MAX_BYTES:
            raise Failed(CONNECTION_CLOSED, f"The answer is longer than {ANSWER_MAX_BYTES} bytes. {UNKNOWN}")
    return bytes(body)


async def refused(response: httpx2.Response, body: bytes | None = None) -> Failed:
    """What an answer without a message means: the gateway's own refusal (RFC 9457), or no gateway."""
    status = response.status_code
    try:
        problem = read(await body_of(response) if body is None else body)
    except NoMessage:
        problem = {}
    code, detail = problem.get("code"), problem.get("why") or problem.get("detail")
    if not isinstance(code, str) or not isinstance(detail, str):
        text = f"HTTP {status} without a message. Is --url that of a Handrail gateway?"
        return Failed(CONNECTION_CLOSED, text)
    hint = hint_for(code, problem)
    return Failed(REFUSED, f"{safe(code)}: {safe(detail)[:_TOLD_MAX_CHARACTERS]} {hint}".strip())


def kind_of(response: httpx2.Response) -> str:
    """The media type of an answer, without parameters."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def with_id(said: Mapping[str, Any], id_: RequestId) -> bytes:
    """An error that the gateway could not give the request's id, with it."""
    found = said["error"] if isinstance(said.get("error"), dict) else {}
    code, text = found.get("code"), found.get("message")
    return error(id_, code if isinstance(code, int) else REFUSED, safe(text)[:_TOLD_MAX_CHARACTERS])
