"""The candidate bundle in an engine of its own, beside the active one. There is at most one, and no engine without it.

Nothing here decides when a candidate is asked: a shadow asks for its counts, a canary for the principals that it
covers. Where the candidate cannot be asked it denies, as every engine does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

import structlog

from gateway.errors import HandrailError
from gateway.model import Decision
from gateway.policy.decisions import deny_all
from gateway.policy.faults import BundleError, EngineUnavailable, Problem
from gateway.policy.inspection import Inspected, inspect
from gateway.policy.locations import Location
from gateway.policy.reloading import Backend
from gateway.policy.request import steps_of
from gateway.policy.sources import KeptBundle
from gateway.reasons import Reason

_log = structlog.get_logger(__name__)

Make = Callable[[], Backend]
Fetch = Callable[[str], Awaitable[KeptBundle | None]]
NO_LITERALS: Final[Collection[str]] = frozenset()


class Candidate:
    """Holds the bundle that is wanted, in an engine made for it.

    Args:
        make: an engine without a bundle, apart from the active one's.
        fetch: a kept bundle whose signature holds; may raise ``HandrailError``.
    """

    def __init__(self, make: Make, fetch: Fetch) -> None:
        self._make = make
        self._fetch = fetch
        self._wanted = ""
        self._backend: Backend | None = None
        self._inspected: Inspected | None = None
        self._problem: HandrailError | None = None
        self._lock = asyncio.Lock()

    @property
    def digest(self) -> str:
        """Of the bundle that is held; empty where none is."""
        return self._inspected.bundle.digest if self._inspected is not None else ""

    @property
    def literals(self) -> Collection[str]:
        """The reason codes that stand in the text of the held bundle."""
        return self._inspected.reasons.keys() if self._inspected is not None else NO_LITERALS

    @property
    def problem(self) -> HandrailError | None:
        """Why the wanted bundle is not held."""
        return self._problem

    def settled(self, digest: str) -> bool:
        """Whether it is known how things stand with this bundle: it is held, or it cannot be."""
        return digest == self._wanted and (self.digest == digest or self._problem is not None)

    async def hold(self, digest: str) -> None:
        """Hold this bundle and no other; none where it is empty. Tries again what failed before. Never raises for a
        bundle or an engine: see :attr:`problem`."""
        async with self._lock:
            if digest == self.digest:
                self._wanted, self._problem = digest, None
                return
            if digest != self._wanted:
                self._wanted, self._problem = digest, None
            await self._drop()
            if not digest:
                return
            try:
                backend = self._make()
            except HandrailError as exc:
                self._problem = exc
                return
            try:
                self._inspected = await self._load(backend, digest)
            except BaseException as exc:
                await backend.close()
                if not isinstance(exc, Exception):
                    raise
                wrapped = HandrailError(Reason.INTERNAL, type(exc).__name__)
                self._problem = exc if isinstance(exc, HandrailError) else wrapped
                _log.error("the candidate bundle is not held", digest=digest, detail=f"{type(exc).__name__}: {exc}")
                return
            self._backend, self._problem = backend, None
            _log.info("a candidate bundle is held beside the active one", digest=digest)

    async def decide(self, digest: str, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """The candidate's decisions, by the bundle ``digest`` or not at all; never raises."""
        backend = self._backend
        if backend is None or self.digest != digest:
            return deny_all(steps_of(policy_input), Reason.POLICY_UNAVAILABLE, digest)
        try:
            return await backend.decide(policy_input)
        except Exception:  # noqa: BLE001 - whatever a candidate's engine does, the gateway goes on
            _log.exception("the candidate's engine failed")
            return deny_all(steps_of(policy_input), Reason.POLICY_ERROR, digest)

    async def hidden(self, digest: str, menu: Mapping[str, Any]) -> frozenset[str]:
        """What the bundle ``digest`` hides of a menu. Raises as ``ports.PolicyEngine.hidden``."""
        if self._backend is None or self.digest != digest:
            raise EngineUnavailable("the candidate bundle is not held")
        return await self._backend.hidden(menu)

    def locate(self, code: str, digest: str) -> Location | None:
        """See ``ports.PolicyEngine.locate``."""
        held = self._inspected
        return held.reasons.get(code) if held is not None and held.bundle.digest == digest else None

    async def maintain(self) -> None:
        """Have the engine look after itself, as the active one's does. Never raises."""
        backend = self._backend
        if backend is None:
            return
        try:
            await backend.maintain()
        except Exception as exc:  # noqa: BLE001
            _log.error("looking after the candidate's engine failed", detail=f"{type(exc).__name__}: {exc}")

    async def close(self) -> None:
        """Hold nothing more."""
        async with self._lock:
            self._wanted = ""
            await self._drop()

    async def _load(self, backend: Backend, digest: str) -> Inspected:
        kept = await self._fetch(digest)
        if kept is None:
            raise BundleError([Problem("", 0, 0, "the candidate bundle is not stored")], digest)
        inspected = await inspect(kept.signed.bundle)
        await backend.activate(kept.signed.bundle, _unrecorded)
        return inspected

    async def _drop(self) -> None:
        backend, self._backend, self._inspected = self._backend, None, None
        if backend is not None:
            await backend.close()


async def _unrecorded() -> None:
    """That a candidate is tried is on record already."""
