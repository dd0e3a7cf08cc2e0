"""Refusals before authentication, counted: one entry per type, reasons, source and minute, so that a flood cannot fill
the log.
"""

from collections.abc import Sequence
from typing import Final

from gateway.commitments import commit
from gateway.entries import EntryDraft, EntryType

KEYS_MAX: Final = 1_024
"""Distinct (type, reasons, tenant, source) in one window; the rest are counted together."""
OTHER: Final = "other"
"""The ``source`` fact of what was counted together."""

Key = tuple[EntryType, tuple[str, ...], str, str | None]


class Aggregator:
    """Counts until somebody takes the entries. Belongs to one event loop.

    Args:
        window_seconds: how often :meth:`take` is called; entries say so.
    """

    def __init__(self, window_seconds: int) -> None:
        self._window_seconds = window_seconds
        self._counts: dict[Key, int] = {}

    def add(self, entry: EntryDraft, source: str) -> None:
        """Count one refusal. ``source`` (an address) is personal: the entry only commits to it."""
        key: Key = (entry.type, entry.reasons, entry.tenant, source.encode(errors="replace").decode())
        if key not in self._counts and len(self._counts) >= KEYS_MAX:
            # The number of types, reasons and tenants is ours; only sources are the attacker's to choose.
            key = (entry.type, entry.reasons, entry.tenant, None)
        self._counts[key] = self._counts.get(key, 0) + 1

    def take(self) -> Sequence[tuple[Key, EntryDraft]]:
        """The entries of this window, each with what :meth:`put_back` needs; counting starts anew."""
        counts, self._counts = self._counts, {}
        return [(key, self._draft(key, count)) for key, count in counts.items()]

    def put_back(self, taken: Sequence[tuple[Key, EntryDraft]]) -> None:
        """Count again what could not be written."""
        for key, draft in taken:
            known = key if key in self._counts or len(self._counts) < KEYS_MAX else (*key[:3], None)
            self._counts[known] = self._counts.get(known, 0) + int(draft.facts["count"])

    def _draft(self, key: Key, count: int) -> EntryDraft:
        entry_type, reasons, tenant, source = key
        facts: dict[str, str | int] = {"count": count, "window_seconds": self._window_seconds}
        if source is None:
            return EntryDraft(entry_type, tenant, reasons=reasons, facts={**facts, "source": OTHER})
        value = commit(source.encode(), f"source/{source}")
        return EntryDraft(entry_type, tenant, reasons=reasons, facts=facts, fields={"source": value})
