"""Rows of steps that remote hands claim. Writes are handed to the log's writer; reads use connections of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, func, insert, select, update

from gateway.errors import HandrailError
from gateway.freeze import Freeze
from gateway.ports import Guard, Move, Offer, OfferStatus, Write
from gateway.reasons import Conflict, Reason, because
from gateway.state import PlanState, StepState
from gateway.store.freezes import within
from gateway.store.reading import Result, reading
from gateway.store.row_macs import RowMacs, sound
from gateway.store.tables import plans, steps
from gateway.store.tables.offers import offer_moves, offers

_INSERT: Final = insert(offers)
_INSERT_MOVE: Final = insert(offer_moves)
_MOVED: Final = ("status", "due_at", "changed_at", "log_index", "claimant", "jkt", "credential_sha256", "mac")
_UPDATE: Final = (
    update(offers)
    .where(offers.c.step_jti == bindparam("the_step"))
    .values({name: bindparam(f"new_{name}") for name in _MOVED})
)
_OPEN: Final = offers.c.status == str(OfferStatus.OPEN)
_LIVE: Final = offers.c.status.in_((str(OfferStatus.OPEN), str(OfferStatus.CLAIMED)))


class SqlOffers:
    """``ports.Offers`` over SQLAlchemy Core."""

    def __init__(self, engine: Engine, owner: str, mac_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            owner: this gateway's id.
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key offers no step, and
                gives no hand the right to a result.
        """
        self._engine = engine
        self.owner = owner
        self._macs = RowMacs(mac_key)
        self._seen_to = -1

    # --- writes, carried by the log ----------------------------------------------------------------------------------

    def open(self, plan: PlanState, state: StepState, at: float, log_index: int) -> Write:
        """See ``ports.Offers``."""
        if state.manifest is None or state.manifest.claim_seconds is None or state.step_jti is None:
            raise RuntimeError("only a step of a remote hand is offered")
        offer = Offer(
            step_jti=state.step_jti,
            plan_id=plan.plan.plan_id,
            step_id=state.step.id,
            tenant=plan.plan.tenant,
            hand=state.step.hand,
            owner=self.owner,
            status=OfferStatus.OPEN,
            offered_at=at,
            due_at=at + state.manifest.claim_seconds,
            changed_at=at,
            log_index=log_index,
        )
        return Write(_INSERT, self._sealed(offer))

    def change(self, offer: Offer) -> Write:
        """See ``ports.Offers``."""
        row = self._sealed(offer)
        return Write(_UPDATE, {"the_step": offer.step_jti, **{f"new_{name}": row[name] for name in _MOVED}})

    def guard(self, step_jti: str, move: Move) -> Guard:
        """See ``ports.Offers``."""
        return Guard(_INSERT_MOVE, {"step_jti": step_jti, "move": str(move)}, _decided)

    def _sealed(self, offer: Offer) -> dict[str, Any]:
        return self._macs.seal(offers, {**asdict(offer), "status": str(offer.status)})

    # --- reads -------------------------------------------------------------------------------------------------------

    async def find(self, step_jti: str) -> Offer | None:
        """See ``ports.Offers``."""

        def work(connection: Connection) -> Offer | None:
            row = connection.execute(select(offers).where(offers.c.step_jti == step_jti)).mappings().one_or_none()
            if row is None:
                return None
            self._verify(dict(row))
            return _offer(dict(row))

        return await self._read(work)

    async def of_plan(self, plan_id: str) -> Sequence[Offer]:
        """See ``ports.Offers``."""
        query = select(offers).where(offers.c.plan_id == plan_id, _LIVE)
        return await self._found(lambda connection: connection.execute(query))

    async def work(self, tenant: str, hand: str, now: float, limit: int) -> Sequence[str]:
        """See ``ports.Offers``."""
        query = (
            select(offers.c.step_jti)
            .where(offers.c.tenant == tenant, offers.c.hand == hand, _OPEN, offers.c.due_at > now)
            .order_by(offers.c.offered_at)
            .limit(limit)
        )
        return await self._read(lambda connection: list(connection.execute(query).scalars()))

    async def waiting(self, tenant: str, hand: str, at_most: int) -> int:
        """See ``ports.Offers``."""
        some = select(offers.c.step_jti).where(offers.c.tenant == tenant, offers.c.hand == hand, _OPEN).limit(at_most)
        counted = select(func.count()).select_from(some.subquery())
        return await self._read(lambda connection: int(connection.execute(counted).scalar_one()))

    async def due(self, now: float, limit: int) -> Sequence[Offer]:
        """See ``ports.Offers``."""
        query = select(offers).where(_LIVE, offers.c.due_at <= now).order_by(offers.c.due_at).limit(limit)
        return await self._found(lambda connection: connection.execute(query))

    async def stopped(self, freeze: Freeze, limit: int) -> Sequence[Offer]:
        """See ``ports.Offers``."""

        def find(connection: Connection) -> Any:
            query = (
                select(offers)
                .join(plans, plans.c.plan_id == offers.c.plan_id)
                .where(_LIVE, *within(freeze, offers.c.tenant, plans.c, offers.c.hand))
                .order_by(offers.c.offered_at)
                .limit(limit)
            )
            return connection.execute(query)

        return await self._found(find)

    async def left(self, before: float, limit: int) -> Sequence[str]:
        """See ``ports.Offers``."""
        query = (
            select(offers.c.plan_id, offers.c.log_index, plans.c.status)
            .join(plans, plans.c.plan_id == offers.c.plan_id)
            .where(
                offers.c.owner == self.owner,
                offers.c.log_index > self._seen_to,
                offers.c.changed_at <= before,
                offers.c.status == str(OfferStatus.ENDED),
            )
            .order_by(offers.c.log_index)
            .limit(limit)
        )
        found = await self._read(lambda connection: connection.execute(query).all())
        if found:
            self._seen_to = found[-1].log_index
        return list(dict.fromkeys(row.plan_id for row in found if row.status != "done"))

    async def progress(self, plan_id: str) -> int:
        """See ``ports.Offers``."""
        query = select(func.max(steps.c.log_index)).where(steps.c.plan_id == plan_id)
        return await self._read(lambda connection: connection.execute(query).scalar_one_or_none() or 0)

    async def _read(self, read: Callable[[Connection], Result]) -> Result:
        return await reading(self._engine, "offers", read)

    async def _found(self, find: Callable[[Connection], Any]) -> Sequence[Offer]:
        """The offers that are as the gateway left them. Each other one is refused, loudly, and does not keep the rest
        from their turn: its step ends as ``ambiguous`` at its gateway's next start."""
        rows = await self._read(lambda connection: find(connection).mappings().all())
        return [_offer(row) for row in sound(rows, self._verify)]

    def _verify(self, row: Mapping[str, Any]) -> None:
        self._macs.verify_row(offers, row)


def _offer(row: Mapping[str, Any]) -> Offer:
    return Offer(**{name: row[name] for name in Offer.__slots__ if name != "status"}, status=OfferStatus(row["status"]))


def _decided(_: Connection) -> None:
    raise HandrailError(
        Reason.REQUEST_CONFLICT, "the offer was taken or ended before", **because(Conflict.OFFER_DECIDED)
    )
