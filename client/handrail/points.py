"""Which 32 bytes are an Ed25519 public key that can be believed (RFC 8032 section 5.1.3).

OpenSSL loads any 32 bytes. Under a key of small order a signature made by nobody verifies, and a second spelling gives
one key two thumbprints. Written from the curve's equation, on purpose unlike the gateway's list of points
(docs/adr/0008).
"""

from functools import lru_cache
from typing import Final

from handrail.errors import MalformedError

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_1: Final = pow(2, (_P - 1) // 4, _P)


@lru_cache(maxsize=1024)
def check_point(raw: bytes) -> None:
    """Take nothing but the one spelling of a point whose order is not small.

    Raises:
        MalformedError: saying which of length, spelling, curve and order is wrong.
    """
    if len(raw) != 32:
        raise MalformedError("not a 32-byte Ed25519 public key")
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P:
        raise MalformedError("an Ed25519 public key in another spelling")
    x = _x_of(y)
    if x == 0 and raw[31] >> 7:
        raise MalformedError("an Ed25519 public key in another spelling")
    for _ in range(3):
        x, y = _doubled(x, y)
    if (x, y) == (0, 1):
        raise MalformedError("an Ed25519 public key of small order")


def _x_of(y: int) -> int:
    """One of both x on the curve (-x^2 + y^2 = 1 + d x^2 y^2); the sign matters to no order."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_1 % _P
    if (x * x - square) % _P:
        raise MalformedError("an Ed25519 public key that is not on the curve")
    return x


def _doubled(x: int, y: int) -> tuple[int, int]:
    product = _D * x * x * y * y % _P
    return 2 * x * y * pow(1 + product, -1, _P) % _P, (y * y + x * x) * pow(1 - product, -1, _P) % _P
