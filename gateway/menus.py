"""What a caller need not be shown, for policy would deny each call of it: asked once for a whole list, and kept.

A menu is what policy is asked before a list is shown: all actions that would be in it, without arguments. It is a
courtesy and no decision. Whatever is called is judged, whether it was shown or not; so where policy does not say, fails
or takes too long, everything is shown.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from gateway.errors import HandrailError
from gateway.manifest import Manifest
from gateway.model import Principal
from gateway.ports import PolicyEngine
from gateway.stages.policy import hand_document, principal_document

STEPS_AT_ONCE: Final = 250
"""Actions in one question: more take several, so that none takes an evaluation's whole time."""
KEPT_SECONDS: Final = 60.0
"""How long an answer is kept: an OPA server that somebody meddled with is not believed for ever."""
FAILED_SECONDS: Final = 5.0
"""How long nothing is asked anew that got no answer: it may have cost an evaluator process."""
WAIT_SECONDS: Final = 2.0
"""How long a list waits for what policy says of it."""
KEPT_MAX: Final = 512
"""Answers that are kept. Whoever only looks asks nothing where there is no room: so they ask no more than this in
:data:`KEPT_SECONDS`, however many look."""
ASKING_MAX: Final = 64
"""Lists that are asked about at the same time, one after the other; by those who only look, half as many."""

Hidden = Mapping[str, Collection[str]]
"""Hand -> names of its actions."""
NOTHING: Final[Hidden] = {}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer: of which basis it is, ``None`` where policy did not say, and until when it is believed."""

    basis: Hashable
    hidden: Hidden | None
    until: float


@dataclass(slots=True)
class Menus:
    """What is hidden from whom. Belongs to one event loop.

    Attributes:
        environment: as the policy input has it.
        clock: monotonic seconds.
    """

    engine: PolicyEngine
    environment: str
    clock: Callable[[], float] = time.monotonic
    _kept: OrderedDict[Hashable, _Kept] = field(default_factory=OrderedDict)
    """The one that was asked for longest ago comes first."""
    _asking: dict[Hashable, asyncio.Task[Hidden | None]] = field(default_factory=dict)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One evaluation at a time is for lists; the others are for decisions."""

    async def hidden(self, principal: Principal, manifests: Sequence[Manifest]) -> Hidden:
        """The actions of ``manifests`` of which policy would deny each call by this principal. Never raises."""
        return await self._find(principal, manifests, only_looks=False) or NOTHING

    async def seen(self, principal: Principal, manifests: Sequence[Manifest]) -> Hidden | None:
        """The same for who looks again and again, and was asked by nobody; ``None`` where it is not known now."""
        return await self._find(principal, manifests, only_looks=True)

    async def close(self) -> None:
        """Ask nothing more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _find(self, principal: Principal, manifests: Sequence[Manifest], *, only_looks: bool) -> Hidden | None:
        if not manifests:
            return NOTHING
        roles, digests = frozenset(principal.roles), tuple(one.digest for one in manifests)
        key = (principal.tenant, principal.id, roles, digests)
        basis = self.engine.basis(principal.tenant, principal.id)
        kept = self._kept.get(key)
        if kept is not None and kept.basis == basis and self.clock() < kept.until:
            return kept.hidden
        if (task := self._asking.get((key, basis))) is None:
            if len(self._asking) >= ASKING_MAX or (only_looks and not self._may_ask(key)):
                return None
            asking = self._ask(key, basis, principal, manifests)
            task = self._asking[key, basis] = asyncio.get_running_loop().create_task(asking)
            task.add_done_callback(lambda _: self._asking.pop((key, basis), None))
        await asyncio.wait({task}, timeout=WAIT_SECONDS)
        return task.result() if task.done() and not task.cancelled() else None

    def _may_ask(self, key: Hashable) -> bool:
        """Whether there is a place for what somebody who only looks would ask; the past gives way."""
        if len(self._asking) >= ASKING_MAX // 2:
            return False
        while key not in self._kept and len(self._kept) + len(self._asking) >= KEPT_MAX:
            oldest = next(iter(self._kept))
            if self.clock() < self._kept[oldest].until:
                return False
            del self._kept[oldest]
        return True

    async def _ask(
        self, key: Hashable, basis: Hashable, principal: Principal, manifests: Sequence[Manifest]
    ) -> Hidden | None:
        async with self._alone:
            actions = [(manifest, name) for manifest in manifests for name in manifest.actions]
            hidden: defaultdict[str, set[str]] = defaultdict(set)
            try:
                for first in range(0, len(actions), STEPS_AT_ONCE):
                    some = actions[first : first + STEPS_AT_ONCE]
                    found = await self.engine.hidden(menu(principal, some, self.environment))
                    for step in found:
                        manifest, name = some[int(step)]
                        hidden[manifest.hand].add(name)
            except Exception as exc:  # noqa: BLE001 - whatever an engine does, lists are shown
                why = str(exc.reason) if isinstance(exc, HandrailError) else type(exc).__name__
                _log.warning("policy did not say what of a list is hidden; the list is shown", reason=why)
                return self._keep(key, _Kept(basis, None, self.clock() + FAILED_SECONDS))
            if basis != self.engine.basis(principal.tenant, principal.id):
                return hidden  # of one bundle or the other: true for a moment
            return self._keep(key, _Kept(basis, hidden, self.clock() + KEPT_SECONDS))

    def _keep(self, key: Hashable, answer: _Kept) -> Hidden | None:
        self._kept[key] = answer
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return answer.hidden


def menu(principal: Principal, actions: Sequence[tuple[Manifest, str]], environment: str) -> dict[str, Any]:
    """What the engine is asked, version 1 (docs/policies.md): a policy input without what only a call has. The id of
    each step is its place in ``actions``."""
    named: dict[str, tuple[Manifest, list[str]]] = {}
    for manifest, name in actions:
        named.setdefault(manifest.hand, (manifest, []))[1].append(name)
    return {
        "v": 1,
        "tenant": principal.tenant,
        "environment": environment,
        "principal": principal_document(principal),
        "steps": [
            {"id": str(number), "hand": manifest.hand, "action": name}
            for number, (manifest, name) in enumerate(actions)
        ],
        "hands": {hand: hand_document(manifest, names) for hand, (manifest, names) in named.items()},
    }
