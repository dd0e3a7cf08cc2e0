"""The head of a log as a signed note: by the active checkpoint key, and a post-quantum one where that is configured."""

import functools
from typing import Final

from audit import post_quantum
from audit.checkpoint import VerifierKey, checkpoint_text, sign_note
from audit.errors import AuditError, LogUnavailable
from audit.post_quantum import PostQuantumKey
from gateway.canonical import b64url_decode
from gateway.ports import Purpose, Signer

SIGN_TRIES: Final = 3


class HeadSigner:
    """Signs heads of the log ``origin``.

    Args:
        post_quantum: add a second line, by the key for it (``audit.post_quantum``).
    """

    def __init__(self, origin: str, signer: Signer, *, post_quantum: bool) -> None:
        self._origin = origin
        self._signer = signer
        self._post_quantum = post_quantum

    def key(self) -> VerifierKey:
        """Of the active checkpoint key. Raises ``key.unavailable``."""
        return VerifierKey(self._origin, b64url_decode(self._signer.active_jwk(Purpose.CHECKPOINT)["x"]))

    def sign(self, size: int, root: bytes) -> str:
        """The note of a committed head. A key rotated between its name and its signature is tried again.

        Raises:
            AuditError: the key does not settle.
            HandrailError: ``key.unavailable``.
        """
        text = checkpoint_text(self._origin, size, root)
        for attempt in range(SIGN_TRIES):
            try:
                note = sign_note(text, self.key(), functools.partial(self._signer.sign_raw, Purpose.CHECKPOINT))
                return note + self._second_line(text)
            except AuditError:
                if attempt == SIGN_TRIES - 1:
                    raise
        raise LogUnavailable("the checkpoint key does not settle")

    def _second_line(self, text: str) -> str:
        if not self._post_quantum:
            return ""
        purpose = Purpose.CHECKPOINT_PQ
        key = PostQuantumKey(self._origin, b64url_decode(self._signer.active_jwk(purpose)["pub"]))
        return post_quantum.line(text, key, functools.partial(self._signer.sign_raw, purpose))
