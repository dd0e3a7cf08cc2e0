"""A question of a run to a model: for whom, to which brain, with which tools, and whether it may be asked at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.connector import detached
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Refused
from gateway.manifest import MESSAGES, Manifest
from gateway.model import Principal, RunTurn
from gateway.offered_tools import OfferedTool, Tools
from gateway.permissions import Permission, permits
from gateway.ports.runs import Run, RunStatus
from gateway.reasons import Reason
from gateway.runs import brains, conversation, money
from gateway.runs.asked import Asked
from gateway.runs.conversation import Block
from gateway.runs.parts import Parts


class Over(Exception):
    """The run ends like this.

    Attributes:
        note: a closed word more.
        counted: a turn that counts what the run used, its last answer included; ``None`` where its last turn does.
    """

    def __init__(
        self, status: RunStatus, reason: Reason | None = None, note: str = "", counted: RunTurn | None = None
    ) -> None:
        super().__init__(status)
        self.status, self.reason, self.note, self.counted = status, reason, note, counted


@dataclass(slots=True)
class Asking:
    """Asks for one run."""

    parts: Parts
    tools: Tools
    run: Run
    asked: Asked
    order: Sequence[str] = field(init=False)
    """The brains that fit, in the order in which they are asked."""

    def __post_init__(self) -> None:
        asked, known, priced = self.asked, self.parts.settings.brains, self.run.money_max is not None
        try:
            self.order = brains.order(known, asked.purpose, asked.data_classes, asked.brain, priced=priced)
        except Refused:
            self.order = ()  # the configuration is another one than when the run began

    async def ask(
        self, turn: RunTurn, messages: Sequence[Block], away: set[str], people: Sequence[str], **more: Any
    ) -> None:
        """Put the conversation to the turn's brain, or to the next that fits where that is away.

        Args:
            people: whom the conversation concerns beside the author.

        Raises:
            Over: nobody is asked any more.
            Refused, Unavailable: as ``Parts.submit``.
        """
        if turn.steps > self.run.steps_max:
            raise Over(RunStatus.FAILED, Reason.RUN_BUDGET, "steps", turn)
        self.check_used(turn)
        person = await self.person()
        name = self._brain(person, turn.brain, away)
        brain = self.parts.settings.brains[name]
        body = conversation.question(
            brain.model, self._longest(name, turn), self.asked, await self._shown(person), messages
        )
        action = {"id": "ask", "hand": brains.hand_of(name, brain), "action": MESSAGES, "args": detached(body)}
        if people:
            action["data_subjects"] = list(people)
        if self.asked.purpose is not None:
            more["purpose"] = self.asked.purpose
        await self.parts.submit(self.run, replace(turn, brain=name), person, [action], **more)

    def check_used(self, turn: RunTurn) -> None:
        """Whether something is left of what the run may use, beside steps; of money that nobody counted, nothing is.

        Raises:
            Over: ``run.budget``.
        """
        if turn.tokens >= self.run.tokens_max:
            raise Over(RunStatus.FAILED, Reason.RUN_BUDGET, "tokens", turn)
        if self.run.money_max is not None and (turn.spent is None or turn.spent >= self.run.money_max):
            raise Over(RunStatus.FAILED, Reason.RUN_BUDGET, "money", turn)

    def _longest(self, name: str, turn: RunTurn) -> int:
        """The longest answer that what is left allows."""
        brain = self.parts.settings.brains[name]
        most = min(brain.max_tokens, self.run.tokens_max - turn.tokens)
        if self.run.money_max is None:
            return most
        paid = money.longest(brain, self.run.money_max - (turn.spent or 0))
        if paid == 0:
            raise Over(RunStatus.FAILED, Reason.RUN_BUDGET, "money", turn)
        return most if paid is None else min(most, paid)

    def _brain(self, person: Principal, current: str, away: set[str]) -> str:
        """The brain to ask: the current one, unless it is away or cannot be used any more; then the next that fits."""
        configured = self.parts.settings.brains
        fitting = (name for name in dict.fromkeys((current, *self.order)) if name in configured and name in self.order)
        names = [name for name in fitting if name not in away]
        try:
            return brains.first_usable(self.parts.pipeline.hands, person, configured, names)
        except Refused as refusal:
            raise Over(RunStatus.FAILED, refusal.reason if names else Reason.RUN_BRAIN) from None

    async def person(self) -> Principal:
        """Whom the run acts for, as they are now, with no more than they had when they began it.

        Raises:
            Over: they, or what they called by, may not act any more.
        """
        try:
            person = await self.parts.pipeline.directory.person(self.run.tenant, self.run.principal)
        except Refused:
            raise Over(RunStatus.FAILED, Reason.AUTH_FORBIDDEN, "principal") from None
        narrowed = self.asked.narrowed(person)
        if not permits(narrowed, Permission.PLANS_SUBMIT):
            raise Over(RunStatus.FAILED, Reason.AUTH_FORBIDDEN, "roles")
        try:
            await self.parts.check_shown(self.asked.shown, self.parts.clock())
        except Refused as refusal:
            raise Over(RunStatus.FAILED, refusal.reason, "credential") from None
        return narrowed

    def offered(self, person: Principal) -> Mapping[str, OfferedTool]:
        """The tools that the model may call: what the person may use now, of the hands that the run is about."""
        return self.tools.offered(self._manifests(person))

    async def _shown(self, person: Principal) -> Mapping[str, OfferedTool]:
        """Those of them that the model is told of. Who calls another is judged, and hears what policy says."""
        manifests = self._manifests(person)
        hidden = await self.parts.menus.hidden(person, manifests)
        offered = self.tools.offered(manifests)
        return {name: one for name, one in offered.items() if one.action not in hidden.get(one.hand, ())}

    def _manifests(self, person: Principal) -> Sequence[Manifest]:
        able = brains.with_tools(self.parts.pipeline.hands, person, self.parts.settings.brains)
        wanted = self.run.hands
        return [manifest for manifest in able if wanted is None or manifest.hand in wanted]

    def count_unknown(self, person: Principal) -> None:
        """Record that a model called what it was not offered."""
        reasons = (str(Reason.SCHEMA_UNKNOWN_ACTION),)
        draft = EntryDraft(EntryType.SCHEMA_REJECTED, person.tenant, principal=person.pseudonym, reasons=reasons)
        self.parts.pipeline.log.aggregate(draft, person.pseudonym)
