"""What the log says of the gateway's own keys: their signed history, and what still stands of one that was stolen."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audit.checkpoint import VerifierKey
from audit.log import Log
from audit.predating import covered_size, covered_without, key_changes
from gateway.canonical import canonical
from gateway.errors import Malformed, Refused
from gateway.ports import Purpose, Typ
from gateway.reasons import Reason
from keys import algorithms
from keys.keyset import Keyset, life
from keys.rotation import Compromise, KeyRecord

VERSION: Final = 1
_EXPECTED: Final = "a time that is over"


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """Joins the key set with the log's entries about it."""

    log: Log
    keyset: Keyset
    clock: Callable[[], float]

    async def signed(self) -> str:
        """Every key that ever was, when it signed, and which entries of the log say so: a ``history+jws``.

        As long as no key changes, and no entry about one is added, it is the same text.

        Raises:
            Unavailable: ``log.unavailable``, ``key.unavailable``.
        """
        records = self.keyset.list()
        changes = await asyncio.to_thread(key_changes, self.log.reader)
        return self.keyset.sign(Purpose.RECEIPT, Typ.HISTORY, payload(self.log.origin, records, changes))

    async def compromise(self, kid: str, at: float) -> Compromise:
        """How much of the log is covered by a checkpoint that predates ``at`` and does not rest on the key.

        Raises:
            Refused: ``request.not_found``; ``request.malformed`` for a time to come.
            Unavailable: ``log.unavailable``.
        """
        known = {record.kid: record for record in self.keyset.list()}
        if kid not in known:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such key")
        if at > self.clock():
            raise Malformed("a time to come", pointer="/compromised_at", expected=_EXPECTED)
        return Compromise(at, await asyncio.to_thread(self._covered, known[kid].purpose, kid, at))

    def _covered(self, purpose: Purpose, kid: str, at: float) -> int:
        if purpose is not Purpose.CHECKPOINT:
            return covered_size(self.log.reader, at)
        others = [
            VerifierKey(name, key.raw)
            for key in self.keyset.public_bytes(Purpose.CHECKPOINT)
            if key.kid != kid
            for name in (self.log.origin, *self.log.former)
        ]
        return covered_without(self.log.reader, self.log.cosigned, at, kid, others)


def payload(origin: str, records: Sequence[KeyRecord], changes: Sequence[tuple[int, str, str, str]]) -> bytes:
    """What is signed: RFC 8785 JSON of ``{v, iss, iat, keys}``.

    Args:
        changes: index, type, kid and state of each entry about a key, oldest first.
    """
    entries: dict[str, list[list[Any]]] = {record.kid: [] for record in records}
    for index, code, kid, state in changes:
        if kid in entries:
            entries[kid].append([index, code, state])
    keys = [_key(record, entries[record.kid]) for record in records]
    return canonical({"v": VERSION, "iss": origin, "iat": int(_last_change(records)), "keys": keys})


def _key(record: KeyRecord, entries: Sequence[Sequence[Any]]) -> dict[str, Any]:
    ends = [record.retiring_at, record.revoked_at, record.compromised_at]
    signed = {
        "not_before": record.activated_at,
        "not_after": min((end for end in ends if end is not None), default=None),
    }
    return {
        **algorithms.document(record),
        "purpose": str(record.purpose),
        "state": str(record.state),
        **life(record),
        **{name: value for name, value in signed.items() if value is not None and record.activated_at is not None},
        "entries": list(entries),
    }


def _last_change(records: Sequence[KeyRecord]) -> float:
    times = (
        (record.created_at, record.activated_at, record.retiring_at, record.retired_at, record.revoked_at)
        for record in records
    )
    return max((time for life in times for time in life if time is not None), default=0.0)
