"""Rows as JSON: what has no JSON type is text (decimals, times as RFC 3339) or base64, and both limits hold."""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from hand_adapters.sql.session import Limits

EXACT_MAX: Final = 2**53 - 1
"""Whole numbers beyond it are text: JSON's are doubles (RFC 7493 section 2.2)."""
_FRAME: Final = 512
"""Bytes of a result beside its rows and names."""


def value(found: Any) -> Any:
    """A value of a driver as JSON."""
    if found is None or isinstance(found, bool):
        return found
    if isinstance(found, int):
        return found if -EXACT_MAX <= found <= EXACT_MAX else str(found)
    if isinstance(found, float):
        return found if math.isfinite(found) else str(found)
    if isinstance(found, str):
        return found.encode("utf-8", "replace").decode("utf-8")
    if isinstance(found, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(found)).decode("ascii")
    if isinstance(found, list | tuple):
        return [value(one) for one in found]
    if isinstance(found, Mapping):
        return {str(name): value(one) for name, one in found.items()}
    return str(found)


class Collected:
    """Rows as they come, until a limit is met.

    A result holds its rows twice, as structure and as text within JSON; both count.
    """

    def __init__(self, columns: Sequence[str], limits: Limits) -> None:
        self.columns = tuple(columns)
        self.rows: list[list[Any]] = []
        self.truncated = False
        self._most = limits.rows_max
        self._room = limits.result_max_bytes - _FRAME - _twice([*columns])

    def take(self, row: Iterable[Any]) -> bool:
        """Keep a row; ``False`` where it, and what comes after it, is left out."""
        if self.truncated:
            return False
        converted = [value(one) for one in row]
        size = _twice(converted)
        if len(self.rows) >= self._most or size > self._room:
            self.truncated = True
            return False
        self._room -= size
        self.rows.append(converted)
        return True


def _twice(part: Any) -> int:
    raw = orjson.dumps(part)
    return len(raw) + len(orjson.dumps(raw.decode())) + 2
