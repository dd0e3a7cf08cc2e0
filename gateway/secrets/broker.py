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
from typing import Final
from weakref import WeakValueDictionary

from gateway.calls import HandCall, HandResult, Injections
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Refused
from gateway.ports import Append, AuditLog, PersonalTokens, SecretStore, SecretValue, Target
from gateway.reach import SecretPlace, SecretUse
from gateway.reasons import Reason
from gateway.redaction import Redactor
from gateway.secrets.values import missing, unavailable
from gateway.truncation import SEARCHED_VALUE_MAX_BYTES

KEPT_MAX: Final = 256
"""Values in memory at most; the one that was used longest ago goes."""

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
            self.sweep()
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][1]
            # What changes while the store answers may be in the answer, or not.
            asked_at, changes = self._clock(), self._changes
            found = await ask()
            if changes != self._changes:
                return found
            self._kept[key] = (asked_at, found)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
            return found

    def forget(self, tenant: str, name: str) -> None:
        """What somebody changed here is asked for anew at once; also where its store answers at this moment.

        Args:
            name: of a secret, or the pseudonym of a person whose tokens changed.
        """
        self._changes += 1
        for key in [key for key in self._kept if key[1:] == (tenant, name)]:
            del self._kept[key]

    def sweep(self) -> None:
        """Drop what may not be used again."""
        now = self._clock()
        for key in [key for key, (asked_at, _) in self._kept.items() if now - asked_at >= self._fresh_seconds]:
            del self._kept[key]

    async def close(self) -> None:
        """Forget every value and close the stores."""
        self._kept.clear()
        await asyncio.gather(*(store.close() for store in self._stores.values()), return_exceptions=True)

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
        self._recorded: set[tuple[str, str]] = set()
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
        new = [use for use in due if (use.name, target.origin) not in self._recorded]
        if new:
            await self._broker.record(
                EntryType.SECRET_USED, self.call, [self._facts(use, target.origin) for use in new]
            )
            self._recorded |= {(use.name, target.origin) for use in new}
            self._redactor = None
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
        before = self._given.setdefault(use.name, current)
        if use.connection is not None and before.version != current.version:
            self._given[use.name] = current
            self._former.append(before.value)
            self._recorded = {one for one in self._recorded if one[0] != use.name}

    def clean(self, text: str) -> str:
        """See ``ports.SecretStep``."""
        return self._redact().text(text) if self._given else text

    async def search(self, text: str) -> str:
        """See ``ports.SecretStep``."""
        if not self._given:
            return text
        cleaned = await asyncio.to_thread(self._redact().text, text)
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
        await self._broker.record(EntryType.SECRET_ECHOED, self.call, [self._facts(use, "") for use in held])

    def _require_under_way(self) -> None:
        """An adapter that goes on with a call that has ended, or that a freeze has, is given nothing for it."""
        if self.ended:
            raise missing("the step has ended")

    def _redact(self) -> Redactor:
        if self._redactor is None:
            given = [use for use in self._uses if use.name in self._given]
            values = [self._given[use.name].value for use in given]
            sent = [use.placed(self._given[use.name].value)[1] for use in given if use.place is SecretPlace.BASIC]
            self._redactor = Redactor([*values, *self._former, *(one.removeprefix("Basic ") for one in sent)])
        return self._redactor

    def _facts(self, use: SecretUse, target: str) -> Mapping[str, str]:
        place = {"store": use.store} if use.connection is None else {"connection": use.connection}
        facts = {"secret": use.name, **place, "version": self._given[use.name].version}
        return {**facts, "target": target} if target else facts


def problem_of(error: HandrailError) -> str:
    """What keeps a secret from being used, for the operator."""
    return error.text if error.reason is Reason.LOG_UNAVAILABLE else f"{error.text} {error.detail}".strip()
