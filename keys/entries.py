"""How changes of keys stand in the audit log."""

from collections.abc import Sequence
from typing import Final

from gateway.entries import EntryDraft, EntryType
from keys.rotation import KeyRecord, KeyState

_TYPES: Final = {
    KeyState.NEXT: EntryType.KEY_CREATED,
    KeyState.ACTIVE: EntryType.KEY_ROTATED,
    KeyState.RETIRING: EntryType.KEY_ROTATED,
    KeyState.RETIRED: EntryType.KEY_ROTATED,
    KeyState.REVOKED: EntryType.KEY_REVOKED,
}


def drafts(changed: Sequence[KeyRecord], tenant: str, principal: str | None) -> list[EntryDraft]:
    """One entry per record that a ``Keyset`` method returned; ``principal`` is the pseudonym of who asked for it."""
    return [
        EntryDraft(
            _TYPES[record.state],
            tenant,
            principal=principal,
            facts={"kid": record.kid, "purpose": str(record.purpose), "state": str(record.state), **_covered(record)},
        )
        for record in changed
    ]


def _covered(record: KeyRecord) -> dict[str, int]:
    if record.compromised_at is None or record.covered_size is None:
        return {}
    return {"compromised_at": int(record.compromised_at), "covered_size": record.covered_size}
