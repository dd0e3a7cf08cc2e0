"""A log whose checkpoints carry the second signature, by ML-DSA-44."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.audit.post_quantum import regenerate
from tests.client.receipt_forge import ORIGIN, Forge, root

KEY = MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()


class Twice(Forge):
    """Signs its checkpoints by both, or by one."""

    second = True

    def checkpoint(self) -> str:
        if not self.second:
            return super().checkpoint()
        tree = {"size": self.size, "root": root(self.leaves()), "origin": ORIGIN, "name": ORIGIN}
        signature = bytes(8) + KEY.sign(regenerate.cosigned(**tree))
        return super().checkpoint() + regenerate.line(regenerate.key_id(b"\x06", PUBLIC, ORIGIN), signature, ORIGIN)

    def trust(self) -> dict[str, Any]:
        return {**super().trust(), "log_post_quantum": [regenerate.vkey(b"\x06", PUBLIC, ORIGIN)]}
