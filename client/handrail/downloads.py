"""An export of the log as it comes in: what its headers say, and its pieces."""

from collections.abc import Iterator
from typing import Final

import httpx2

from handrail.connection import unreachable
from handrail.errors import UnexpectedReply
from handrail.views import Download

_NUMBER_DIGITS_MAX: Final = 15


def download(response: httpx2.Response, url: httpx2.URL) -> Download:
    """The export that a response begins.

    Args:
        url: of the gateway, for what is said where it breaks off.

    Raises:
        UnexpectedReply: the response is no export.
    """

    def pieces() -> Iterator[bytes]:
        try:
            yield from response.iter_bytes()
        except (httpx2.TransportError, httpx2.DecodingError) as exc:
            raise unreachable(url, exc) from None

    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > _NUMBER_DIGITS_MAX:
            raise UnexpectedReply(response.status_code, "the answer is not an export")
        return int(text)

    said = response.headers
    cosignatures, _, needed = said.get("handrail-cosignatures", "0/0").partition("/")
    bound = said.get("handrail-hands")
    return Download(
        tree_size=number(said.get("handrail-tree-size", "")),
        entries=number(said.get("handrail-entries", "")),
        cosignatures=number(cosignatures),
        needed=number(needed),
        later=number(said.get("handrail-later", "0")),
        checkpoint=said.get("handrail-checkpoint"),
        hands=None if bound is None else tuple(filter(None, bound.split(","))),
        pieces=pieces(),
    )
