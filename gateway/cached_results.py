"""Answers of actions that the operator declared cacheable, kept for a while in the memory of this process.

Only the call itself is saved: a step whose answer is kept is decided, bound and recorded like any other, its answer is
held against the schema and redacted as *its* decision says, and its outcome says whose answer it is. What is kept is
the hand's own answer, before redaction, and it is given only to a call that is equal in everything that the answer may
rest on (:class:`Key`).

What makes answers worthless empties all of it: an erasure, a secret or a connection that changed, a hand pinned anew, a
freeze (``gateway.entries.OUTDATING``). A step looks after its intent is on record, and whoever appends that has seen
everything that was recorded before, at any gateway (``audit.others``): nothing older than such an entry is given to a
step whose intent is younger.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from gateway.calls import HandCall, HandResult
from gateway.canonical import canonical
from gateway.errors import Refused
from gateway.ports import Hands
from gateway.telemetry import Metrics

OVERHEAD_BYTES: Final = 1024
"""What one entry is counted for beside its answer."""


@dataclass(frozen=True, slots=True)
class Key:
    """What an answer may rest on. Two calls with equal keys are the same question of the same person.

    Attributes:
        subject: pseudonym of whom the plan acts for.
        args_sha256: of the canonical JSON, the bytes that are decided and bound: ``1`` and ``1.0`` are one number
            there, and the order of members is none.
    """

    tenant: str
    subject: str
    hand: str
    manifest_digest: str
    action: str
    args_sha256: str
    jail_profile: str | None
    egress_hosts: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: bytes
    step: str
    until: float

    @property
    def size(self) -> int:
        return len(self.answer) + OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class _Begun:
    """A call that is under way, and may be kept if nothing was emptied since it began."""

    key: Key
    seconds: float
    emptied: int
    answer: HandResult


class CachedResults:
    """``ports.Runs`` that asks a hand only for what it does not know. Emptied from any thread, else of one loop."""

    def __init__(
        self,
        hands: Hands,
        metrics: Metrics,
        *,
        bytes_max: int,
        entries_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep answers of ``hands``.

        Args:
            bytes_max, entries_max: what there may be; the least recently used go.
            clock: seconds that never go back.
        """
        self._hands = hands
        self._metrics = metrics
        self._bytes_max = bytes_max
        self._entries_max = entries_max
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._size = 0
        self._emptied = 0
        self._begun: dict[tuple[str, str], _Begun] = {}
        metrics.cached_bytes.set_function(lambda: self._size)

    def confinement(self, hand: str, profile: str | None) -> Mapping[str, str] | None:
        """See ``ports.Runs``."""
        return self._hands.confinement(hand, profile)

    async def run(self, call: HandCall) -> HandResult:
        """The hand's answer, now or from before (``cached_from``). Raises what the hand's call raises."""
        seconds = self._seconds(call)
        if seconds is None:
            return await self._hands.run(call)
        key = _key(call)
        kept = self._find(key)
        self._metrics.cached_results.labels(call.hand, "miss" if kept is None else "hit").inc()
        if kept is not None:
            document = orjson.loads(kept.answer)
            return HandResult(tuple(document["content"]), document["structured"], cached_from=kept.step, attempts=0)
        with self._lock:
            emptied = self._emptied
        answer = await self._hands.run(call)
        # Where reading ended rests on the decision's limit, which is no part of the key.
        if answer.truncated is None:
            self._begun[call.plan_id, call.step_id] = _Begun(key, seconds, emptied, answer)
        return answer

    def ended(self, plan_id: str, step_id: str, receipt_id: str, *, good: bool) -> None:
        """A step that was run here has its outcome.

        Args:
            good: it succeeded, and that is on record; only then is its answer kept.
        """
        begun = self._begun.pop((plan_id, step_id), None)
        if begun is None or not good:
            return
        try:
            answer = canonical(begun.answer.document())
        except Refused:
            return  # what policy redacted out of it has no canonical form
        self._keep(begun, _Kept(answer, receipt_id, self._clock() + begun.seconds))

    def empty(self) -> None:
        """Forget every answer, also those of calls that are under way."""
        with self._lock:
            self._kept.clear()
            self._size = 0
            self._emptied += 1

    def _seconds(self, call: HandCall) -> float | None:
        """How long the call's answer may be kept; ``None`` where it may not, or the hand is not the one of the
        decision any more."""
        manifest = self._hands.manifest(call.tenant, call.hand)
        if not self._bytes_max or manifest is None or manifest.digest != call.manifest_digest:
            return None
        action = manifest.actions.get(call.action)
        return action.cache_seconds if action is not None and action.cacheable and call.subject else None

    def _find(self, key: Key) -> _Kept | None:
        now = self._clock()
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            if now >= kept.until:
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return kept

    def _keep(self, begun: _Begun, kept: _Kept) -> None:
        with self._lock:
            if begun.emptied != self._emptied or kept.size > self._bytes_max:
                return
            if begun.key in self._kept:
                self._drop(begun.key)
            self._kept[begun.key] = kept
            self._size += kept.size
            while self._size > self._bytes_max or len(self._kept) > self._entries_max:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        self._size -= self._kept.pop(key).size


def _key(call: HandCall) -> Key:
    return Key(
        call.tenant,
        call.subject,
        call.hand,
        call.manifest_digest,
        call.action,
        hashlib.sha256(call.args_bytes).hexdigest(),
        call.jail_profile,
        call.egress_hosts,
    )
