"""The registry of hands: which adapters there are, which hands are declared, and which of them may be used now.

A hand is used only while it offers exactly what was pinned. Everything else (never pinned, changed since, not
answering, switched off, unknown) looks the same to a plan: there is no such hand.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Any, Final

import structlog

from gateway.errors import HandrailError, Refused, Unavailable
from gateway.manifest import Manifest
from gateway.model import DEFAULT_TENANT, HandCall, HandResult, Principal
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandAdapter, HandDrifted, HandError
from hand_adapters.diff import differences
from hand_adapters.http import HttpAdapter
from hand_adapters.jail import Jail
from hand_adapters.mcp import McpAdapter
from hand_adapters.pins import Pin, PinStore
from hand_adapters.schemas import Checker, SchemaError

_log = structlog.get_logger("handrail.hands")

BUILT_IN: Final[Mapping[str, type[HandAdapter]]] = {"http": HttpAdapter, "mcp": McpAdapter}
ENTRY_POINT_GROUP: Final = "handrail.adapters"
RETRY_SECONDS: Final = (5.0, 15.0, 60.0, 300.0)
"""When a hand that did not answer is asked again; the last one repeats."""


class State(StrEnum):
    """What a hand is good for now."""

    PINNED = "pinned"
    """It offers what was pinned: it can be used."""
    UNPINNED = "unpinned"
    """Nobody has said yes to it yet."""
    DRIFTED = "drifted"
    """It offers something else than what was pinned."""
    UNAVAILABLE = "unavailable"
    """It could not be asked."""
    DISABLED = "disabled"
    """The operator switched it off."""


@dataclass(slots=True)
class _Hand:
    id: str
    settings: HandSettings
    adapter: HandAdapter | None
    state: State
    problem: str = ""
    pin: Pin | None = None
    offered: Manifest | None = None
    checkers: dict[str, tuple[Checker, Checker | None]] = field(default_factory=dict)
    asked: bool = False
    recorded_drift: str = ""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Registry:
    """Every declared hand. Implements ``gateway.ports.Hands``."""

    def __init__(
        self,
        settings: Mapping[str, HandSettings],
        jail: Jail,
        pins: PinStore,
        *,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        """Build every adapter; touches no tool.

        Raises:
            SettingsError: an unknown adapter, or a declaration its adapter refuses.
        """
        self._jail = jail
        self._pins = pins
        self._retry_seconds = tuple(retry_seconds)
        self._profiles: dict[str, Mapping[str, str]] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()
        self._hands: dict[str, _Hand] = {}
        for hand_id, declared in sorted(settings.items()):
            kind = adapter_class(declared.adapter)
            if not declared.enabled:
                self._hands[hand_id] = _Hand(hand_id, declared, None, State.DISABLED, "Switched off (enabled = false).")
                continue
            kind.validate(hand_id, declared)
            adapter = kind(hand_id, declared, jail)
            self._hands[hand_id] = _Hand(hand_id, declared, adapter, State.UNAVAILABLE, "Being asked what it offers.")

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the pins and begin to ask every enabled hand, in the background: a slow one keeps nobody waiting.

        Raises:
            Unavailable: the pins cannot be read.
        """
        pins = await self._pins.load()
        for hand in self._hands.values():
            hand.pin = pins.get(hand.id)
            if hand.adapter is not None:
                self._watchers.append(asyncio.get_running_loop().create_task(self._watch(hand)))

    async def settled(self) -> None:
        """Wait until every enabled hand was asked once."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: all(hand.asked or hand.adapter is None for hand in self._hands.values())
            )

    async def close(self) -> None:
        """Stop every hand process and connection."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()
        adapters = [hand.adapter for hand in self._hands.values() if hand.adapter is not None]
        await asyncio.gather(*(adapter.close() for adapter in adapters), return_exceptions=True)

    async def _watch(self, hand: _Hand) -> None:
        """Ask a hand until it answers once."""
        attempt = 0
        while True:
            try:
                await self._ask(hand)
            except HandrailError as exc:
                _log.warning("hand did not answer", hand=hand.id, reason=str(exc.reason), detail=exc.detail)
            async with self._changed:
                hand.asked = True
                self._changed.notify_all()
            if hand.offered is not None:
                return
            await asyncio.sleep(self._retry_seconds[min(attempt, len(self._retry_seconds) - 1)])
            attempt += 1

    # --- the Hands port ----------------------------------------------------------------------------------------------

    def manifest(self, hand: str) -> Manifest | None:
        """The pinned manifest of a usable hand, or ``None``."""
        known = self._hands.get(hand)
        return known.pin.manifest if known is not None and known.state is State.PINNED and known.pin else None

    def listed(self, principal: Principal) -> Sequence[Manifest]:
        """Pinned manifests of usable hands within the principal's scope, by id."""
        found = (self.manifest(hand) for hand in self._hands if principal.may_use(hand))
        return [manifest for manifest in found if manifest is not None]

    def check_args(self, hand: str, action: str, args: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
        """Problems of ``args`` against the pinned schema; a hand or action that is not there matches nothing."""
        checkers = self._checkers(hand, action)
        return _ABSENT if checkers is None else checkers[0].problems(args)

    def check_result(self, hand: str, action: str, structured: Any) -> Sequence[Mapping[str, str]]:
        """The same for a structured result; an action without a result schema promises nothing."""
        checkers = self._checkers(hand, action)
        if checkers is None:
            return _ABSENT
        return () if checkers[1] is None else checkers[1].problems(structured)

    def confinement(self, hand: str, profile: str | None) -> Mapping[str, str] | None:
        """``{tier, profile_sha256}`` of a hand whose code runs in a jail here; see ``gateway.ports.Hands``."""
        known = self._hands.get(hand)
        if known is None or known.adapter is None or not known.adapter.needs_jail:
            return None
        chosen = profile or known.settings.jail_profile
        if chosen not in self._profiles:
            self._profiles[chosen] = {"tier": self._jail.tier, "profile_sha256": self._jail.profile_sha256(chosen)}
        return self._profiles[chosen]

    async def run(self, call: HandCall) -> HandResult:
        """Run one call on its hand.

        Raises:
            HandError: as the adapter says; ``hand.unavailable`` or ``hand.drifted`` (not executed) where the hand is
                not usable, or no longer offers the manifest that was decided on.
        """
        hand = self._hands.get(call.hand)
        manifest = self.manifest(call.hand)
        if hand is None or hand.adapter is None or manifest is None:
            drifted = hand is not None and hand.state is State.DRIFTED
            raise HandError(
                Reason.HAND_DRIFTED if drifted else Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, "not usable"
            )
        if manifest.digest != call.manifest_digest or call.action not in manifest.actions:
            raise HandError(Reason.HAND_DRIFTED, HandFailure.NOT_EXECUTED, "pinned anew since the decision")
        try:
            return await hand.adapter.run(call)
        except HandDrifted as drift:
            self._observe(hand, drift.offered)
            await self._record_drift(hand, call.tenant)
            raise

    # --- for the operator --------------------------------------------------------------------------------------------

    def states(self) -> dict[str, str]:
        """Hand id -> state, for readiness."""
        return {hand.id: str(hand.state) for hand in self._hands.values()}

    def describe(self) -> list[dict[str, Any]]:
        """Every declared hand as ``GET /v1/hands`` shows it."""
        return [_document(hand) for hand in self._hands.values()]

    def describe_one(self, hand: str) -> dict[str, Any]:
        """One hand, with ``diff``: where the offered manifest differs from the pinned one.

        Raises:
            Refused: ``request.not_found``.
        """
        known = self._known(hand)
        pinned = known.pin.manifest if known.pin is not None else None
        diff = []
        if pinned is not None and known.offered is not None and pinned.digest != known.offered.digest:
            diff = differences(pinned.document(), known.offered.document())
        return {**_document(known), "diff": diff}

    async def offer(self, hand: str) -> Manifest:
        """Ask the hand what it offers now, and judge its state anew.

        Raises:
            Refused: ``request.not_found``.
            HandError: the hand cannot be asked.
            Unavailable: the pins cannot be read.
        """
        known = self._known(hand)
        known.pin = (await self._pins.load()).get(known.id)  # another gateway may have pinned it since
        await self._ask(known)
        if known.offered is None:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, known.problem)
        return known.offered

    async def pin(self, hand: str, digest: str, actor: Principal) -> None:
        """Pin what the hand offers now, if that is ``digest``: nobody pins what they have not seen.

        Raises:
            Refused: ``request.not_found``; ``request.conflict`` where the hand offers something else.
            HandError: the hand cannot be asked.
            Unavailable: ``log.unavailable``; the old pin stands.
        """
        known = self._known(hand)
        offered = await self.offer(hand)
        async with known.asking:
            if offered.digest != digest:
                raise Refused(Reason.REQUEST_CONFLICT, "the offered digest is another", offered_digest=offered.digest)
            await self._pins.pin(offered, actor)
            known.pin = Pin(offered.digest, offered)
            self._observe(known, offered)

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _ask(self, hand: _Hand) -> None:
        """Ask a hand for its manifest and set its state. Raises what kept it from answering."""
        if hand.adapter is None:
            return
        async with hand.asking:
            if hand.adapter.needs_jail and (missing := await asyncio.to_thread(self._jail.missing)):
                hand.state, hand.problem, hand.offered = State.UNAVAILABLE, " ".join(missing), None
                raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, hand.problem)
            try:
                offered = await hand.adapter.manifest()
            except HandrailError as exc:
                hand.state, hand.problem, hand.offered = State.UNAVAILABLE, f"{exc.text} {exc.detail}".strip(), None
                raise
            self._observe(hand, offered)
        await self._record_drift(hand, DEFAULT_TENANT)

    def _observe(self, hand: _Hand, offered: Manifest) -> None:
        """Judge a hand by what it offers now."""
        hand.offered = offered
        hand.problem = " ".join(hand.adapter.notes) if hand.adapter is not None else ""
        if hand.pin is None:
            hand.state = State.UNPINNED
        elif hand.pin.digest != offered.digest:
            hand.state, hand.checkers = State.DRIFTED, {}
            hand.problem = f"It offers something else than what was pinned. {hand.problem}".strip()
        elif hand.pin.manifest is None:
            hand.state, hand.checkers = State.UNPINNED, {}
            hand.problem = f"The stored pin is damaged: pin it again. {hand.problem}".strip()
        else:
            self._compile(hand, hand.pin.manifest)

    def _compile(self, hand: _Hand, manifest: Manifest) -> None:
        try:
            hand.checkers = {
                name: (
                    Checker(action.args_schema),
                    None if action.result_schema is None else Checker(action.result_schema),
                )
                for name, action in manifest.actions.items()
            }
        except SchemaError as exc:
            hand.state, hand.problem = State.UNAVAILABLE, f"A pinned schema {exc.detail}."
            return
        hand.state, hand.recorded_drift = State.PINNED, ""

    async def _record_drift(self, hand: _Hand, tenant: str) -> None:
        """One entry for each thing a hand drifted to."""
        if hand.state is not State.DRIFTED or hand.pin is None or hand.offered is None:
            return
        if hand.recorded_drift == hand.offered.digest:
            return
        hand.recorded_drift = hand.offered.digest
        try:
            await self._pins.drifted(hand.id, hand.pin.digest, hand.offered.digest, tenant)
        except Unavailable as exc:
            # The hand stays refused either way; the entry is due again at the next look.
            hand.recorded_drift = ""
            _log.error("a drift could not be recorded", hand=hand.id, reason=str(exc.reason))

    def _checkers(self, hand: str, action: str) -> tuple[Checker, Checker | None] | None:
        known = self._hands.get(hand)
        return known.checkers.get(action) if known is not None and known.state is State.PINNED else None

    def _known(self, hand: str) -> _Hand:
        known = self._hands.get(hand)
        if known is None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such hand")
        return known


