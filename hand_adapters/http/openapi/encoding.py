"""Arguments as request bodies: JSON, forms, multipart forms (RFC 7578), text and bytes.

A multipart boundary is a hash of what it parts, so one call has one body, and no value can hold its own boundary.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from gateway.canonical import canonical
from hand_adapters.http.openapi.bodies import Body, BodyKind
from hand_adapters.http.openapi.styles import Pair, deep, encoded
from hand_adapters.http.template import no_override, scalar
from hand_adapters.misfit import misfit

_ESCAPED: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""In names of parts, as browsers do it (WHATWG HTML, multipart/form-data)."""
_MISREAD: Final = re.compile(r"[\\\x00-\x09\x0b\x0c\x0e-\x1f\x7f]")
"""A backslash escapes what follows for some readers and is a character for others (RFC 7578 section 4.2)."""


class _Part(NamedTuple):
    name: str
    content: bytes
    media: str | None
    is_file: bool


def body_bytes(body: Body, value: Any) -> tuple[bytes, str]:
    """A body and its ``Content-Type``.

    Raises:
        HandError: ``schema.args``, not executed: a value that cannot be written so.
    """
    if isinstance(value, Mapping):
        no_override(value)
    match body.kind:
        case BodyKind.JSON:
            return canonical(value), body.media
        case BodyKind.TEXT:
            return scalar(value).encode(), "text/plain; charset=utf-8"
        case BodyKind.BINARY:
            return _base64(value), body.media
        case BodyKind.FORM:
            pairs = encoded(_form(body, _object(value)))
            return "&".join(f"{name}={text}" for name, text in pairs).encode("ascii"), body.media
        case BodyKind.MULTIPART:
            return _multipart(list(_parts(body, _object(value))))


def _form(body: Body, value: Mapping[str, Any]) -> Iterator[Pair]:
    """Members as pairs; objects are JSON texts unless the document says ``deepObject`` (OpenAPI 3.1.1 section
    4.8.15.1.1)."""
    taken: set[str] = set()
    for name in sorted(value):
        member = value[name]
        pairs = deep(name, member) if name in body.deep else [(name, _text(item)) for item in _each(member)]
        if taken & {key for key, _ in pairs}:
            raise misfit("two members come to one name")
        taken |= {key for key, _ in pairs}
        yield from pairs


def _parts(body: Body, value: Mapping[str, Any]) -> Iterator[_Part]:
    for name in sorted(value):
        for item in _each(value[name]):
            if name in body.files:
                yield _Part(name, _base64(item), "application/octet-stream", is_file=True)
            else:
                media = "application/json" if isinstance(item, Mapping) else None
                yield _Part(name, _text(item).encode(), media, is_file=False)


def _multipart(parts: list[_Part]) -> tuple[bytes, str]:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part.content)}:{part.name}:".encode() + part.content)
    boundary = f"handrail-{digest.hexdigest()[:48]}"
    out = bytearray()
    for part in parts:
        if _MISREAD.search(part.name):
            raise misfit("a name that two readers could read differently")
        name = part.name.translate(_ESCAPED)
        file = f'; filename="{name}"' if part.is_file else ""
        media = f"Content-Type: {part.media}\r\n" if part.media else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{media}\r\n'
        out += head.encode() + part.content + b"\r\n"
    out += f"--{boundary}--\r\n".encode()
    return bytes(out), f"multipart/form-data; boundary={boundary}"


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise misfit("a form that has no members")
    return value


def _each(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return (value,)
    if not value:
        raise misfit("an empty list cannot be told from none")
    return value


def _text(value: Any) -> str:
    return canonical(value).decode("utf-8") if isinstance(value, Mapping) else scalar(value)


def _base64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise misfit("a file that is no base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise misfit("a file that is no base64 text") from None
