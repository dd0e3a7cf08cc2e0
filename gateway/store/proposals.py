"""Rows of proposals. Each is read as the gateway left it, or not at all.

Two things vouch for a row, as for the directory's: its MAC says that the gateway wrote it; the log says how far the
proposal has come since, so an older state that somebody put back is refused.
"""

import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, Engine, bindparam, insert, select, update

from audit.history import TREE_SIZE, facts_of
from gateway.canonical import canonical, sha256_canonical
from gateway.errors import Malformed, Refused
from gateway.ports import Guard, Write
from gateway.reasons import Conflict, Reason, because
from gateway.store.reading import Result, reading
from gateway.store.row_macs import RowChanged, RowMacs, sound
from gateway.store.tables import proposal_acts, proposals
from gateway.two_person import AFTER, ENTRY_TYPES, Act, Kind, Proposal, ProposalStatus

_CHANGED: Final = (
    "status",
    "fields",
    "decided_by",
    "decided_attested_by",
    "decided_at",
    "in_force_until",
    "ended_by",
    "ended_at",
    "mac",
)
_INSERT: Final = insert(proposals)
_INSERT_ACT: Final = insert(proposal_acts)
_UPDATE: Final = (
    update(proposals)
    .where(proposals.c.proposal_id == bindparam("the_proposal"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
)
_COPIED: Final = (
    "tenant",
    "subject",
    "proposed_by",
    "proposed_attested_by",
    "proposed_at",
    "expires_at",
    "decided_by",
    "decided_attested_by",
    "decided_at",
    "in_force_until",
    "ended_by",
    "ended_at",
)
"""Members of a ``Proposal`` that are columns of the same name."""


class Progress:
    """How far the log says that each proposal has come. Read on from where the last reading ended. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_to: dict[str, int] = {}
        self._reached: dict[str, list[tuple[int, ProposalStatus]]] = {}

    def read(self, connection: Connection, tenants: Collection[str]) -> dict[str, int]:
        """Take in what was logged since; to be done *before* the rows are read, which are then as new at least.

        Returns:
            Tenant -> the newest index that this reading saw. Others may see newer ones meanwhile, or have seen them
            since this connection first looked, which the rows that are read here need not show.
        """
        size = connection.execute(select(TREE_SIZE)).scalar_one_or_none() or 0
        return {tenant: min(self._read_tenant(connection, tenant), size - 1) for tenant in tenants}

    def _read_tenant(self, connection: Connection, tenant: str) -> int:
        seen = self._read_to.get(tenant, -1)
        found = list(facts_of(connection, tenant, ENTRY_TYPES, seen))
        with self._lock:
            for index, facts in found:
                if index <= self._read_to.get(tenant, -1):
                    continue  # another thread was faster
                self._read_to[tenant] = index
                if "proposal" in facts and "act" in facts:
                    status = AFTER[Act(facts["act"])]
                    self._reached.setdefault(facts["proposal"], []).append((index, status))
        return found[-1][0] if found else seen

    def check(self, row: Mapping[str, Any], seen: int) -> None:
        """Raises ``RowChanged`` where the log, read up to ``seen``, knows another or a later state of the row."""
        status = ProposalStatus(row["status"])
        for index, known in self._reached.get(row["proposal_id"], ()):
            if index <= seen and known is not status and known.rank >= status.rank:
                raise RowChanged(proposals, row, "was put back from before it was decided")


class SqlProposals:
    """``gateway.ports.ProposalStore`` over SQLAlchemy Core. Writes are carried by the log's writer."""

    def __init__(self, engine: Engine, mac_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key can propose and activate
                nothing.
        """
        self._engine = engine
        self._macs = RowMacs(mac_key)
        self._progress = Progress()

    # --- writes ------------------------------------------------------------------------------------------------------

    def insert(self, proposal: Proposal) -> Guard:
        """A new proposal; its id must be, and no other one about the same may be open. Conflicts raise
        ``request.conflict``."""
        return Guard(_INSERT, self._macs.seal(proposals, _row(proposal)), partial(_taken, proposal.id))

    def change(self, proposal: Proposal) -> tuple[Guard, Write]:
        """A later state of a proposal. Each step is made once among all gateways; else ``proposal.closed``."""
        row = self._macs.seal(proposals, _row(proposal))
        step = "ended" if proposal.status is ProposalStatus.ENDED else "decided"
        guard = Guard(_INSERT_ACT, {"proposal_id": proposal.id, "step": step}, _closed)
        parameters = {"the_proposal": proposal.id, **{f"new_{name}": row[name] for name in _CHANGED}}
        return guard, Write(_UPDATE, parameters)

    # --- reads -------------------------------------------------------------------------------------------------------

    async def get(self, tenant: str, proposal_id: str) -> Proposal | None:
        """One proposal of a tenant.

        Raises:
            RowChanged: ``gateway.internal``; the row is not as the gateway left it.
            Unavailable: the database cannot be read.
        """
        condition = (proposals.c.tenant == tenant) & (proposals.c.proposal_id == proposal_id)
        return next(iter(await self._read(lambda connection: self._found(connection, condition, 1, strict=True))), None)

    async def page(
        self, tenant: str, status: ProposalStatus | None, kind: Kind | None, *, after: str | None, limit: int
    ) -> Sequence[Proposal]:
        """A tenant's proposals, newest first. Rows that are not as the gateway left them are left out, loudly.

        Args:
            after: id of the proposal that the page before ended with.

        Raises:
            Refused: ``request.malformed`` where the tenant has no proposal ``after``.
        """

        def read(connection: Connection) -> Sequence[Proposal]:
            condition = proposals.c.tenant == tenant
            if status is not None:
                condition &= proposals.c.status == str(status)
            if kind is not None:
                condition &= proposals.c.kind == str(kind)
            if after is not None:
                mine = (proposals.c.proposal_id == after) & (proposals.c.tenant == tenant)
                at = connection.execute(select(proposals.c.proposed_at).where(mine)).scalar_one_or_none()
                if at is None:
                    raise Malformed("no such proposal", parameter="after", expected="next of the page before")
                condition &= (proposals.c.proposed_at < at) | (
                    (proposals.c.proposed_at == at) & (proposals.c.proposal_id < after)
                )
            return self._found(connection, condition, limit)

        return await self._read(read)

    async def in_force(self, kinds: Collection[Kind], now: float) -> Sequence[Proposal]:
        """The proposals of standing kinds that count at ``now``, of all tenants, newest first. A row that is not as the
        gateway left it counts for nothing."""
        condition = (
            proposals.c.kind.in_([str(kind) for kind in kinds])
            & (proposals.c.status == str(ProposalStatus.ACTIVATED))
            & (proposals.c.in_force_until > now)
        )
        found = await self._read(lambda connection: self._found(connection, condition, 1000))
        return [proposal for proposal in found if proposal.in_force(now)]

    async def due(self, now: float, limit: int) -> Sequence[Proposal]:
        """Open proposals past their time, and standing ones that are over."""
        condition = ((proposals.c.status == str(ProposalStatus.OPEN)) & (proposals.c.expires_at <= now)) | (
            (proposals.c.status == str(ProposalStatus.ACTIVATED)) & (proposals.c.in_force_until <= now)
        )
        return await self._read(lambda connection: self._found(connection, condition, limit))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _found(self, connection: Connection, condition: Any, limit: int, *, strict: bool = False) -> list[Proposal]:
        tenants = connection.execute(select(proposals.c.tenant).where(condition).distinct()).scalars()
        seen = self._progress.read(connection, list(tenants))
        newest_first = (proposals.c.proposed_at.desc(), proposals.c.proposal_id.desc())
        # A tenant whose first proposal came in between is seen at the next reading.
        query = select(proposals).where(condition, proposals.c.tenant.in_(seen)).order_by(*newest_first).limit(limit)
        rows = sound(connection.execute(query).mappings(), partial(self._verify, seen), strict=strict)
        return [_proposal(row) for row in rows]

    def _verify(self, seen: Mapping[str, int], row: Mapping[str, Any]) -> None:
        self._macs.verify_row(proposals, row)
        self._progress.check(row, seen[row["tenant"]])

    async def _read(self, read: Callable[[Connection], Result]) -> Result:
        return await reading(self._engine, "proposals", read)


def _row(proposal: Proposal) -> dict[str, Any]:
    return {
        "proposal_id": proposal.id,
        "kind": str(proposal.kind),
        "status": str(proposal.status),
        "document": canonical(dict(proposal.document)).decode(),
        "fields": json.dumps(dict(proposal.commitments)),
        **{name: getattr(proposal, name) for name in _COPIED},
    }


def _proposal(row: Mapping[str, Any]) -> Proposal:
    document = json.loads(row["document"])
    return Proposal(
        id=row["proposal_id"],
        kind=Kind(row["kind"]),
        status=ProposalStatus(row["status"]),
        document=document,
        document_sha256=sha256_canonical(document),
        commitments=json.loads(row["fields"]),
        **{name: row[name] for name in _COPIED},
    )


def _taken(proposal_id: str, connection: Connection) -> NoReturn:
    sent_twice = select(proposals.c.proposal_id).where(proposals.c.proposal_id == proposal_id)
    if connection.execute(sent_twice).first() is None:
        detail = "another proposal about the same is open"
        raise Refused(Reason.REQUEST_CONFLICT, detail, member="document", **because(Conflict.PROPOSAL_OPEN))
    raise Refused(Reason.REQUEST_CONFLICT, "the proposal exists", member="id", **because(Conflict.PROPOSAL_EXISTS))


def _closed(_connection: Connection) -> NoReturn:
    raise Refused(Reason.PROPOSAL_CLOSED, "decided meanwhile")
