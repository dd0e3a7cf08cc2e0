"""The exception root of ``keys``. Nothing of ``cryptography`` or the file system leaves this package."""

from gateway.errors import HandrailError, Refused, Unavailable
from gateway.reasons import Reason


class KeysError(HandrailError):
    """Root of everything that this package raises."""


class JwsRefused(KeysError, Refused):
    """A signed message is not acceptable: ``verify.*``, or ``credential.refused`` for a credential's binding."""


class KeyRefused(KeysError, Refused):
    """A key that somebody offered or named cannot be taken: ``request.malformed``, ``.not_found`` or ``.conflict``."""


class KeyUnavailable(KeysError, Unavailable):
    """A key of the gateway is missing or cannot be used: ``key.unavailable``."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.KEY_UNAVAILABLE, detail)


class KeyStoreAway(KeyUnavailable):
    """Where keys lie does not answer, or somebody else has it locked: trying again may help."""


class SealBroken(KeyUnavailable):
    """A sealed document was changed, moved, sealed under another root, or is none of ours."""


class MasterKeyUnsafe(KeyUnavailable):
    """The master key is malformed."""
