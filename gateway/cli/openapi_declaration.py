"""A hand's declaration in TOML, made of an OpenAPI document for a person to review."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gateway.cli import suggested, toml_text
from hand_adapters.http.openapi.document import Document
from hand_adapters.http.openapi.suggest import Likely


def declaration(
    hand_id: str, file: Path, document: Document, base_url: str | None, found: Sequence[Likely]
) -> Iterator[str]:
    """Its lines. What is only suggested is commented out, so that the worst counts."""
    yield f"[hands.{hand_id}]"
    yield 'adapter = "http"'
    if base_url is not None:
        yield f"base_url = {toml_text.value(base_url)}"
    else:
        server = toml_text.value(_server(document))
        yield f"# base_url = {server}  # as the document says: is that where you mean to send this?"
    yield f"openapi = {toml_text.value(file)}"
    yield "operations = ["
    for one in found:
        yield f"  {toml_text.value(one.offer.operation.operation_id or one.offer.operation.name)},"
    yield "]"
    yield from _secrets(hand_id, found)
    for one in found:
        yield ""
        yield f"[hands.{hand_id}.actions.{toml_text.key(one.offer.operation.name)}]"
        yield from toml_text.comment(one.offer.operation.title)
        yield from suggested.lines(one.suggestion, "suggested by the method alone; without it: external")


def _secrets(hand_id: str, found: Sequence[Likely]) -> Iterator[str]:
    schemes = {scheme.name: scheme for one in found for way in one.security for scheme in way}
    for name, scheme in sorted(schemes.items()):
        yield ""
        yield from toml_text.comment(f"The document asks for {scheme.kind} ({name}).")
        if scheme.slot is not None:
            yield f"# [hands.{hand_id}.secrets.{_secret_name(name)}]"
            yield from (f"# {line}" for line in scheme.toml)


def _secret_name(name: str) -> str:
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:63]
    return plain if plain[:1].isalpha() else f"key-{plain}"[:63]


def _server(document: Document) -> str:
    servers = document.root.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else {}
    url = first.get("url") if isinstance(first, Mapping) else None
    return url if isinstance(url, str) else "https://..."
