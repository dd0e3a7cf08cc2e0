"""The exceptions of the audit log. Database and cryptography exceptions are translated to these at the boundary."""

from gateway.errors import HandrailError, Refused, Unavailable, Uncertain
from gateway.reasons import Reason


class AuditError(HandrailError):
    """Root of everything that this package raises of its own."""


class LogUnavailable(AuditError, Unavailable):
    """The log did not take it: nothing of the append is durable, and it will not be written later."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Reason.LOG_UNAVAILABLE, detail)


class LogUncertain(LogUnavailable, Uncertain):
    """The commit was under way when the answer was lost: the rows may exist, or not. Never repeat it blindly."""


class LogDamaged(LogUnavailable):
    """What is stored is not what a writer wrote. ``fsck`` says what and where."""


class LogMisconfigured(LogUnavailable):
    """The database holds another log, or is not migrated; no retry helps."""


class EntryInvalid(AuditError):
    """A draft cannot become an entry (too large, or a member that an entry may not carry): a fault of the caller."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.INTERNAL, detail)


class NotLogged(AuditError, Refused):
    """There is no such entry."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Reason.REQUEST_NOT_FOUND, detail)


class Dropped(AuditError, Refused):
    """There was such an entry, and its retention is over; its hash is kept."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.LOG_DROPPED, detail)


class ArchiveRefused(AuditError):
    """The archive is not what an archive has to be, or does not hold what was put there."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.INTERNAL, detail)


class ProofInvalid(AuditError, Refused):
    """A Merkle proof does not show what it claims."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.VERIFY_SIGNATURE, detail)


class NoteInvalid(AuditError, Refused):
    """A signed note is malformed, or no known key signed it."""

    def __init__(self, detail: str, reason: Reason = Reason.VERIFY_MALFORMED) -> None:
        super().__init__(reason, detail)


class SealBroken(AuditError):
    """A sealed payload or key is not what was sealed, or its key file cannot be used."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.KEY_UNAVAILABLE, detail)


class ControlsInvalid(AuditError):
    """The control mapping is not usable; ``detail`` names the file."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.INTERNAL, detail)


class BackupRefused(AuditError):
    """A backup is not whole or not this log's, or what would be written is there already; ``detail`` says which."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.INTERNAL, detail)
