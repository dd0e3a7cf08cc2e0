"""Every answer that any test gets from the application is held to ``/openapi.json``: status, media type, shape, and for
a refusal the reason too. A shape that only a fake gave is no proof of what the gateway answers.

Applications in processes of their own are not seen.
"""

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import jsonschema_rs
import orjson
import pytest

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_SELF_MADE: Final = frozenset({"/mcp", "/mcp/{hand_id}"})
"""Routes whose answers are MCP's own messages."""
_OTHERS: Final = "/anthropic/"
"""How routes begin whose answers are another API's own, errors too."""

found: Final[list[str]] = []
"""What does not hold, since the last test ended."""


def faults(method: str, route: str | None, status: int, media_type: str, body: bytes) -> list[str]:
    """What of an answer is not as it is described.

    Args:
        route: the route's template; ``None`` where none matched. Pages for people are not described.
        media_type: without parameters; empty where there is no content.
    """
    if route not in _document()["paths"]:
        route = None
    where = f"{method} {route or 'no route of the API'} -> {status}"
    if media_type == _PROBLEM:
        return [f"{where}: {fault}" for fault in _problem(method, route, status, body)]
    if route is None or route in _SELF_MADE or route.startswith(_OTHERS):
        return []
    answer = _described(method, route).get(str(status))
    if answer is None:
        return [f"{where}: a status that is not described"]
    content = answer.get("content", {})
    if method == "HEAD" or (not content and not body):
        return []
    if media_type not in content:
        return [f"{where}: {media_type or 'nothing'}, and {', '.join(content) or 'nothing'} is described"]
    return [f"{where}: {fault}" for fault in _off(content[media_type]["schema"], body)] if media_type == _JSON else []


def _problem(method: str, route: str | None, status: int, body: bytes) -> list[str]:
    off = _off({"$ref": "#/components/schemas/ProblemDocument"}, body)
    if off or route is None:
        return off
    code, described = orjson.loads(body)["code"], _described(method, route)
    if not described and status == 405:
        return []
    reasons = described.get(str(status), {}).get("description", "")
    return [] if f"`{code}`" in reasons or _is_an_answer(described, status) else [f"{code} is not described"]


def _is_an_answer(described: dict[str, Any], status: int) -> bool:
    """Whether the status is one of the route's good answers too: then the description has no room for reasons."""
    return _PROBLEM not in described.get(str(status), {}).get("content", {_PROBLEM: {}})


def _off(schema: dict[str, Any], body: bytes) -> list[str]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ["not JSON"]
    return [
        f"/{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in _checker(orjson.dumps(schema)).iter_errors(value)
    ]


@cache
def _document() -> dict[str, Any]:
    from gateway.web.openapi import openapi
    from gateway.web.routes import TABLE

    return openapi(TABLE, "1", "http://127.0.0.1")


@cache
def _checker(schema: bytes) -> Any:
    whole = {**orjson.loads(schema), "components": _document()["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def _described(method: str, route: str) -> dict[str, Any]:
    item = _document()["paths"].get(route, {})
    return dict(item.get("get" if method == "HEAD" else method.lower(), {}).get("responses", {}))


def _watch(application: type) -> None:
    """Have every application note what it answers."""
    from gateway.web.context import ROUTE

    serve = application.__call__

    async def noting(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not hasattr(self.state, "openapi"):
            await serve(self, scope, receive, send)
            return
        start: dict[str, Any] = {}
        body = bytearray()

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                kind = _media_type(start)
                if kind in {_JSON, _PROBLEM}:
                    body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    found.extend(faults(scope["method"], scope.get(ROUTE), start["status"], kind, bytes(body)))
            await send(message)

        await serve(self, scope, receive, sending)

    application.__call__ = noting  # type: ignore[method-assign]


def _media_type(start: dict[str, Any]) -> str:
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-type":
            return str(value.decode("latin-1").partition(";")[0].strip())
    return ""


@pytest.fixture(scope="session", autouse=True)
def _watched_applications() -> None:
    if "gateway.web.asgi" in sys.modules:  # no test of this run makes an application otherwise
        from starlette.applications import Starlette

        _watch(Starlette)


@pytest.fixture(autouse=True)
def _answers_are_as_described(_watched_applications: None) -> Iterator[None]:
    found.clear()
    yield
    assert found == [], "answers that are not as /openapi.json says"
