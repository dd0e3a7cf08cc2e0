"""Has the log's checkpoints cosigned: one task for each witness, so that a slow or hostile one delays nobody else, and
neither the log nor any caller ever waits for any of them.

    1 read     the newest stored checkpoint, and what this witness cosigned last (perhaps for another gateway)
    2 rest     where that is the same tree and young enough
    3 ask      with a consistency proof from the size that it knows; on 409 once more, from the size that it names
    4 verify   its cosignature over exactly that checkpoint
    5 store    it, append-only
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from audit.cosignature import Cosignature, Quorum, WitnessKey
from audit.cosigned import Cosigned, store
from audit.errors import NoteInvalid
from audit.reader import Reader
from audit.reads import Reads
from audit.witness import (
    ALARMS,
    ANSWER_MAX_BYTES,
    Answer,
    Conflict,
    Fault,
    WitnessFault,
    read_answer,
    request_body,
)
from gateway.errors import HandrailError, Refused
from gateway.ports import Append, Peer
from gateway.reasons import Reason
from gateway.settings import LogSettings, SettingsError, WitnessSettings
from gateway.times import format_time

BACKOFF_MAX_SECONDS: Final = 300.0
_HEADERS: Final = {"content-type": "text/plain; charset=utf-8"}

_logger: Final = structlog.get_logger("handrail.witnesses")
Connect = Callable[[str, str, bool], Peer]
"""Where it stands in the configuration, URL, whether it may be private -> the peer. Raises ``SettingsError``."""


class WitnessedLog(Protocol):
    """What of the log is needed: reads off the event loop, appends, and a signature over the head."""

    reader: Reader
    reads: Reads

    async def append(self, item: Append) -> Sequence[int]:
        """See ``ports.AuditLog``."""

    async def checkpoint(self) -> str:
        """See ``ports.AuditLog``."""


@dataclass(slots=True)
class Witness:
    """One witness and what became of the newest attempt.

    Attributes:
        tree_size: the largest tree that it cosigned; 0 for none.
        cosigned_at: when it last said so, by its own clock; ``None`` for never.
        fault: of the newest attempt; ``None`` after a good one.
        failures: attempts that failed in a row.
    """

    name: str
    key: WitnessKey
    url: str = field(repr=False)
    timeout_seconds: float
    peer: Peer
    tree_size: int = 0
    cosigned_at: int | None = None
    fault: Fault | None = None
    detail: str = ""
    failures: int = 0

    def view(self, now: float) -> dict[str, Any]:
        """As the API shows it. The URL is the operator's alone: it may hold a secret."""
        return {
            "name": self.name,
            "key": self.key.name,
            "tree_size": self.tree_size,
            "cosigned_at": format_time(self.cosigned_at),
            "age_seconds": None if self.cosigned_at is None else max(0, round(now - self.cosigned_at)),
            "fault": None if self.fault is None else str(self.fault),
            "detail": self.detail,
        }


