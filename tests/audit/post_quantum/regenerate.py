"""Write the vectors of this directory again: ``python -m tests.audit.post_quantum.regenerate``.

ML-DSA-44 signatures are hedged with fresh randomness (FIPS 204), so each run gives other bytes of the same meaning.
Built with nothing but ``cryptography`` and the standard library, so that it shares no code with what it tests.
"""

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

FILE = Path(__file__).with_name("vectors.json")
ORIGIN = "log.example/handrail"
SIZE, ROOT = 20852163, hashlib.sha256(b"a root").digest()
FIRST = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SECOND = MLDSA44PrivateKey.from_seed_bytes(bytes(range(32, 64)))
STRANGER = MLDSA44PrivateKey.from_seed_bytes(bytes(range(64, 96)))
MADE_BY_ED25519, MADE_BY_ML_DSA = b"\x01", b"\x06"


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def text(origin: str = ORIGIN, size: int = SIZE, root: bytes = ROOT) -> str:
    """The note text of a checkpoint."""
    return f"{origin}\n{size}\n{b64(root)}\n"


def key_id(kind: bytes, public: bytes, name: str = ORIGIN) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def vkey(kind: bytes, public: bytes, name: str = ORIGIN) -> str:
    return f"{name}+{key_id(kind, public, name).hex()}+{b64(kind + public)}"


def line(id_: bytes, signature: bytes, name: str = ORIGIN) -> str:
    return f"\u2014 {name} {b64(id_ + signature)}\n"


def cosigned(size: int = SIZE, root: bytes = ROOT, origin: str = ORIGIN, time: int = 0, name: str = ORIGIN) -> bytes:
    """cosigned_message of tlog-cosignature."""
    names = [one.encode() for one in (name, origin)]
    return b"".join(
        [
            b"subtree/v1\n\x00",
            *(struct.pack(">B", len(names[0])), names[0], struct.pack(">Q", time)),
            *(struct.pack(">B", len(names[1])), names[1], struct.pack(">QQ", 0, size), root),
        ]
    )


PUBLIC_1, PUBLIC_2 = FIRST.public_key().public_bytes_raw(), SECOND.public_key().public_bytes_raw()
ID_1, ID_2 = key_id(MADE_BY_ED25519, PUBLIC_1), key_id(MADE_BY_ML_DSA, PUBLIC_2)


def first(note: str | None = None) -> str:
    return line(ID_1, FIRST.sign((note or text()).encode()))


def second(time: int = 0, key: MLDSA44PrivateKey = SECOND, **other: Any) -> str:
    return line(ID_2, struct.pack(">Q", time) + key.sign(cosigned(time=time, **other)))


def vectors() -> dict[str, Any]:
    """Each case: the note, and whether it holds by Ed25519 alone and where both are required."""
    one, two = first(), second()
    stranger = key_id(MADE_BY_ML_DSA, STRANGER.public_key().public_bytes_raw())
    strange = line(stranger, bytes(8) + STRANGER.sign(cosigned()))
    cases = {
        "both": (one + two, True, True),
        "order-swapped": (two + one, True, True),
        "duplicated": (one + one + two + two, True, True),
        "timestamped": (one + second(1_800_000_000), True, True),
        "second-by-a-stranger-beside-ours": (one + strange + two, True, True),
        "second-stripped": (one, True, False),
        "first-stripped": (two, False, False),
        "second-by-a-stranger": (one + strange, True, False),
        "second-by-a-stranger-under-our-id": (one + second(key=STRANGER), True, False),
        "second-of-another-size": (one + second(size=SIZE + 1), True, False),
        "second-of-another-root": (one + second(root=bytes(32)), True, False),
        "second-of-another-origin": (one + second(origin="log.example/other"), True, False),
        "second-in-another-name": (one + second(name="log.example/other"), True, False),
        "second-with-another-time": (one + line(ID_2, struct.pack(">Q", 7) + SECOND.sign(cosigned())), True, False),
        "second-from-beyond-time": (one + second(2**63), True, False),
        "second-without-a-time": (one + line(ID_2, SECOND.sign(cosigned())), True, False),
        "second-over-the-note-text": (one + line(ID_2, bytes(8) + SECOND.sign(text().encode())), True, False),
        "ed25519-under-the-second-id": (one + line(ID_2, FIRST.sign(text().encode())), True, False),
        "ml-dsa-under-the-first-id": (line(ID_1, bytes(8) + SECOND.sign(cosigned())) + two, False, False),
        "one-good-one-bad-second": (one + two + second(size=SIZE + 1), True, False),
        "one-bad-one-good-first": (first(text(size=SIZE + 1)) + one + two, False, False),
    }
    return {
        "origin": ORIGIN,
        "size": SIZE,
        "root": b64(ROOT),
        "first": vkey(MADE_BY_ED25519, PUBLIC_1),
        "second": vkey(MADE_BY_ML_DSA, PUBLIC_2),
        "cosigned_message": cosigned().hex(),
        "cases": [
            {"name": name, "note": f"{text()}\n{lines}", "alone": alone, "both": both}
            for name, (lines, alone, both) in cases.items()
        ],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
