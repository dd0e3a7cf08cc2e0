"""The registry of hands: which hands are declared, and which of them may be used now.

A hand is used for a tenant only while it offers exactly what that tenant pinned. Everything else (never pinned, changed
since, not answering, switched off, another tenant's, unknown) looks the same to a plan: there is no such hand.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import structlog

from gateway.calls import HandCall, HandResult
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.manifest import Manifest
from gateway.mcp_methods import is_question
from gateway.model import DEFAULT_TENANT, Principal
from gateway.ports import HandFailure, Secrets
from gateway.reasons import Conflict, Reason, because
from gateway.settings import HandSettings
from hand_adapters import reach
from hand_adapters import secrets as served
from hand_adapters.contract import Confined, HandAdapter, HandDrifted, HandError, HandUnusable, Limited
from hand_adapters.declared import DeclaredHand, State
from hand_adapters.egress.reports import Reports
from hand_adapters.jail import Jail
from hand_adapters.kinds import kind_of
from hand_adapters.pins import Pin, PinStore
from hand_adapters.resilience import Guard, Observer
from hand_adapters.schemas import Checker

_log = structlog.get_logger("handrail.hands")

RETRY_SECONDS: Final = (5.0, 15.0, 60.0, 300.0)
"""When a hand that did not answer is asked again; the last one repeats."""
ASK_SECONDS: Final = 60.0
"""How long a hand may take to say what it offers, whatever its adapter thinks; the MCP adapter's own limit is 30 s."""


