"""Ed25519 as the verifier believes it (RFC 8032): a key is the one spelling of a point whose order is not small.

OpenSSL loads any 32 bytes, and under a key of small order a signature made by nobody verifies. A bundle's own list of
keys and a reader's own verifier keys pass here alike.
"""

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P


def holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature by a believable key holds."""
    if not sound(public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=1024)
def sound(public: bytes) -> bool:
    """Whether 32 bytes are a point on the curve, in its one spelling, of an order that is not small."""
    y = int.from_bytes(public, "little") & (2**255 - 1)
    if len(public) != 32 or y >= _P:
        return False
    # Legendre's symbol of (y^2 - 1) (d y^2 + 1): 1 where an x exists, 0 where x is 0, which is of order 1 or 2.
    if pow((y * y - 1) * (_D * y * y + 1), (_P - 1) // 2, _P) != 1:
        return False
    # Order 4: y is 0. Order 8: the point's double is one of those, so x^2 = -y^2, and the curve says d y^4 + 2 y^2 = 1.
    return y != 0 and (_D * y**4 + 2 * y * y - 1) % _P != 0
