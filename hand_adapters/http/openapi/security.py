"""What an operation's ``security`` asks for, and which secret of the hand would give it.

Nothing of a document is taken for a secret: it names places, and the operator names what goes there.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hand_adapters.http.openapi.document import Document, Operation
from hand_adapters.http.openapi.parameters import Slot

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A parameter that a secret may have (``HandSecretSettings.parameter``)."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """A security scheme of a document.

    Attributes:
        slot: what of a request it fills; ``None`` where no secret can go there (a cookie, mutual TLS).
        toml: the lines of ``[hands.ID.secrets.NAME]`` that put a secret there.
    """

    name: str
    kind: str
    slot: Slot | None
    toml: tuple[str, ...]


def requirements(document: Document, operation: Operation) -> list[list[Scheme]]:
    """Ways to be let in, any of which is enough; no way at all where the document asks for nothing.

    A scheme that the document does not describe can be met by no secret.
    """
    said = operation.node.get("security", document.root.get("security", []))
    ways = said if isinstance(said, list) else []
    found = [[_scheme(document, name) for name in way] for way in ways if isinstance(way, Mapping)]
    return [] if [] in found else found


def unmet(ways: list[list[Scheme]], secrets: Iterable[Slot]) -> list[Scheme]:
    """What the hand's secrets lack for the way that lacks least; empty where one is open."""
    filled = set(secrets)
    lacking = [[scheme for scheme in way if scheme.slot is None or scheme.slot not in filled] for way in ways]
    return min(lacking, key=len, default=[])


def _scheme(document: Document, name: str) -> Scheme:
    node = document.component("securitySchemes").get(name)
    said: Mapping[str, Any] = document.mapping(node, f"/components/securitySchemes/{name}")[0] if node else {}
    kind, where = said.get("type"), said.get("in")
    parameter = said.get("name")
    if kind == "apiKey" and where in {"header", "query"} and _NAME.fullmatch(str(parameter)):
        parameter = str(parameter)
        if where == "header" and parameter.lower() == "authorization":
            return Scheme(name, "an API key in Authorization", ("header", "authorization"), _place("header", parameter))
        slot = (where, parameter.lower() if where == "header" else parameter)
        return Scheme(name, f"an API key in the {where} parameter {parameter}", slot, _place(where, parameter))
    if kind == "http" and str(said.get("scheme", "")).lower() == "basic":
        lines = ('place = "basic"', 'username = "NAME"')
        return Scheme(name, "a user name and password", ("header", "authorization"), lines)
    if kind in {"oauth2", "openIdConnect"} or (kind == "http" and str(said.get("scheme", "")).lower() == "bearer"):
        label = "a bearer token" if kind == "http" else f"an access token ({kind})"
        return Scheme(name, label, ("header", "authorization"), ('place = "bearer"',))
    return Scheme(name, "something that no secret can be put into", None, ())


def _place(where: str, parameter: str) -> tuple[str, ...]:
    return (f'place = "{where}"', f'parameter = "{parameter}"')