class Witnesses:
    """The witnesses of one gateway's log. ``start`` them in the event loop; ``close`` them there."""

    def __init__(
        self, settings: LogSettings, log: WitnessedLog, cosigned: Cosigned, witnesses: Sequence[Witness],
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._log = log
        self._cosigned = cosigned
        self.all = tuple(witnesses)
        self._clock = clock
        self._since = clock()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def open(
        cls, settings: LogSettings, log: WitnessedLog, cosigned: Cosigned, connect: Connect,
        clock: Callable[[], float] = time.time,
    ) -> "Witnesses":  # fmt: skip
        """Those that the settings name.

        Raises:
            SettingsError: a URL would be refused.
        """
        keys = zip(settings.witnesses.items(), cosigned.quorum.keys, strict=True)
        return cls(settings, log, cosigned, [_witness(name, one, key, connect) for (name, one), key in keys], clock)

    def start(self) -> None:
        """Begin to ask, in the background."""
        self._since = self._clock()
        self._tasks = [asyncio.create_task(self._follow(witness)) for witness in self.all]

    async def close(self) -> None:
        """Stop, also an attempt that is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for witness in self.all:
            await witness.peer.close()

    # --- what is known -----------------------------------------------------------------------------------------------

    def problem(self) -> Reason | None:
        """What operators have to see: ``log.forked`` before ``log.unwitnessed``."""
        if any(witness.fault in ALARMS for witness in self.all):
            return Reason.LOG_FORKED
        return Reason.LOG_UNWITNESSED if self.lags else None

    @property
    def lags(self) -> bool:
        """Whether the quorum's newest word is older than is allowed. One witness alone cannot bring this about while
        the others are enough.
        """
        return self.lag_seconds() > self._settings.witness_lag_max_seconds

    def lag_seconds(self) -> float:
        """How long ago enough witnesses last gave their word, counted from the start before they all did; 0 where none
        is needed.
        """
        needed = self._settings.witness_quorum
        if not needed:
            return 0.0
        times = sorted((witness.cosigned_at or self._since for witness in self.all), reverse=True)
        return max(0.0, self._clock() - times[needed - 1])

    def view(self) -> dict[str, Any]:
        """As the API shows them."""
        now, problem = self._clock(), self.problem()
        return {
            "quorum": self._settings.witness_quorum,
            "lag_seconds": round(self.lag_seconds()),
            "problem": None if problem is None else str(problem),
            "witnesses": [witness.view(now) for witness in self.all],
        }

    # --- the work ----------------------------------------------------------------------------------------------------

    async def _follow(self, witness: Witness) -> None:
        while True:
            await self.attempt(witness)
            await asyncio.sleep(self._pause(witness))

    def _pause(self, witness: Witness) -> float:
        interval = self._settings.witness_interval_seconds
        if not witness.failures:
            return interval
        most = min(interval * 2.0**witness.failures, max(interval, BACKOFF_MAX_SECONDS))
        return random.uniform(most / 2, most)  # noqa: S311 - jitter, not a secret

    async def attempt(self, witness: Witness) -> None:
        """One pass of the steps above. Whatever goes wrong is kept in ``witness`` and told once."""
        try:
            await self._attempt(witness)
        except WitnessFault as exc:
            self._failed(witness, exc.fault, exc.detail)
        except HandrailError as exc:
            # Ours, not the witness's: the log says so itself, louder.
            _logger.info("log.witness_waits", witness=witness.name, reason=str(exc.reason), detail=exc.detail)
        except Exception:  # one bad answer must not end the asking
            _logger.exception("log.witness_failed", witness=witness.name)
            self._failed(witness, Fault.MALFORMED, "an unexpected fault; see the log")
        else:
            if witness.fault is not None:
                _logger.info("log.witness_good", witness=witness.name, tree_size=witness.tree_size)
            witness.fault, witness.detail, witness.failures = None, "", 0

    async def _attempt(self, witness: Witness) -> None:
        last = await self._log.reads.run(self._cosigned.last, witness.key)
        if last is not None:
            self._learn(witness, *last)
        newest = await self._log.reads.run(self._log.reader.checkpoint)
        if newest is None or self._is_old(witness):
            await self._log.checkpoint()  # signs the head, where that was left undone
            newest = await self._log.reads.run(self._log.reader.checkpoint)
        if newest is None or not newest[0] or (newest[0] <= witness.tree_size and not self._is_old(witness)):
            return
        size, note = newest
        cosignature = await self._ask(witness, size, note)
        if cosignature is None:
            return
        if last is None or (size, cosignature.time) != (last[0], last[1].time):
            await self._log.append(Append((), [store(size, cosignature)]))
        self._learn(witness, size, cosignature)

    def _is_old(self, witness: Witness) -> bool:
        at = witness.cosigned_at
        return at is None or self._clock() - at >= self._settings.witness_heartbeat_seconds

    async def _ask(self, witness: Witness, size: int, note: str) -> Cosignature | None:
        """``None`` where another gateway was faster: its cosignature is seen at the next pass."""
        try:
            return await self._post(witness, witness.tree_size, size, note)
        except Conflict as conflict:
            known = conflict.size
        if known > size:
            head, _ = await self._log.reads.run(self._log.reader.head)
            if known <= head:
                return None
            raise WitnessFault(Fault.AHEAD, f"it says that it saw {known} entries; there are {head}")
        try:
            return await self._post(witness, known, size, note)
        except Conflict:
            return None

    async def _post(self, witness: Witness, old: int, size: int, note: str) -> Cosignature:
        old = min(old, size)
        proof = await self._log.reads.run(self._log.reader.consistency, old, size)
        try:
            status, media_type, body = await witness.peer.ask(
                f"{witness.url}/add-checkpoint",
                _HEADERS,
                request_body(old, proof, note),
                timeout_seconds=witness.timeout_seconds,
                answer_max_bytes=ANSWER_MAX_BYTES,
            )
        except Refused as exc:
            raise WitnessFault(Fault.UNREACHABLE, exc.detail) from None
        return read_answer(Answer(status, media_type, body), note, witness.key, self._clock())

    def _learn(self, witness: Witness, size: int, cosignature: Cosignature) -> None:
        witness.tree_size = max(witness.tree_size, size)
        witness.cosigned_at = max(witness.cosigned_at or 0, cosignature.time)

    def _failed(self, witness: Witness, fault: Fault, detail: str) -> None:
        if witness.fault is not fault:
            tell = _logger.error if fault in ALARMS else _logger.warning
            tell("log.witness_fault", witness=witness.name, fault=str(fault), detail=detail)
        witness.fault, witness.detail = fault, detail
        witness.failures += 1


def quorum_of(settings: LogSettings) -> Quorum:
    """The witnesses that the settings name, and how many are needed.

    Raises:
        SettingsError: a key cannot be used, or two witnesses have one.
    """
    keys = []
    for name, one in settings.witnesses.items():
        try:
            keys.append(WitnessKey.parse(one.key))
        except NoteInvalid as exc:
            raise SettingsError(f"log.witnesses.{name}.key: {exc.detail}") from None
    try:
        return Quorum(tuple(keys), settings.witness_quorum)
    except NoteInvalid as exc:
        raise SettingsError(f"log.witnesses: {exc.detail}") from None


def _witness(name: str, settings: WitnessSettings, key: WitnessKey, connect: Connect) -> Witness:
    url = settings.url.rstrip("/")
    peer = connect(f"log.witnesses.{name}", url, settings.private_network)
    return Witness(name, key, url, settings.timeout_seconds, peer)