_ABSENT: Final[Sequence[Mapping[str, str]]] = ({"pointer": "", "keyword": "absent"},)


def adapter_class(name: str) -> type[HandAdapter]:
    """The adapter called ``name``: a built-in one, or the entry point of that name in ``handrail.adapters``.

    Raises:
        SettingsError: there is none, two distributions claim the name, or it does not load.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    points = entry_points(group=ENTRY_POINT_GROUP, name=name)
    if len(points) != 1:
        count = "no" if not points else "more than one"
        raise SettingsError(f"{count} adapter is called {name}; built in are {', '.join(sorted(BUILT_IN))}")
    try:
        loaded: type[HandAdapter] = next(iter(points)).load()
    except (ImportError, AttributeError) as exc:
        raise SettingsError(f"the adapter {name} does not load: {type(exc).__name__}") from None
    return loaded


def _document(hand: _Hand) -> dict[str, Any]:
    shown = hand.pin.manifest if hand.state is State.PINNED and hand.pin is not None else hand.offered
    return {
        "id": hand.id,
        "adapter": hand.settings.adapter,
        "state": str(hand.state),
        **({"problem": hand.problem} if hand.problem else {}),
        "pinned_digest": hand.pin.digest if hand.pin is not None else None,
        "offered_digest": hand.offered.digest if hand.offered is not None else None,
        "region": hand.settings.region,
        "trust": str(hand.settings.trust),
        "actions": [
            {
                "name": action.name,
                "description": action.description,
                "side_effects": str(action.side_effects),
                "idempotent": action.idempotent,
                "args_schema": action.args_schema,
            }
            for action in (shown.actions.values() if shown is not None else ())
        ],
    }
