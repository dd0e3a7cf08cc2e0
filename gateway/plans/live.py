"""A plan that a process is taking forward now."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.calls import Relay
from gateway.errors import HandrailError
from gateway.model import UnverifiedPlan
from gateway.ports import StoredCall
from gateway.state import PlanState

Instead: TypeAlias = Callable[[], Awaitable[StoredCall | None]]
"""Finds the step that stands for a plan's, and gives it to nobody else."""


Redact: TypeAlias = Callable[[Sequence[str]], Awaitable[UnverifiedPlan]]
"""Kinds -> the same plan without anything of them."""


class ToRedact(Exception):
    """Policy wants something taken out of the plan's one step before it decides."""

    def __init__(self, kinds: Sequence[str]) -> None:
        super().__init__(*kinds)
        self.kinds = kinds


class NotNeeded(Exception):
    """A step on record stands for the plan's."""

    def __init__(self, step: StoredCall) -> None:
        super().__init__(step.plan_id)
        self.step = step


@dataclass(slots=True)
class Live:
    """A plan that this process is taking forward now."""

    plan: PlanState | None = None
    recorded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the plan is on record, or refused."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once nothing is left to do but wait."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a person answered."""
    refusal: HandrailError | None = None
    running: set[asyncio.Task[None]] = field(default_factory=set)
    """Steps being executed."""
    relay: Relay | None = None
    """Whom the answer of the plan's one step is passed on to while it comes, if it runs in this life of the plan."""
    instead: Instead | None = None
    """Asked before people are, or before the plan is denied, while it is not on record."""
    found: StoredCall | None = None
    """The step that stands for the plan's, which is not needed."""
    redact: Redact | None = None
    """Whoever can take something out of the plan, while it is not on record."""
    to_redact: Sequence[str] = ()
    """Kinds that are to be taken out of it first."""
    opening: int = 0
    """Approval requests that there is room kept for until they are on record."""
