"""The engine that the gateway uses: either engine, kept at the newest good bundle of its source."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import structlog

from gateway.errors import HandrailError
from gateway.model import Decision
from gateway.policy.bundle import Bundle
from gateway.policy.faults import BundleError, EngineUnavailable, Problem
from gateway.policy.inspection import Inspected, inspect
from gateway.policy.locations import Location
from gateway.policy.sources import BundleSource

_log = structlog.get_logger(__name__)


class Backend(Protocol):
    """What ``EmbeddedEngine`` and ``OpaEngine`` share: ``ports.PolicyEngine`` without ``locate``, and a change-over."""

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the active bundle; empty before the first."""

    async def activate(self, bundle: Bundle, record: Callable[[], Awaitable[None]]) -> None:
        """Change over to an inspected bundle, or raise and keep the old one."""

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """See ``ports.PolicyEngine``."""

    async def hidden(self, menu: Mapping[str, Any]) -> frozenset[str]:
        """See ``ports.PolicyEngine``."""

    async def maintain(self) -> None:
        """Called every reload interval."""

    async def ready(self) -> None:
        """See ``ports.PolicyEngine``."""

    async def close(self) -> None:
        """See ``ports.PolicyEngine``."""


class EventKind(StrEnum):
    """What became of a bundle."""

    ACTIVATED = "activated"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class PolicyEvent:
    """A bundle was activated, or refused while the old one stays active.

    Attributes:
        digest: of the bundle that the event is about; empty where its files could not even be read.
        active: the bundle that was active before; empty at start.
        problems: why it was refused.
    """

    kind: EventKind
    digest: str
    active: str
    problems: tuple[Problem, ...] = ()


OnEvent = Callable[[PolicyEvent], Awaitable[None]]


async def ignore_events(event: PolicyEvent) -> None:
    """For tools that keep no audit log."""
    _log.debug("policy bundle", digest=event.digest, kind=str(event.kind))


class ReloadingEngine:
    """``ports.PolicyEngine`` that follows a source of bundles.

    A changed bundle is inspected, self-tested and, where all is well, activated in one step; otherwise the
    old bundle stays active, loudly: ``problem``, an error in the log, and one event for each refused state.

    Args:
        on_event: awaited *before* an activation takes effect; where it raises, the old bundle stays and the activation
            is tried again at the next interval. Also awaited after a refusal.
    """

    def __init__(
        self, backend: Backend, source: BundleSource, on_event: OnEvent, reload_interval_seconds: float
    ) -> None:
        self._backend = backend
        self._source = source
        self._on_event = on_event
        self._interval_seconds = reload_interval_seconds
        self._inspected: Inspected | None = None
        self._refused: tuple[str, str] | None = None
        self._reloading = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None
        self._problem: str | None = None

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the active bundle; empty before :meth:`start`."""
        return self._backend.digest

    @property
    def epoch(self) -> int:
        """See ``ports.PolicyEngine.epoch``: what the active bundle decided stands as long as it is active."""
        return 0

    @property
    def problem(self) -> str | None:
        """Why the bundle that should decide is not active, for operators; ``None`` where it is."""
        return self._problem

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """(path, hex SHA-256) of every file of the active bundle."""
        return self._inspected.bundle.files if self._inspected is not None else ()

    @property
    def data(self) -> Mapping[str, Any]:
        """The data document of the active bundle; empty where none is active."""
        return self._inspected.bundle.data if self._inspected is not None else {}

    async def start(self) -> None:
        """Activate the source's bundle and begin to follow it.

        Raises:
            BundleError: the bundle is refused; there is no older one to fall back to. A lasting source's gateway starts
                all the same and denies everything, so that people can activate a good one.
            EngineUnavailable: the engine cannot be started or reached.
        """
        try:
            await self._reload()
        except BundleError as exc:
            if not self._source.lasting:
                raise
            await self._refuse(exc)
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """See ``ports.PolicyEngine.decide``."""
        return await self._backend.decide(policy_input)

    async def hidden(self, menu: Mapping[str, Any]) -> frozenset[str]:
        """See ``ports.PolicyEngine.hidden``."""
        return await self._backend.hidden(menu)

    def basis(self, tenant: str, principal_id: str) -> str:  # noqa: ARG002
        """See ``ports.PolicyEngine.basis``."""
        return self.digest

    def stands(self, tenant: str, principal_id: str, hand: str, decision: Decision) -> bool:  # noqa: ARG002
        """See ``ports.PolicyEngine.stands``."""
        return decision.policy_digest == self.digest

    def locate(self, code: str, digest: str) -> Location | None:
        """See ``ports.PolicyEngine.locate``."""
        held = self._inspected
        return held.reasons.get(code) if held is not None and held.bundle.digest == digest else None

    async def ready(self) -> None:
        """See ``ports.PolicyEngine.ready``. A refused newer bundle is a :attr:`problem`, not unreadiness."""
        if self._inspected is None:
            raise EngineUnavailable("no bundle is active")
        await self._backend.ready()

    async def close(self) -> None:
        """Stop following, and stop the engine."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        self._inspected = None
        await self._backend.close()

    async def reload(self) -> None:
        """Look at the source now. Never raises for a bad bundle: see :attr:`problem`."""
        try:
            await self._reload()
        except BundleError as exc:
            await self._refuse(exc)
        except HandrailError as exc:
            self._problem = str(exc)
            _log.error("the policy bundle could not be activated", detail=str(exc))

    async def _reload(self) -> None:
        async with self._reloading:
            bundle = await self._source.changed(self.digest)
            if bundle is None:
                self._problem = self._refused = None
                return
            if self._refused is not None and self._refused[0] == bundle.digest:
                return
            try:
                inspected = await inspect(bundle)
                await self._backend.activate(bundle, lambda: self._record(inspected))
            except BundleError as exc:
                exc.digest = bundle.digest
                raise
            self._inspected = inspected
            self._problem = self._refused = None
            _log.info("policy bundle is active", digest=bundle.digest, files=len(bundle.files))

    async def _record(self, inspected: Inspected) -> None:
        await self._on_event(PolicyEvent(EventKind.ACTIVATED, inspected.bundle.digest, self.digest))

    async def _refuse(self, refusal: BundleError) -> None:
        known = (refusal.digest, refusal.detail)
        self._problem = refusal.detail
        if known == self._refused:
            return
        _log.error("the policy bundle is refused", detail=refusal.detail, active=self.digest)
        await self._on_event(PolicyEvent(EventKind.REJECTED, refusal.digest, self.digest, refusal.problems))
        self._refused = known

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                await self._backend.maintain()
                await self.reload()
            except Exception as exc:  # noqa: BLE001 (whatever it is, the watch must go on)
                self._problem = f"{type(exc).__name__}: {exc}"
                _log.exception("looking after the policy bundle failed")
