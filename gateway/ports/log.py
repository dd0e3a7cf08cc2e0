"""The log and what is made durable with it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from sqlalchemy import Connection, Executable, Insert

from gateway.entries import EntryDraft
from gateway.ports.past import Others, Topic


@dataclass(frozen=True, slots=True)
class Write:
    """A row to write in the same transaction as the entries. Use module-level statement objects: the writer groups
    equal statements of one commit into one ``executemany``, in order of first appearance.
    """

    statement: Executable
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Guard:
    """An insert that must be the first of its kind, or the whole append is refused.

    The writer first tries all guards of a commit as plain inserts; where one conflicts, each is tried alone and
    ``on_conflict`` decides for its own append: raise to refuse it, return to go on.
    """

    insert: Insert
    parameters: Mapping[str, Any]
    on_conflict: Callable[[Connection], None]


@dataclass(frozen=True, slots=True)
class Naming:
    """A name that is somebody's alone, wrapped with a data key of its own (:mod:`audit.names`).

    Attributes:
        key_id: of that data key, from ``commitments.new_name_key``; the row of whoever is named refers to it.
        subject: ``commitments.name_subject``.
        on_taken: called where the name is somebody's already, also by an append of the same commit: raises why the
            append is refused.
    """

    tenant: str
    subject: str
    key_id: str
    on_taken: Callable[[], NoReturn]


@dataclass(frozen=True, slots=True)
class Unless:
    """A query that must find nothing, or the whole append is refused with ``errors.Overtaken``.

    It is asked before the commit with the log's head locked and the entries and sealed values of the commit in place:
    nothing comes between its answer and the commit. ``before`` is bound to the index of the append's first entry, so
    that what stands earlier in the log can be told from what comes later in the same commit.
    """

    query: Executable
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Append:
    """What is made durable at once: all of it, or nothing.

    Attributes:
        rests_on: topic -> log index below which everything that others wrote about it was known when this was decided.
            Where they wrote more by the time of the commit, the append is refused with ``errors.Outdated``: exactly,
            because whoever commits holds the head's lock.
        unless: what must not have come in between since this was decided.
        namings: names that are given with it.
        finalise: called in the writer with the entries' log indices, before the commit; returns more rows (a receipt
            that names its index). It may be called again with other indices, so it must be quick and pure, and it must
            not touch the database.
    """

    entries: Sequence[EntryDraft]
    writes: Sequence[Write] = ()
    guards: Sequence[Guard] = ()
    finalise: Callable[[Sequence[int]], Sequence[Write]] | None = None
    rests_on: Mapping[Topic, int] = field(default_factory=dict)
    unless: Sequence[Unless] = ()
    namings: Sequence[Naming] = ()


class AuditLog(Protocol):
    """The append-only log. One writer per process."""

    origin: str

    @property
    def others(self) -> Others:
        """What other writers of the log append."""

    async def append(self, item: Append) -> Sequence[int]:
        """Make ``item`` durable; returns the log index of each entry, in order.

        Raises:
            Unavailable: ``log.unavailable`` within two seconds where the log cannot be written. An append that timed
                out before its commit began is dropped, never written later.
            Refused: what a guard's ``on_conflict``, or a naming's ``on_taken``, raised.
            Overtaken: one of ``unless`` found something.
        """

    def aggregate(self, entry: EntryDraft, source: str) -> None:
        """Count a refusal that happened before authentication; written as one entry per type, reason, source and
        minute (facts ``count`` and ``source``), so that a flood cannot fill the log.
        """

    async def checkpoint(self) -> str:
        """The newest signed checkpoint (C2SP tlog-checkpoint)."""

    async def proof(self, index: int) -> str:
        """``c2sp.org/tlog-proof@v1`` text for the entry at ``index``."""

    async def entry(self, index: int) -> bytes:
        """Canonical bytes of the entry at ``index``. Raises ``request.not_found``."""

    async def committing(self, plan_id: str, commitment: str) -> tuple[int, Mapping[str, str]]:
        """Index and fields of a plan's first entry that commits to ``commitment``. Raises ``request.not_found``."""

    async def ready(self) -> None:
        """Raises ``log.unavailable`` where an append would fail now."""


class Payloads(Protocol):
    """Reads the erasable side table."""

    async def open(self, commitments: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """Commitment -> (salt, value) for those that are still there."""

    async def owners(self, commitments: Sequence[str]) -> Collection[str]:
        """The data subjects whose keys seal any of these values that are still there."""
