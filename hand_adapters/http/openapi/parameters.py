"""Parameters of an operation: which an agent may fill, and how each is written into a request.

What an agent must never write is not offered: cookies, headers that frame or route a request, and whatever carries a
credential, which the gateway adds itself.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hand_adapters.http.openapi.document import Document, Operation
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.http.template import OVERRIDES, plain

Slot = tuple[str, str]
"""What of a request a secret fills: see ``SecretUse.slot``."""


class Place(StrEnum):
    """Where a parameter goes."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"


class Style(StrEnum):
    """How a list or an object is written as text (OpenAPI 3.1.1 section 4.8.12.3)."""

    SIMPLE = "simple"
    FORM = "form"
    SPACE = "spaceDelimited"
    PIPE = "pipeDelimited"
    DEEP_OBJECT = "deepObject"
    JSON = "json"
    """``content`` with one JSON media type."""


STYLES: Final[Mapping[Place, frozenset[Style]]] = {
    Place.PATH: frozenset({Style.SIMPLE}),
    Place.QUERY: frozenset({Style.FORM, Style.SPACE, Style.PIPE, Style.DEEP_OBJECT}),
    Place.HEADER: frozenset({Style.SIMPLE}),
}
_DEFAULT: Final = {Place.PATH: Style.SIMPLE, Place.QUERY: Style.FORM, Place.HEADER: Style.SIMPLE}
IGNORED: Final = frozenset({"accept", "content-type", "authorization"})
"""Header parameters that OpenAPI itself ignores (3.1.1 section 4.8.12.2.1)."""
FORBIDDEN: Final = frozenset(
    {
        "accept-charset", "accept-encoding", "connection", "content-encoding", "content-length", "cookie", "date",
        "dpop", "expect", "forwarded", "host", "http2-settings", "keep-alive", "origin", "referer", "set-cookie", "te",
        "trailer", "transfer-encoding", "upgrade", "user-agent", "via", "x-http-method", "x-http-method-override",
        "x-method-override", "x-original-url", "x-real-ip", "x-rewrite-url",
    }
)  # fmt: skip
"""Headers that say where a request ends, where it goes, what it does or where it came from."""
_FORBIDDEN_PREFIXES: Final = ("proxy-", "sec-", "x-forwarded-", "access-control-")
_CREDENTIAL: Final = re.compile(
    r"(^|[-_])(api-?key|authorization|auth-?token|access-?token|secret|password|jwt|session)"
)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A field name (RFC 9110 section 5.6.2)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that an agent may fill.

    Attributes:
        schema: its schema object, untranslated, and ``at`` where it stands.
    """

    name: str
    place: Place
    style: Style
    explode: bool
    required: bool
    schema: Any
    at: str
    description: str

    def document(self) -> dict[str, Any]:
        """As a manifest shows it: how it is written is part of what is pinned."""
        return {"name": self.name, "in": str(self.place), "style": str(self.style), "explode": self.explode}


def parameters(document: Document, operation: Operation, secrets: Iterable[Slot]) -> tuple[list[Parameter], list[str]]:
    """The parameters of an operation that an agent may fill, and a sentence for each optional one that none may.

    Args:
        secrets: what the hand's secrets fill: the gateway writes these, so no agent does.

    Raises:
        DocumentError: a required one that cannot be offered, a style that is not known, or one that is described twice.
    """
    found: dict[tuple[str, str], tuple[Mapping[str, Any], str]] = {}
    for listed, at in (operation.shared, (operation.node.get("parameters", []), f"{operation.at}/parameters")):
        found |= _listed(document, listed, at)
    keys = credential_slots(document)
    kept: list[Parameter] = []
    notes: list[str] = []
    taken = set(secrets)
    for (place, name), (node, at) in found.items():
        slot = (place, name.lower() if place == "header" else name)
        if slot in taken or (place == "header" and name.lower() in IGNORED):
            continue
        problem = _problem(place, name, is_key=slot in keys)
        if problem is None:
            kept.append(_parameter(document, Place(place), name, node, at))
        elif node.get("required") is True:
            raise DocumentError(at, f"it requires the {place} parameter {name}, {problem[0]}", problem[1])
        else:
            notes.append(f"{operation.name}: the {place} parameter {name} is left out, {problem[0]}.")
    return kept, notes


def credential_slots(document: Document) -> frozenset[Slot]:
    """What the API keys of a document's ``securitySchemes`` fill."""
    slots: set[Slot] = set()
    for scheme in document.component("securitySchemes").values():
        if isinstance(scheme, Mapping) and scheme.get("type") == "apiKey" and isinstance(scheme.get("name"), str):
            place, name = scheme.get("in"), scheme["name"]
            slots.add((str(place), name.lower() if place == "header" else name))
    return frozenset(slots)


