"""What the application is told of a request that came through a declared proxy."""

from typing import Any

from gateway.settings import ServerSettings
from gateway.web.asgi import create_app
from gateway.web.proxies import ProxyMiddleware
from tests.web.fake import testing_only_Gateway

PROXY = "10.0.0.1"


def server(**changed: Any) -> ServerSettings:
    return ServerSettings.model_validate({"trusted_proxies": ["10.0.0.0/24", "2001:db8::1"], **changed})


async def passed(
    peer: str | None, *headers: tuple[str, str], settings: ServerSettings | None = None, **more: Any
) -> dict[str, Any]:
    """The scope as the application gets it."""
    found: dict[str, Any] = {}

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        found.update(scope)

    scope = {
        "type": "http",
        "path": "/v1/plans",
        "scheme": "http",
        "client": None if peer is None else (peer, 1),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "app": create_app(testing_only_Gateway()),  # type: ignore[arg-type]
        **more,
    }

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        found.setdefault("sent", []).append(message)

    await ProxyMiddleware(app, settings or server())(scope, receive, send)
    return found
