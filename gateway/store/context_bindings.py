"""Which principal a context belongs to: whoever's plan was the first in it, for good."""

from typing import Final

from sqlalchemy import Connection, insert, select

from gateway.errors import Mistaken, Refused
from gateway.ports import Guard
from gateway.reasons import Reason
from gateway.state import PlanState
from gateway.store.tables import contexts

_INSERT: Final = insert(contexts)

REMEMBERED_MAX: Final = 65_536
"""Bindings kept in memory. A binding never changes, so a remembered one needs no row."""


class ContextBindings:
    """The bindings on record, the newest of them also in memory."""

    def __init__(self) -> None:
        self._principals: dict[tuple[str, str], str] = {}

    def guard(self, plan: PlanState) -> Guard | None:
        """What binds the plan's context with its record, or ``None`` where it is known to be its principal's.

        Raises:
            Refused: ``verify.context``: it is another principal's.
            Mistaken: the plan was judged as the first of its context, and is not.
        """
        the = plan.plan
        known = self._principals.get((the.tenant, the.context_id))
        if known is None:
            row = {
                "tenant": the.tenant,
                "context_id": the.context_id,
                "principal": the.principal.pseudonym,
                "bound_at": the.received_at,
            }
            same = _SameContext(the.tenant, the.context_id, the.principal.pseudonym, first=plan.first_of_context)
            return Guard(_INSERT, row, same)
        if known != the.principal.pseudonym:
            raise Refused(Reason.VERIFY_CONTEXT)
        if plan.first_of_context:
            raise Mistaken
        return None

    def remember(self, plan: PlanState) -> None:
        """Keep the binding of the plan's context in mind, now that it is on record."""
        if len(self._principals) >= REMEMBERED_MAX:
            self._principals.clear()
        self._principals[plan.plan.tenant, plan.plan.context_id] = plan.plan.principal.pseudonym

    def remembers(self, plan: PlanState) -> bool:
        """Whether the plan's context is in mind."""
        return (plan.plan.tenant, plan.plan.context_id) in self._principals


class _SameContext:
    """A context that exists already is fine if it is this principal's, and the plan was judged with that in mind."""

    __slots__ = ("_context_id", "_first", "_principal", "_tenant")

    def __init__(self, tenant: str, context_id: str, principal: str, *, first: bool) -> None:
        self._tenant = tenant
        self._context_id = context_id
        self._principal = principal
        self._first = first

    def __call__(self, connection: Connection) -> None:
        owner = connection.execute(
            select(contexts.c.principal).where(
                contexts.c.tenant == self._tenant, contexts.c.context_id == self._context_id
            )
        ).scalar_one_or_none()
        if owner != self._principal:
            raise Refused(Reason.VERIFY_CONTEXT)
        if self._first:
            raise Mistaken
