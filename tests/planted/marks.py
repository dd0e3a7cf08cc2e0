"""Marks in the secrets that the code under test makes, by which they are found wherever a test's run wrote them.

A secret of 32 random bytes begins with :data:`STEM` and a letter for its kind; 23 bytes of it stay random. So no list
of what was made has to be kept, and what a child process made is found too. Nothing that is derived from a secret, or
sealed under one, carries the mark: what is found is the secret itself.
"""

import base64
import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from typing import Any, Final

RUN: Final = "PLANTED_FOR"
"""The variable by which a run within a run has marks of its own."""
STEM: Final = hashlib.sha256(f"secrets that tests of Handrail made {os.environ.get(RUN, '')}".encode()).digest()[:8]
SECRET_BYTES: Final = 32
KINDS: Final = {  # no two agree in their first four bits: base64 may show no more of them
    b"K": "a key (data root, epoch, bucket, or of a person's data)",
    b"m": "a master key",
    b"t": "a token (API key, session, login)",
    b"S": "a signing key",
}
_OURS: Final = ("audit.", "gateway.", "keys.", "handrail.", "hand_adapters.")


def marked(kind: bytes, size: int = SECRET_BYTES) -> bytes:
    """Random bytes that carry a mark."""
    return STEM + kind + _urandom(size - len(STEM) - len(kind))


def spellings(raw: bytes) -> dict[bytes, str]:
    """How bytes can stand in a file -> what that is called. In base64 what depends on the neighbours is cut away."""
    found = {raw: "raw", raw.hex().encode(): "hex", raw.hex().upper().encode(): "hex", repr(raw)[2:-1].encode(): "repr"}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)[(8 * before + 5) // 6 : 8 * (before + len(raw)) // 6]
        found[encoded] = found[encoded.translate(_URL_SAFE)] = "base64"
    return found


def install() -> None:
    """Have every secret that code of ours asks for in this process carry a mark: those of :mod:`secrets` and
    ``os.urandom`` that are as long as a key, and Ed25519 keys once cryptography is there."""
    if os.urandom is not _urandom:
        return
    os.urandom = _marking(_urandom, b"K", {SECRET_BYTES, SECRET_BYTES + 16}, lambda raw: raw)
    secrets.token_bytes = _marking(secrets.token_bytes, b"K", {SECRET_BYTES}, lambda raw: raw)
    secrets.token_hex = _marking(secrets.token_hex, b"m", {SECRET_BYTES}, bytes.hex)
    secrets.token_urlsafe = _marking(secrets.token_urlsafe, b"t", {SECRET_BYTES}, _url_safe)
    if "cryptography" in sys.modules:
        _mark_signing_keys()


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_urandom: Final = os.urandom


def _marking(
    made: Callable[..., Any], kind: bytes, sizes: set[int], write: Callable[[bytes], Any]
) -> Callable[..., Any]:
    """``made``, which gives marked ones to code of ours that asks for as many bytes as a secret has."""

    def make(size: int | None = None) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if size in sizes and caller.startswith(_OURS):
            return write(marked(kind, size))
        return made(size)

    return make


def _url_safe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _mark_signing_keys() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

    Ed25519PrivateKey.generate = classmethod(lambda cls: cls.from_private_bytes(marked(b"S")))  # type: ignore[method-assign,assignment]
    MLDSA65PrivateKey.generate = classmethod(lambda cls: cls.from_seed_bytes(marked(b"S")))  # type: ignore[method-assign,assignment]
