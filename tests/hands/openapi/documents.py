"""OpenAPI documents for tests, small and valid unless a test makes them otherwise."""

from typing import Any

from hand_adapters.http.openapi.document import Document, Operation
from hand_adapters.http.openapi.offers import Offer, offer

BASE = "https://api.example/v1"


def root(paths: dict[str, Any] | None = None, *, version: str = "3.1.1", **more: Any) -> dict[str, Any]:
    return {"openapi": version, "info": {"title": "T", "version": "1"}, "paths": paths or {}, **more}


def operation(**more: Any) -> dict[str, Any]:
    return {"responses": {"204": {"description": "done"}}, **more}


def parameter(name: str, place: str = "query", schema: Any = None, **more: Any) -> dict[str, Any]:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "schema": schema or {"type": "string"}, **required, **more}


def body(schema: Any, media: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"content": {media: {"schema": schema, **more}}, "required": True}


def answers(schema: Any, status: str = "200") -> dict[str, Any]:
    return {status: {"description": "yes", "content": {"application/json": {"schema": schema}}}}


def schemas(**named: Any) -> dict[str, Any]:
    return {"components": {"schemas": named}}


def only(document: Document) -> Operation:
    [found] = document.operations
    return found


def offered(path: str = "/x", method: str = "get", *, version: str = "3.1.1", node: Any = None, **more: Any) -> Offer:
    """The offer of a document with one operation."""
    document = Document(root({path: {method: node or operation()}}, version=version, **more))
    return offer(document, only(document), BASE, ())