def _listed(document: Document, listed: Any, at: str) -> dict[tuple[str, str], tuple[Mapping[str, Any], str]]:
    if not isinstance(listed, list):
        raise DocumentError(at, "is no list", "Mend the document.")
    found: dict[tuple[str, str], tuple[Mapping[str, Any], str]] = {}
    for index, entry in enumerate(listed):
        node, here = document.mapping(entry, f"{at}/{index}")
        name, place = node.get("name"), node.get("in")
        if not isinstance(name, str) or not isinstance(place, str) or not name:
            raise DocumentError(here, "has no name, or is in no place", "Mend the document.")
        if (place, name) in found:
            raise DocumentError(here, f"describes the {place} parameter {name} a second time", "Keep one.")
        found[place, name] = (node, here)
    return found


def _problem(place: str, name: str, *, is_key: bool) -> tuple[str, str] | None:
    """Why no agent may fill a parameter, and what to do; ``None`` where one may."""
    if place not in STYLES:
        return f"which is in {place}", "Such a parameter cannot be sent: choose another operation."
    if place == Place.PATH:
        return None
    lowered = name.lower()
    if is_key or (place == Place.HEADER and _CREDENTIAL.search(lowered)):
        return "which carries a credential", (f'Name a secret of the hand: place = "{place}", parameter = "{name}".')
    if place == Place.QUERY and plain(name) in OVERRIDES:
        return "which says another method", "Choose the operation that has that method."
    if place == Place.HEADER:
        if not _TOKEN.fullmatch(name):
            return "which is no name of a header", "Mend the document."
        if lowered in FORBIDDEN or lowered.startswith(_FORBIDDEN_PREFIXES):
            return "which frames or routes the request", "Such a header is not an agent's: choose another operation."
    return None


def _parameter(document: Document, place: Place, name: str, node: Mapping[str, Any], at: str) -> Parameter:
    required = node.get("required") is True
    if place is Place.PATH and not required:
        raise DocumentError(at, f"the path parameter {name} is not required", "Say required: true.")
    described = node.get("description")
    style, explode, schema, where = _written(document, place, node, at)
    return Parameter(
        name, place, style, explode, required, schema, where, described if isinstance(described, str) else ""
    )


def _written(document: Document, place: Place, node: Mapping[str, Any], at: str) -> tuple[Style, bool, Any, str]:
    if "content" in node:
        content, here = document.mapping(node["content"], f"{at}/content")
        if place is Place.PATH or list(content) != ["application/json"]:
            raise DocumentError(here, "is not supported", "Describe the parameter by a schema and a style.")
        media, inner = document.mapping(content["application/json"], f"{here}/application~1json")
        return Style.JSON, False, media.get("schema", True), f"{inner}/schema"
    if "schema" not in node:
        raise DocumentError(at, "has neither schema nor content", "Mend the document.")
    said = node.get("style", str(_DEFAULT[place]))
    if said not in STYLES[place]:
        raise DocumentError(f"{at}/style", f"{said!r} is not supported in {place}", "Choose another operation.")
    style = Style(said)
    explode = node.get("explode", style is Style.FORM)
    if not isinstance(explode, bool):
        raise DocumentError(f"{at}/explode", "is neither true nor false", "Mend the document.")
    if explode and style in {Style.SPACE, Style.PIPE}:
        raise DocumentError(f"{at}/explode", f"is not defined for {style}", "Say explode: false, or style: form.")
    return style, explode, node["schema"], f"{at}/schema"
