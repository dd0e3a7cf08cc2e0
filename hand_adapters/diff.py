"""What changed between a pinned manifest and an offered one, for the person who must say yes or no."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from gateway.pointers import escape

DIFFERENCES_MAX: Final = 200


def differences(pinned: Any, offered: Any) -> list[dict[str, Any]]:
    """Places where two JSON documents differ: ``{path, pinned, offered}``, at most :data:`DIFFERENCES_MAX`.

    ``path`` is a JSON pointer; a member that one side lacks is left out of the item, so that absence is not ``null``.
    """
    return list(islice(_walk(pinned, offered, ""), DIFFERENCES_MAX))


def _walk(pinned: Any, offered: Any, at: str) -> Iterator[dict[str, Any]]:
    if isinstance(pinned, Mapping) and isinstance(offered, Mapping):
        for name in sorted(pinned.keys() | offered.keys()):
            path = f"{at}/{escape(name)}"
            if name not in pinned:
                yield {"path": path, "offered": offered[name]}
            elif name not in offered:
                yield {"path": path, "pinned": pinned[name]}
            else:
                yield from _walk(pinned[name], offered[name], path)
    elif isinstance(pinned, bool) is not isinstance(offered, bool) or pinned != offered:
        yield {"path": at, "pinned": pinned, "offered": offered}
