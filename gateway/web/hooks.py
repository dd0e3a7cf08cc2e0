"""Hooks are answered with success or not at all: a client that goes on where its hook's answer is an error must be told
no in the hook's own words, whoever refuses: a limit, the authentication, or a gateway that fails.
"""

from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.ingress.claude_code import denied_because

PREFIX: Final = "/v1/hooks/"
_BODY_MAX_BYTES: Final = 65_536
"""Of a refusal's own document."""


class HookMiddleware:
    """Turns every refusal under :data:`PREFIX` into an answer that denies the call."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        refusal: Message | None = None
        begun = False
        body = bytearray()

        async def watch(message: Message) -> None:
            nonlocal refusal, begun
            if message["type"] == "http.response.start":
                begun = True
                refusal = message if message["status"] != 200 else None
            if refusal is None:
                await send(message)
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b"")[: _BODY_MAX_BYTES - len(body)])
                if not message.get("more_body", False):
                    await _deny(refusal, bytes(body), send)

        try:
            await self.app(scope, receive, watch)
        except Exception:
            if not begun:
                await _deny({"headers": []}, b"", send)
            raise


async def _deny(refusal: Message, body: bytes, send: Send) -> None:
    answer = orjson.dumps(denied_because(_why(body)))
    kept = [(name, value) for name, value in refusal["headers"] if name not in {b"content-length", b"content-type"}]
    headers = [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _why(body: bytes) -> str:
    """What a problem document says, as a model may read it."""
    try:
        said: Any = orjson.loads(body)
        return f"{said['code']}: {said['detail']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "gateway.internal: Something went wrong inside the gateway."
