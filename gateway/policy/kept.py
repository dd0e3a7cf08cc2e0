"""Accounts of one kind that are at hand, and how they are kept in step with the log.

An account is read once for all who want it. From then on this process tells it what it records itself, and what other
gateways write about it is caught up: the few new entries where that is enough, the whole of it where it is not.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

from gateway.errors import Unavailable
from gateway.policy.accounts import StepKey
from gateway.ports import Others, Topic
from gateway.reasons import Reason

READINGS_MAX: Final = 16
"""Readings of one account for one round of one plan, before the gateway gives up following those who write it."""
Key = tuple[str, ...]


class Account(Protocol):
    """What is kept. Attributes are those of ``ContextAccount``."""

    topic: Topic
    size: int
    as_of: int


Some = TypeVar("Some", bound=Account)
Reading = Callable[[], Awaitable[tuple[Some, Collection[StepKey]]]]
"""Reads an account, and which steps' spending is in it."""
CatchUp = Callable[[Some, Sequence[int]], Awaitable[bool]]
"""Takes entries of others into an account; ``False`` where it must be read anew."""


class Kept(Generic[Some]):
    """Belongs to one event loop."""

    def __init__(self, others: Others, replaced: Callable[[Some, Some, Collection[StepKey]], None]) -> None:
        """Keep accounts in step with what ``others`` wrote.

        Args:
            replaced: called where an account was read anew while it was at hand, with the one that was, the one that
                is, and the steps whose spending is in it.
        """
        self._others = others
        self._replaced = replaced
        self._known: OrderedDict[Key, Some] = OrderedDict()
        self._readings: dict[Key, asyncio.Task[None]] = {}
        self._missed: dict[Key, list[tuple[int, Callable[[Some], None]]]] = {}
        """What was told about accounts while they were being read."""

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Some]:
        return iter(self._known.values())

    def every_key(self) -> list[Key]:
        """Of every account that is at hand, or is being read."""
        return list(self._known.keys() | self._missed.keys())

    def get(self, key: Key) -> Some | None:
        """The account, if it is at hand."""
        return self._known.get(key)

    def put(self, key: Key, account: Some) -> Some:
        """Keep an account that needs no reading."""
        self._others.watch(account.topic)
        self._known[key] = account
        return account

    def drop(self, key: Key) -> None:
        """Keep it no more."""
        account = self._known.pop(key, None)
        if account is not None:
            self._others.unwatch(account.topic)

    async def at_hand(self, key: Key, topic: Topic, read: Reading[Some], catch_up: CatchUp[Some]) -> Some:
        """The account, with everything in it that others wrote as far as this process has heard.

        Raises:
            Unavailable: ``log.unavailable``, or ``gateway.overloaded`` where others write faster than can be read.
        """
        for _ in range(READINGS_MAX):
            account = self._known.get(key)
            if account is not None and self._others.in_step(topic, account.as_of):
                self._known.move_to_end(key)
                return account
            task = self._readings.get(key)
            if task is None:
                task = asyncio.ensure_future(self._bring(key, topic, read, catch_up))
                self._readings[key] = task
            await asyncio.shield(task)
        raise Unavailable(Reason.OVERLOADED, "others write faster than can be read")

    def tell(self, key: Key, index: int, what: Callable[[Some], None]) -> None:
        """Tell an account what this process recorded about it, at a log index. Where the account was read later than
        that, it is in there; where it is not at hand, whoever wants it next reads it."""
        if key in self._missed:
            self._missed[key].append((index, what))
        account = self._known.get(key)
        if account is not None and index >= account.size:
            what(account)

    def shrink(self, most: int, used: Collection[int]) -> None:
        """Forget the accounts that were used longest ago, but none whose ``id()`` is in ``used``."""
        surplus = len(self._known) - most
        for key in [key for key, account in self._known.items() if id(account) not in used][: max(0, surplus)]:
            self.drop(key)

    async def _bring(self, key: Key, topic: Topic, read: Reading[Some], catch_up: CatchUp[Some]) -> None:
        try:
            account = self._known.get(key)
            if account is not None:
                indices = self._others.since(topic, account.as_of)
                if indices and await catch_up(account, indices):
                    return
            self._missed[key] = []
            self._others.watch(topic)
            fresh, counted = await read()
            for index, what in self._missed[key]:
                if index >= fresh.size:
                    what(fresh)
            self._known[key] = fresh
            if account is not None:
                self._replaced(account, fresh, counted)
        finally:
            self._missed.pop(key, None)
            del self._readings[key]
