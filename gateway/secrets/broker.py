"""The only way from a store into a request: by the pinned manifest, for a step under way, to a target that is named.

Each use is on record before the value leaves. A step that was given a value keeps it until it ends, so that a rotation
breaks no call under way; that it may still be given it is asked of the store each time. Values are kept in memory for
:attr:`SecretSettings.fresh_seconds`, and no longer: where a store is away after that, its hands stop.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

from gateway.calls import HandCall, HandResult, Injections
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Refused
from gateway.ports import Append, AuditLog, PersonalTokens, SecretStore, SecretValue, Target
from gateway.reach import SecretPlace, SecretUse
from gateway.reasons import Reason
from gateway.redaction import Redactor
from gateway.secrets.values import missing, unavailable
from gateway.truncation import SEARCHED_VALUE_MAX_BYTES

_log = structlog.get_logger(__name__)

KEPT_MAX: Final = 256
"""Values in memory at most; the one that was used longest ago goes."""
AT_ONCE_SECONDS: Final = 0.1
"""How long an intent waits for the secrets that it would name: what they are then is asked for once it is durable."""
INLINE_MAX_CHARACTERS: Final = 512
"""A text that is searched in the event loop, in some hundred microseconds: as long as handing it to a thread takes."""

_CONNECTION: Final = "connection "
_Key = tuple[str, str, str]
"""Store, tenant, name; of a token: the connection (no store's name has a space), tenant, and whose it is."""


class Broker:
    """``ports.Secrets``. Belongs to one event loop.

    Attributes:
        people: keeps the tokens of people; without it, no hand that names a connection is given anything.
    """

    people: PersonalTokens | None = None

    def __init__(
        self,
        stores: Mapping[str, SecretStore],
        log: AuditLog,
        *,
        fresh_seconds: float,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._log = log
        self._fresh_seconds = fresh_seconds
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._kept: OrderedDict[_Key, tuple[float, SecretValue]] = OrderedDict()
        self._asking: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()
        self._steps: dict[tuple[str, str], _Step] = {}
        self._seeking: dict[_Key, asyncio.Task[SecretValue | None]] = {}
        """What intents ask for; one of each, however many wait, or waited, for it."""
        self._redactors: OrderedDict[tuple[str, ...], tuple[float, Redactor]] = OrderedDict()
        """Values -> since when what takes them out is kept."""
        self._changes = 0

    @asynccontextmanager
    async def serving(self, call: HandCall, uses: Sequence[SecretUse]) -> AsyncIterator["_Step"]:
        """See ``ports.Secrets``. Raises ``secret.missing`` where the same step is under way already."""
        key = (call.plan_id, call.step_id)
        if key in self._steps:
            raise missing("the step is under way already")
        step = self._steps[key] = _Step(self, call, uses)
        try:
            yield step
        finally:
            del self._steps[key]
            step.ended = True

    async def named(self, tenant: str, uses: Sequence[SecretUse]) -> Sequence[Mapping[str, str]]:
        """See ``ports.Secrets``. A store that needs longer than :data:`AT_ONCE_SECONDS` goes on answering: who asks for
        the value then finds it."""
        sure = {use: (use.store, tenant, use.name) for use in uses if use.sure}
        found = {use: self._at_hand(key) for use, key in sure.items()}
        asked = {use: self._seek(key) for use, key in sure.items() if found[use] is None}
        if asked:
            await asyncio.wait(set(asked.values()), timeout=AT_ONCE_SECONDS)
            found |= {use: task.result() for use, task in asked.items() if task.done() and not task.cancelled()}
        return [use.facts(value.version, use.targets[0]) for use in sure if (value := found[use]) is not None]

    async def inject(self, hand: str, plan_id: str, step_id: str, target: Target) -> Injections:
        """See ``ports.Secrets``."""
        step = self._steps.get((plan_id, step_id))
        if step is None or step.call.hand != hand:
            raise missing("no such step is under way on that hand")
        return await step.inject(target)

    async def value(self, store: str, tenant: str, name: str) -> SecretValue:
        """The value as its store has it, or had it less than ``fresh_seconds`` ago.

        Raises:
            Refused: ``secret.missing``.
            Unavailable: ``secret.unavailable``, also where the store takes too long.
        """
        known = self._stores.get(store)
        if known is None:
            raise missing(f"there is no store {store}")

        async def ask() -> SecretValue:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await known.read(tenant, name)
            except TimeoutError:
                raise unavailable(f"{store}: no answer in {self._timeout_seconds:g} s") from None

        return await self._fresh((store, tenant, name), ask)

    async def token(self, tenant: str, subject: str, connection: str) -> SecretValue:
        """A person's token of a connection, as :meth:`value`. Raises as ``PersonalTokens.token``."""
        people = self.people
        if people is None or not subject:
            raise missing(f"{connection}: there is nobody whose token it could be")
        key = (_CONNECTION + connection, tenant, subject)
        return await self._fresh(key, lambda: people.token(tenant, subject, connection))

    async def _fresh(self, key: _Key, ask: Callable[[], Awaitable[SecretValue]]) -> SecretValue:
        lock = self._asking.setdefault(key, asyncio.Lock())
        async with lock:
            known = self._at_hand(key)
            if known is not None:
                return known
            # What changes while the store answers may be in the answer, or not.
            asked_at, changes = self._clock(), self._changes
            found = await ask()
            if changes != self._changes:
                return found
            self._kept[key] = (asked_at, found)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
            return found

    def _at_hand(self, key: _Key) -> SecretValue | None:
        self.sweep()
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][1]

    def _seek(self, key: _Key) -> asyncio.Task[SecretValue | None]:
        """The asking for a value, which is under way already where a store answers slowly."""
        task = self._seeking.get(key)
        if task is None:
            task = self._seeking[key] = asyncio.ensure_future(self._found(key))
            task.add_done_callback(lambda _: self._sought(key, task))
        return task

    def _sought(self, key: _Key, task: asyncio.Task[SecretValue | None]) -> None:
        if self._seeking.get(key) is task:
            del self._seeking[key]

    async def _found(self, key: _Key) -> SecretValue | None:
        """The value where there is one. What is wrong, whatever it is, whoever needs the value is told."""
        try:
            return await self.value(*key)
        except Exception as error:  # noqa: BLE001
            _log.debug("a secret is not named with an intent", error=type(error).__name__)
            return None

    def forget(self, tenant: str, name: str) -> None:
        """What somebody changed here is asked for anew at once; also where its store answers at this moment.

        Args:
            name: of a secret, or the pseudonym of a person whose tokens changed.
        """
        self._changes += 1
        self._redactors.clear()
        for key in [key for key in self._kept if key[1:] == (tenant, name)]:
            del self._kept[key]
        for key in [key for key in self._seeking if key[1:] == (tenant, name)]:
            self._seeking.pop(key).cancel()

    def sweep(self) -> None:
        """Drop what may not be used again."""
        now = self._clock()
        tables: tuple[dict[Any, tuple[float, Any]], ...] = (self._kept, self._redactors)
        for kept in tables:
            for key in [key for key, (since, _) in kept.items() if now - since >= self._fresh_seconds]:
                del kept[key]

    async def close(self) -> None:
        """Forget every value and close the stores."""
        seeking = [*self._seeking.values()]
        for task in seeking:
            task.cancel()
        await asyncio.gather(*seeking, return_exceptions=True)
        self._kept.clear()
        self._redactors.clear()
        await asyncio.gather(*(store.close() for store in self._stores.values()), return_exceptions=True)

    def redactor(self, values: Sequence[str]) -> Redactor:
        """What takes these values out of texts; made once while they are fresh."""
        self.sweep()
        key = tuple(values)
        if key not in self._redactors:
            self._redactors[key] = (self._clock(), Redactor(key))
            while len(self._redactors) > KEPT_MAX:
                self._redactors.popitem(last=False)
        return self._redactors[key][1]

    async def record(self, kind: EntryType, call: HandCall, facts: Sequence[Mapping[str, str]]) -> None:
        """One entry about the call for each of ``facts``. Raises ``log.unavailable``."""
        await self._log.append(
            Append(
                [
                    EntryDraft(
                        kind,
                        call.tenant,
                        context_id=call.context_id,
                        plan_id=call.plan_id,
                        principal=call.subject if "connection" in one else None,
                        step_id=call.step_id,
                        hand=call.hand,
                        action=call.action,
                        manifest_digest=call.manifest_digest,
                        facts=dict(one),
                    )
                    for one in facts
                ]
            )
        )


class _Step:
    """``ports.SecretStep``."""

    def __init__(self, broker: Broker, call: HandCall, uses: Sequence[SecretUse]) -> None:
        self.call = call
        self._broker = broker
        self._uses = tuple(uses)
        self._given: dict[str, SecretValue] = {}
        """Name -> the value that the step keeps."""
        self._former: list[str] = []
        """Tokens whose time was over while the step ran."""
        self._recorded = [*call.secrets_named]
        """Facts of the uses that are on record."""
        self._redactor: Redactor | None = None
        self._echoed: set[str] = set()
        """Names of those that came back, on record."""
        self.ended = False

    async def inject(self, target: Target) -> Injections:
        """See ``ports.SecretStep``."""
        due = [use for use in self._uses if use.fits(target.origin, target.method, target.path)]
        for use in due:
            # Asked also where the step has a value: one that was removed meanwhile is given to nobody any more.
            current = await self._current(use)
            self._require_under_way()
            self._take(use, current)
        facts = [use.facts(self._given[use.name].version, target.origin) for use in due]
        new = [one for one in facts if one not in self._recorded]
        if new:
            await self._broker.record(EntryType.SECRET_USED, self.call, new)
            self._recorded += new
        self._require_under_way()
        headers: dict[str, str] = {}
        query: dict[str, str] = {}
        unsent: dict[SecretPlace, str] = {}
        for use in due:
            if use.place in {SecretPlace.PASSWORD, SecretPlace.SIGNATURE}:
                unsent[use.place] = self._given[use.name].value
                continue
            place, content = use.placed(self._given[use.name].value)
            (query if use.place is SecretPlace.QUERY else headers)[place] = content
        password, signing_secret = unsent.get(SecretPlace.PASSWORD), unsent.get(SecretPlace.SIGNATURE)
        return Injections(headers, query, password, signing_secret)

    async def _current(self, use: SecretUse) -> SecretValue:
        if use.connection is None:
            return await self._broker.value(use.store, self.call.tenant, use.name)
        return await self._broker.token(self.call.tenant, self.call.subject, use.connection)

    def _take(self, use: SecretUse, current: SecretValue) -> None:
        """A step goes on with the secret that it began with; a token's time may be over before it ends."""
        if use.name not in self._given:
            self._redactor = None
        before = self._given.setdefault(use.name, current)
        if use.connection is not None and before.version != current.version:
            self._given[use.name] = current
            self._former.append(before.value)
            self._redactor = None

    def clean(self, text: str) -> str:
        """See ``ports.SecretStep``."""
        return self._redact().text(text) if self._given else text

    async def search(self, text: str) -> str:
        """See ``ports.SecretStep``."""
        if not self._given:
            return text
        clean = self._redact().text
        cleaned = clean(text) if len(text) <= INLINE_MAX_CHARACTERS else await asyncio.to_thread(clean, text)
        if cleaned != text:
            await self._tell_of_echo()
        return cleaned

    async def answer(self, result: HandResult) -> HandResult:
        """See ``ports.SecretStep``."""
        if not self._given:
            return result
        redactor = self._redact()
        if result.truncated is not None and redactor.longest_bytes > SEARCHED_VALUE_MAX_BYTES:
            raise Refused(Reason.HAND_RESULT_TOO_LARGE, "its end is not read, and one of its secrets is too long")
        cleaned = await asyncio.to_thread(redactor.result, result)
        if cleaned.document() != result.document():
            await self._tell_of_echo()
        return cleaned

    async def _tell_of_echo(self) -> None:
        """That something came back is on record once, whichever of the secrets it was: texts that are searched while an
        answer comes are searched again as its result."""
        held = [use for use in self._uses if use.name in self._given.keys() - self._echoed]
        if not held:
            return
        self._echoed |= {use.name for use in held}
        facts = [use.facts(self._given[use.name].version) for use in held]
        await self._broker.record(EntryType.SECRET_ECHOED, self.call, facts)

    def _require_under_way(self) -> None:
        """An adapter that goes on with a call that has ended, or that a freeze has, is given nothing for it."""
        if self.ended:
            raise missing("the step has ended")

    def _redact(self) -> Redactor:
        if self._redactor is None:
            given = [use for use in self._uses if use.name in self._given]
            values = [self._given[use.name].value for use in given]
            sent = [use.placed(self._given[use.name].value)[1] for use in given if use.place is SecretPlace.BASIC]
            basic = (one.removeprefix("Basic ") for one in sent)
            self._redactor = self._broker.redactor([*values, *self._former, *basic])
        return self._redactor


def problem_of(error: HandrailError) -> str:
    """What keeps a secret from being used, for the operator."""
    return error.text if error.reason is Reason.LOG_UNAVAILABLE else f"{error.text} {error.detail}".strip()