class Registry:
    """Every declared hand. Implements ``gateway.ports.Hands``."""

    def __init__(
        self,
        settings: Mapping[str, HandSettings],
        jail: Jail,
        pins: PinStore,
        *,
        secrets: Secrets | None = None,
        reports: Reports | None = None,
        observer: Observer | None = None,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
        ask_seconds: float = ASK_SECONDS,
    ) -> None:
        """Build every adapter; touches no tool.

        Args:
            secrets: gives hands what their manifests name; without it, no hand that names a secret is run.
            reports: records what jails send; without it they can send nothing.
            observer: counts what is tried again and what is withheld.

        Raises:
            SettingsError: an unknown adapter, or a declaration its adapter refuses.
        """
        self._jail = jail
        self._pins = pins
        self._secrets = secrets
        self._reports = reports
        self._retry_seconds = tuple(retry_seconds)
        self._ask_seconds = ask_seconds
        self._profiles: dict[tuple[str, bool], Mapping[str, str]] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()
        self._hands: dict[str, DeclaredHand] = {}
        self._usable: dict[tuple[str, str], Manifest] = {}
        """Tenant and hand -> what the tenant pinned and the hand offers now: the one look-up of a call."""
        for hand_id, declared in sorted(settings.items()):
            kind = kind_of(declared)
            if not declared.enabled:
                self._hands[hand_id] = DeclaredHand(hand_id, declared, None, "Switched off (enabled = false).")
                continue
            kind.validate(hand_id, declared)
            adapter = kind(hand_id, declared, jail)
            self._hands[hand_id] = DeclaredHand(hand_id, declared, adapter, "Being asked what it offers.")
        self.guards: Final = {one.id: _guard(one, observer) for one in self._hands.values()}

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the pins and begin to ask every enabled hand, in the background: a slow one keeps nobody waiting.

        Raises:
            Unavailable: the pins cannot be read.
        """
        pins = await self._pins.load()
        for hand in self._hands.values():
            hand.take_pins(pins)
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

    async def _watch(self, hand: DeclaredHand) -> None:
        """Ask a hand until it answers once."""
        attempt = 0
        while True:
            try:
                await self._ask(hand)
            except HandrailError as exc:
                _log.warning("hand did not answer", hand=hand.id, reason=str(exc.reason), detail=exc.detail)
            except Exception:  # noqa: BLE001 - a third party's adapter; readiness waits for an answer or the lack of one
                self._observe(hand, None, "Its adapter failed; the gateway's log says how.")
                _log.exception("adapter failed", hand=hand.id)
            async with self._changed:
                hand.asked = True
                self._changed.notify_all()
            if hand.offered is not None:
                return
            await asyncio.sleep(self._retry_seconds[min(attempt, len(self._retry_seconds) - 1)])
            attempt += 1

    # --- the Hands port ----------------------------------------------------------------------------------------------

    def manifest(self, tenant: str, hand: str) -> Manifest | None:
        """The manifest that the tenant pinned of a usable hand, or ``None``."""
        return self._usable.get((tenant, hand))

    async def confirm(self, tenant: str, hand: str) -> Manifest | None:
        """See ``gateway.ports.Hands``."""
        known = self._hands.get(hand)
        if known is None:
            return None
        async with known.asking:
            known.take_pins(await self._pins.load())
            if known.offered is not None:
                self._observe(known, known.offered)
        return self.manifest(tenant, hand)

    def listed(self, principal: Principal) -> Sequence[Manifest]:
        """Usable hands of the principal's tenant within its scope, by id."""
        found = (self.manifest(principal.tenant, hand) for hand in self._hands if principal.may_use(hand))
        return [manifest for manifest in found if manifest is not None]

    def check_args(self, tenant: str, hand: str, action: str, args: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
        """Problems of ``args`` against the pinned schema; a hand or action that is not there matches nothing."""
        checkers = self._checkers(tenant, hand, action)
        return _ABSENT if checkers is None else checkers[0].problems(args)

    def check_result(self, tenant: str, hand: str, action: str, structured: Any) -> Sequence[Mapping[str, str]]:
        """The same for a structured result; an action without a result schema promises nothing."""
        checkers = self._checkers(tenant, hand, action)
        if checkers is None:
            return _ABSENT
        return () if checkers[1] is None else checkers[1].problems(structured)

    def analyse(self, tenant: str, hand: str, action: str, args: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """See ``gateway.ports.Hands``."""
        known = self._hands.get(hand)
        return known.analyse(action, args) if known is not None and (tenant, hand) in self._usable else None

    def confinement(self, hand: str, profile: str | None) -> Mapping[str, str] | None:
        """``{tier, profile_sha256}`` of a hand whose code runs in a jail here; see ``gateway.ports.Hands``."""
        known = self._hands.get(hand)
        if known is None or known.adapter is None or not known.adapter.needs_jail:
            return None
        chosen = profile or known.settings.jail_profile
        if isinstance(known.adapter, Confined):
            return known.adapter.confinement(chosen)
        gated = bool(known.settings.egress)
        if (chosen, gated) not in self._profiles:
            self._profiles[chosen, gated] = {
                "tier": self._jail.tier,
                "profile_sha256": self._jail.profile_sha256(chosen, gated=gated),
            }
        return self._profiles[chosen, gated]

    async def secrets_named(self, tenant: str, manifest: Manifest) -> Sequence[Mapping[str, str]]:
        """See ``ports.Secrets``."""
        return () if self._secrets is None else await self._secrets.named(tenant, manifest.secrets)

    async def run(self, call: HandCall) -> HandResult:
        """Run one call on its hand, when it is its turn, and again where that does no harm (``resilience.Guard``).

        Raises:
            HandError: as the adapter says; ``hand.unavailable`` or ``hand.drifted`` (not executed) where the hand is
                not usable, or no longer offers the manifest that was decided on; ``hand.busy`` and
                ``hand.circuit_open`` (not executed).
        """
        call.progress.attempts = 0
        _, _, manifest = self._required(call)
        if is_question(manifest.adapter, call.action):
            # It waits for no turn: the call that it belongs to has one.
            call.progress.attempts = 1
            return await self._once(call)
        idempotent = manifest.actions[call.action].idempotent
        return await self.guards[call.hand].run(call, self._once, idempotent=idempotent)

    def _required(self, call: HandCall) -> tuple[DeclaredHand, HandAdapter, Manifest]:
        """The hand of a call as it is now. Raises ``HandUnusable``."""
        hand = self._hands.get(call.hand)
        manifest = self.manifest(call.tenant, call.hand)
        if hand is None or hand.adapter is None or manifest is None:
            drifted = hand is not None and hand.state(call.tenant) is State.DRIFTED
            raise HandUnusable(Reason.HAND_DRIFTED if drifted else Reason.HAND_UNAVAILABLE, "not usable")
        if manifest.digest != call.manifest_digest or call.action not in manifest.actions:
            raise HandUnusable(Reason.HAND_DRIFTED, "pinned anew since the decision")
        return hand, hand.adapter, manifest

    async def _once(self, call: HandCall) -> HandResult:
        """One attempt, with the hand, its pin and its secrets as they are when it is made."""
        hand, adapter, manifest = self._required(call)
        reach.require(adapter, call)
        if self._reports is not None:
            call = replace(call, record=partial(self._reports.record, call))
        try:
            if not manifest.secrets:
                return await adapter.run(call)
            if self._secrets is None:
                raise HandError(Reason.SECRET_UNAVAILABLE, HandFailure.NOT_EXECUTED, "no store")
            return await served.run(self._secrets, adapter, call, manifest.secrets)
        except HandDrifted as drift:
            self._observe(hand, drift.offered)
            await self._record_drifts(hand)
            raise

    async def rest(self, hand: str) -> None:
        """End every process and connection of a hand; a later call starts anew."""
        known = self._hands.get(hand)
        if known is not None and known.adapter is not None:
            await known.adapter.close()

    def offered(self, tenant: str) -> Sequence[Manifest]:
        """What the hands that are declared for the tenant offer now, pinned or not, by id."""
        hands = (hand for hand in self._hands.values() if hand.for_tenant(tenant))
        return [hand.offered for hand in hands if hand.offered is not None]

    def declared(self, tenant: str, hand: str) -> bool:
        """Whether the hand is declared for the tenant; the gateway's own tenant knows them all."""
        known = self._hands.get(hand)
        return known is not None and (tenant == DEFAULT_TENANT or known.for_tenant(tenant))

    # --- for the operator --------------------------------------------------------------------------------------------

    def states(self) -> dict[str, str]:
        """Hand id -> state, for readiness: what it is for the tenant that it is best for."""
        return {hand.id: str(hand.best_state()) for hand in self._hands.values()}

    def describe(self, tenant: str) -> list[dict[str, Any]]:
        """Every hand that is declared for the tenant, as ``GET /v1/hands`` shows it."""
        return [self._document(hand, tenant) for hand in self._hands.values() if hand.for_tenant(tenant)]

    def describe_one(self, tenant: str, hand: str) -> dict[str, Any]:
        """One hand, with ``diff``: where the offered manifest differs from the one that the tenant pinned, and with
        ``manifest``: what the offered digest is of, to whoever is to agree to it.

        Raises:
            Refused: ``request.not_found``.
        """
        known = self._known(hand, tenant)
        offered = {"manifest": known.offered.document()} if known.offered is not None else {}
        return {**self._document(known, tenant), "diff": known.diff(tenant), **offered}

    async def offer(self, hand: str) -> Manifest:
        """Ask the hand what it offers now, and judge anew for whom it can be used.

        Raises:
            Refused: ``request.not_found``.
            HandError: the hand cannot be asked.
            Unavailable: the pins cannot be read.
        """
        known = self._known(hand)
        async with known.asking:
            known.take_pins(await self._pins.load())  # another gateway may have pinned it since
        await self._ask(known)
        if known.offered is None:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, known.problem)
        return known.offered

    async def pin(self, hand: str, digest: str, actor: Principal) -> None:
        """Pin for the actor's tenant what the hand offers now, if that is ``digest``: nobody pins what they have not
        seen.

        Raises:
            Refused: ``request.not_found``, also where the hand is not declared for the tenant; ``request.conflict``
                where the hand offers something else.
            HandError: the hand cannot be asked.
            Unavailable: ``log.unavailable``; the old pin stands.
        """
        known = self._known(hand, actor.tenant)
        offered = await self.offer(hand)
        async with known.asking:
            if offered.digest != digest:
                raise Refused(
                    Reason.REQUEST_CONFLICT,
                    "the offered digest is another",
                    offered_digest=offered.digest,
                    **because(Conflict.DIGEST_OTHER),
                )
            await self._pins.pin(offered, actor)
            known.pins[actor.tenant] = Pin(offered.digest, offered)
            self._observe(known, offered)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _document(self, hand: DeclaredHand, tenant: str) -> dict[str, Any]:
        return {**hand.document(tenant), "load": self.guards[hand.id].document(tenant)}

    async def _ask(self, hand: DeclaredHand) -> None:
        """Ask a hand for its manifest and judge it by that. Raises what kept it from answering."""
        if hand.adapter is None:
            return
        async with hand.asking:
            if hand.adapter.needs_jail and (missing := await asyncio.to_thread(self._jail.missing)):
                self._observe(hand, None, " ".join(missing))
                raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, hand.problem)
            try:
                async with asyncio.timeout(self._ask_seconds):
                    offered = await hand.adapter.manifest()
            except TimeoutError:
                self._observe(hand, None, f"It did not say what it offers within {self._ask_seconds:.0f} s.")
                raise HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED, hand.problem) from None
            except HandrailError as exc:
                self._observe(hand, None, f"{exc.text} {exc.detail}".strip())
                raise
            self._observe(hand, offered)
        await self._record_drifts(hand)

    def _observe(self, hand: DeclaredHand, offered: Manifest | None, problem: str = "") -> None:
        """Judge a hand by what it offers now, or by why it offers nothing."""
        if offered is None:
            hand.unreachable(problem)
        else:
            hand.observe(offered)
        for tenant in hand.settings.tenants:
            if hand.offered is not None and hand.state(tenant) is State.PINNED:
                self._usable[tenant, hand.id] = hand.offered
                hand.recorded_drifts.pop(tenant, None)
            else:
                self._usable.pop((tenant, hand.id), None)

    async def _record_drifts(self, hand: DeclaredHand) -> None:
        """One entry, of each tenant that pinned something else, for each thing a hand drifted to."""
        for tenant, pin in list(hand.pins.items()):
            offered = hand.offered
            if offered is None or hand.state(tenant) is not State.DRIFTED:
                continue
            if hand.recorded_drifts.get(tenant) == offered.digest:
                continue
            hand.recorded_drifts[tenant] = offered.digest
            try:
                await self._pins.drifted(tenant, hand.id, pin.digest, offered.digest)
            except Unavailable as exc:
                # The hand stays refused either way; the entry is due again at the next look.
                hand.recorded_drifts.pop(tenant, None)
                _log.error("a drift could not be recorded", hand=hand.id, reason=str(exc.reason))

    def _checkers(self, tenant: str, hand: str, action: str) -> tuple[Checker, Checker | None] | None:
        return self._hands[hand].checkers.get(action) if (tenant, hand) in self._usable else None

    def _known(self, hand: str, tenant: str | None = None) -> DeclaredHand:
        """A declared hand; where a tenant asks, one that is declared for it."""
        known = self._hands.get(hand)
        if known is None or (tenant is not None and not known.for_tenant(tenant)):
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such hand")
        return known


def _guard(hand: DeclaredHand, observer: Observer | None) -> Guard:
    at_once = hand.adapter.at_once if isinstance(hand.adapter, Limited) else None
    shared = len(hand.settings.tenants) > 1
    return Guard(hand.id, hand.settings.resilience, observer, at_once=at_once, shared=shared)


_ABSENT: Final[Sequence[Mapping[str, str]]] = ({"pointer": "", "keyword": "absent"},)
