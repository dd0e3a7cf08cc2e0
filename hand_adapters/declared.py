"""One declared hand: what it offers now, which tenants pinned exactly that, and so for whom it can be used.

A hand is declared once, for the gateway; a pin is one tenant's yes. Tenants that pinned what the hand offers all pinned
one manifest, so schemas are compiled once for them together.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import structlog

from gateway.canonical import canonical
from gateway.errors import Refused
from gateway.manifest import Manifest
from gateway.mcp_methods import is_method
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters.contract import Analyses, HandAdapter
from hand_adapters.diff import differences
from hand_adapters.pins import Pin
from hand_adapters.schemas import Checker, SchemaError

_log = structlog.get_logger("handrail.hands")

ANALYSIS_MAX_BYTES: Final = 131_072
"""Of an analysis as canonical JSON."""


class State(StrEnum):
    """What a hand is good for now."""

    PINNED = "pinned"
    """It offers what was pinned: it can be used."""
    UNPINNED = "unpinned"
    """Nobody has said yes to it yet."""
    DRIFTED = "drifted"
    """It offers something else than what was pinned."""
    ASKING = "asking"
    """It is being asked for the first time since the gateway started."""
    UNAVAILABLE = "unavailable"
    """It could not be asked."""
    DISABLED = "disabled"
    """The operator switched it off."""


@dataclass(slots=True)
class DeclaredHand:
    """A hand of the configuration, with what is known of it."""

    id: str
    settings: HandSettings
    adapter: HandAdapter | None
    """``None`` where it is switched off."""
    problem: str
    """What an operator of any tenant should know; where nothing is offered, why."""
    pins: dict[str, Pin] = field(default_factory=dict)
    """Tenant -> its pin, of tenants that the hand is declared for."""
    offered: Manifest | None = None
    checkers: Mapping[str, tuple[Checker, Checker | None]] = field(default_factory=dict)
    """Action -> checkers of args and result; compiled for what is offered once somebody has pinned that."""
    flawed: bool = False
    """Whether a schema that somebody pinned does not compile."""
    asked: bool = False
    recorded_drifts: dict[str, str] = field(default_factory=dict)
    """Tenant -> the offered digest that the log has an entry for."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    analyst: Analyses | None = field(init=False)
    """The adapter, where it can say more of a call than its arguments do."""

    def __post_init__(self) -> None:
        self.analyst = self.adapter if isinstance(self.adapter, Analyses) else None

    def analyse(self, action: str, args: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the adapter can say of a call beside its arguments; ``None`` where it says nothing of any.

        Raises:
            Refused: ``schema.analysis``.
        """
        if self.analyst is None:
            return None
        try:
            analysis = self.analyst.analyse(action, args)
        except Refused:
            raise
        except Exception as exc:  # noqa: BLE001 - a third party's adapter
            _log.error("adapter failed to analyse", hand=self.id, action=action, kind=type(exc).__name__)
            raise Refused(Reason.SCHEMA_ANALYSIS, type(exc).__name__) from None
        if not _is_analysis(analysis):
            raise Refused(Reason.SCHEMA_ANALYSIS, "no analysis, or a large one")
        return analysis

    def for_tenant(self, tenant: str) -> bool:
        """Whether the tenant may know of the hand at all."""
        return tenant in self.settings.tenants

    def take_pins(self, pins: Mapping[tuple[str, str], Pin]) -> None:
        """Keep, of all pins, those of this hand by tenants that it is declared for."""
        self.pins = {
            tenant: pin for (tenant, hand), pin in pins.items() if hand == self.id and tenant in self.settings.tenants
        }

    def unreachable(self, problem: str) -> None:
        """It could not be asked: it offers nothing now."""
        self.offered, self.problem, self.checkers, self.flawed = None, problem, {}, False

    def observe(self, offered: Manifest) -> None:
        """Take in what it offers now, and compile the schemas where a tenant has pinned exactly that."""
        compiled = self.offered is not None and self.offered.digest == offered.digest and bool(self.checkers)
        self.offered = offered
        self.problem = " ".join(self.adapter.notes) if self.adapter is not None else ""
        self.flawed = False
        self.checkers = self.checkers if compiled else {}
        if compiled or not any(self._agreed(pin) for pin in self.pins.values()):
            return
        try:
            self.checkers = {
                name: (
                    Checker(action.args_schema),
                    None if action.result_schema is None else Checker(action.result_schema),
                )
                for name, action in offered.actions.items()
            }
        except SchemaError as exc:
            self.flawed, self.problem = True, f"A pinned schema {exc.detail}."

    def state(self, tenant: str) -> State:
        """What it is good for to one tenant."""
        if self.adapter is None:
            return State.DISABLED
        if self.offered is None and not self.asked:
            return State.ASKING
        if self.offered is None or self.flawed:
            return State.UNAVAILABLE
        pin = self.pins.get(tenant)
        if pin is None or pin.manifest is None:
            return State.UNPINNED
        return State.PINNED if self._agreed(pin) else State.DRIFTED

    def best_state(self) -> State:
        """For readiness: what it is good for to the tenant that it is best for."""
        states = {self.state(tenant) for tenant in self.settings.tenants}
        order = (State.PINNED, State.DRIFTED, State.UNPINNED, State.UNAVAILABLE, State.ASKING, State.DISABLED)
        return next(state for state in order if state in states)

    def document(self, tenant: str) -> dict[str, Any]:
        """What ``GET /v1/hands`` shows of it to a tenant."""
        pin, state, problem = self.pins.get(tenant), self.state(tenant), self.problem
        if state is State.DRIFTED:
            problem = f"It offers something else than what was pinned. {problem}".strip()
        elif state is State.UNPINNED and pin is not None:
            problem = f"The stored pin is damaged: pin it again. {problem}".strip()
        return {
            "id": self.id,
            "adapter": self.settings.adapter,
            "state": str(state),
            **({"problem": problem} if problem else {}),
            "pinned_digest": pin.digest if pin is not None and pin.manifest is not None else None,
            "offered_digest": self.offered.digest if self.offered is not None else None,
            "region": self.settings.region,
            "trust": str(self.settings.trust),
            **({"endpoint": self.offered.endpoint} if self.offered is not None and self.offered.endpoint else {}),
            "secrets": [use.document() for use in (self.offered.secrets if self.offered is not None else ())],
            "egress": [rule.document() for rule in (self.offered.egress if self.offered is not None else ())],
            "actions": [
                {
                    "name": action.name,
                    "description": action.description,
                    "side_effects": str(action.side_effects),
                    "idempotent": action.idempotent,
                    "args_schema": action.args_schema,
                    **(
                        {"annotations": dict(action.annotations)}
                        if is_method(self.settings.adapter, action.name) and action.annotations
                        else {}
                    ),
                }
                for action in (self.offered.actions.values() if self.offered is not None else ())
            ],
        }

    def diff(self, tenant: str) -> list[dict[str, Any]]:
        """Where the offered manifest differs from the one that the tenant pinned."""
        pin = self.pins.get(tenant)
        if pin is None or pin.manifest is None or self.offered is None or pin.digest == self.offered.digest:
            return []
        return differences(pin.manifest.document(), self.offered.document())

    def _agreed(self, pin: Pin) -> bool:
        return self.offered is not None and pin.manifest is not None and pin.digest == self.offered.digest


def _is_analysis(said: Any) -> bool:
    """Whether it is a JSON object of a size that policies are given."""
    try:
        return isinstance(said, Mapping) and len(canonical(said)) <= ANALYSIS_MAX_BYTES
    except Refused:
        return False
