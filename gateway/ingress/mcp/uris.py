"""URIs of resources: a server's own at the endpoint of its hand; at the endpoint of all hands, with the hand before it.

There a server's ``U`` is ``handrail://HAND/U``, character by character: nothing is encoded, so that a template
(RFC 6570) still expands to what its server expects, and the way back is to take the same characters off again.
"""

from typing import Any, Final

from mcp import types

_SCHEME: Final = "handrail://"


def outward(hand: str, uri: str) -> str:
    """The URI, or template, as the endpoint of all hands names it."""
    return f"{_SCHEME}{hand}/{uri}"


def inward(uri: str) -> tuple[str, str] | None:
    """Hand and URI of one that :func:`outward` made, ``None`` for any other. Whether there is such a hand is not
    said."""
    hand, slash, own = uri.removeprefix(_SCHEME).partition("/")
    return (hand, own) if uri.startswith(_SCHEME) and slash and hand and own else None


def outward_block(hand: str, block: types.ContentBlock) -> types.ContentBlock:
    """A block of content with the URI in it, if there is one, as the endpoint of all hands names it."""
    if isinstance(block, types.ResourceLink):
        return block.model_copy(update={"uri": outward(hand, block.uri)})
    if isinstance(block, types.EmbeddedResource):
        return block.model_copy(update={"resource": outward_contents(hand, block.resource)})
    return block


def outward_contents(hand: str, contents: Any) -> Any:
    """Contents of a resource, the same way."""
    return contents.model_copy(update={"uri": outward(hand, contents.uri)})
