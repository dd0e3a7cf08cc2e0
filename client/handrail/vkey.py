"""C2SP signed-note verifier keys as text: ``name+hex(keyID)+base64(type || key)``."""

import hashlib
from typing import NamedTuple

from handrail.errors import MalformedError
from handrail.strict import b64_decode


class Vkey(NamedTuple):
    """One verifier key, taken apart.

    Attributes:
        key_id: 4 bytes, which belong to name, type and key.
        material: the type's byte and the key.
    """

    name: str
    key_id: bytes
    material: bytes


def key_id_of(name: str, material: bytes) -> bytes:
    """SHA-256(name || 0x0A || type || key)[:4] (c2sp.org/signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]


def taken_apart(vkey: str) -> Vkey:
    """Read one of any type; what the type means is the caller's.

    Raises:
        MalformedError: it has no three parts, or a key id that does not belong to name and key.
    """
    parts = vkey.split("+", 2)
    if len(parts) != 3 or not parts[0] or any(char.isspace() for char in vkey):
        raise MalformedError("not a verifier key (name+id+key)")
    name, key_id_hex, encoded = parts
    material = b64_decode(encoded)
    key_id = key_id_of(name, material)
    if not material or key_id.hex() != key_id_hex:
        raise MalformedError("the verifier key's id does not belong to its name and key")
    return Vkey(name, key_id, material)
