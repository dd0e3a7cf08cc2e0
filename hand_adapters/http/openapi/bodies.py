"""Request bodies of an operation: which media type is sent, and what its schema is."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hand_adapters.http.openapi.document import Document, Operation
from hand_adapters.http.openapi.reading import DocumentError


class BodyKind(StrEnum):
    """How a body is written."""

    JSON = "json"
    FORM = "form"
    MULTIPART = "multipart"
    TEXT = "text"
    BINARY = "binary"


_KINDS: Final = {
    "application/json": BodyKind.JSON,
    "application/x-www-form-urlencoded": BodyKind.FORM,
    "multipart/form-data": BodyKind.MULTIPART,
    "text/plain": BodyKind.TEXT,
    "application/octet-stream": BodyKind.BINARY,
}
_ORDER: Final = tuple(BodyKind)
"""Which is taken of several: the first that is offered."""
_IN_TURN: Final = frozenset({"itemSchema", "itemEncoding", "prefixEncoding"})
"""Members of a media type that describe it item by item (OpenAPI 3.2.0 section 4.14)."""
_NO_BODY: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Body:
    """The body that an agent may fill.

    Attributes:
        schema: its schema object, untranslated, and ``at`` where it stands.
        deep: members of a form that are written as ``member[name]=value`` (``deepObject``).
        files: members of a form that are files: their args are base64.
    """

    kind: BodyKind
    media: str
    required: bool
    schema: Any
    at: str
    deep: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    def document(self) -> dict[str, Any]:
        """As a manifest shows it."""
        return {
            "media": self.media,
            **({"deepObject": sorted(self.deep)} if self.deep else {}),
            **({"files": sorted(self.files)} if self.files else {}),
        }


def body(document: Document, operation: Operation) -> Body | None:
    """The body of an operation, or ``None`` where it has none.

    Raises:
        DocumentError: a body that cannot be sent.
    """
    if "requestBody" not in operation.node:
        return None
    node, at = document.mapping(operation.node["requestBody"], f"{operation.at}/requestBody")
    required = node.get("required") is True
    if operation.method in _NO_BODY:
        if required:
            raise DocumentError(at, f"{operation.method} has no body", "Choose another operation.")
        return None
    content, inner = document.mapping(node.get("content"), f"{at}/content")
    chosen = sorted((_ORDER.index(kind), name) for name in content if (kind := _kind(name)) is not None)
    if not chosen:
        offered = ", ".join(sorted(content)) or "nothing"
        raise DocumentError(inner, f"{offered} cannot be written", "Choose an operation that takes JSON or a form.")
    name = chosen[0][1]
    kind = _ORDER[chosen[0][0]]
    media, place = document.mapping(content[name], f"{inner}/{name.replace('/', '~1')}")
    if in_turn := sorted(_IN_TURN & media.keys()):
        raise DocumentError(f"{place}/{in_turn[0]}", "items in turn cannot be written", "Choose another operation.")
    schema, where = media.get("schema", True), f"{place}/schema"
    if kind is BodyKind.TEXT:
        schema = {"type": "string"} if schema is True else schema
    if kind is BodyKind.BINARY:
        schema = {"type": "string", "contentEncoding": "base64"}
    if kind not in {BodyKind.FORM, BodyKind.MULTIPART}:
        return Body(kind, name, required, schema, where)
    deep, encoded = _encodings(document, media.get("encoding", {}), kind, f"{place}/encoding")
    return Body(kind, name, required, schema, where, deep, encoded | _files(document, schema, where, kind))


def _kind(media: str) -> BodyKind | None:
    name = media.partition(";")[0].strip().lower()
    if name in _KINDS:
        return _KINDS[name]
    return BodyKind.JSON if name.startswith("application/") and name.endswith("+json") else None


def _encodings(document: Document, node: Any, kind: BodyKind, at: str) -> tuple[frozenset[str], frozenset[str]]:
    """Members that are written as ``deepObject``, and such as are files by their content type.

    Raises:
        DocumentError: an encoding that cannot be written.
    """
    deep: set[str] = set()
    files: set[str] = set()
    for name, entry in document.mapping(node, at)[0].items():
        said, here = document.mapping(entry, f"{at}/{name}")
        for member in ("headers", "encoding", *sorted(_IN_TURN)):
            if said.get(member):
                raise DocumentError(f"{here}/{member}", "is not supported", "Choose another operation.")
        style, explode = said.get("style"), said.get("explode")
        if style not in {None, "form", "deepObject"} or (explode is False and style != "deepObject"):
            raise DocumentError(here, "this encoding is not supported", "Choose another operation.")
        if style == "deepObject":
            deep.add(name)
        content = said.get("contentType")
        if content is None or (isinstance(content, str) and _kind(content) in {BodyKind.JSON, BodyKind.TEXT}):
            continue
        if kind is not BodyKind.MULTIPART:
            raise DocumentError(f"{here}/contentType", "cannot be written", "Choose another operation.")
        files.add(name)
    return frozenset(deep), frozenset(files)


def _files(document: Document, schema: Any, at: str, kind: BodyKind) -> frozenset[str]:
    """Members of a multipart body that are files: ``format: binary`` (3.0), or content without a type (3.1)."""
    if kind is not BodyKind.MULTIPART or not isinstance(schema, Mapping):
        return frozenset()
    properties = document.mapping(schema, at)[0].get("properties")
    found: set[str] = set()
    for name, member in properties.items() if isinstance(properties, Mapping) else ():
        node = member if isinstance(member, Mapping) else {}
        items = node.get("items")
        for one in (node, items if isinstance(items, Mapping) else {}):
            plain = document.mapping(one, at)[0]
            if plain.get("format") == "binary" or plain.get("contentMediaType") == "application/octet-stream":
                found.add(name)
    return frozenset(found)
