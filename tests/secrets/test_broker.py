"""The broker: how long it keeps a value, what a step keeps, and what happens where a store is slow, away or changed."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.calls import HandResult
from gateway.entries import EntryType
from gateway.errors import Refused, Unavailable
from gateway.ports import Append, HandFailure, SecretValue, Target
from gateway.reach import SecretPlace, SecretUse
from gateway.reasons import Reason
from gateway.redaction import MARK
from gateway.secrets import broker
from gateway.secrets.broker import INLINE_MAX_CHARACTERS, KEPT_MAX, Broker
from hand_adapters import secrets as served
from hand_adapters.contract import HandError
from tests.hands.hands_support import call
from tests.until import until

TARGET = Target("https", "api.example", 443)
USE = SecretUse("token", "store", SecretPlace.BEARER, (TARGET.origin,))
CALL = call("crm", "look", {}, "d" * 64)


class Store:
    """A store in memory, as slow and as absent as a test likes."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], tuple[str, str]] = {("default", "token"): ("the-first-value", "1")}
        self.reads = 0
        self.gone = False
        self.gate: asyncio.Event | None = None

    async def read(self, tenant: str, name: str) -> SecretValue:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.gone:
            raise Unavailable(Reason.SECRET_UNAVAILABLE, "away")
        if (tenant, name) not in self.values:
            raise Refused(Reason.SECRET_MISSING, "none")
        return SecretValue(*self.values[tenant, name])

    async def close(self) -> None:
        """Nothing is open."""


class Log:
    """What was put on record."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    async def append(self, item: Append) -> Sequence[int]:
        self.entries.extend(item.entries)
        return []


class Desk:
    """A broker with its store, its log and its clock."""

    def __init__(self, *, timeout_seconds: float = 30.0) -> None:
        self.now = 100.0
        self.store, self.log = Store(), Log()
        self.broker = Broker(
            {"store": self.store},
            self.log,  # type: ignore[arg-type]
            fresh_seconds=2.0,
            timeout_seconds=timeout_seconds,
            clock=lambda: self.now,
        )

    async def value(self, name: str = "token") -> str:
        return (await self.broker.value("store", "default", name)).value


async def test_a_value_is_used_again_for_as_long_as_the_settings_say_and_no_longer() -> None:
    desk = Desk()
    await desk.value()
    desk.store.values["default", "token"] = ("the-second-value", "2")
    desk.now += 1.999
    assert (await desk.value(), desk.store.reads) == ("the-first-value", 1)
    desk.now += 0.001
    assert (await desk.value(), desk.store.reads) == ("the-second-value", 2)


async def test_a_store_that_is_away_stops_its_hands_once_the_value_is_not_fresh() -> None:
    desk = Desk()
    await desk.value()
    desk.store.gone = True
    desk.now += 1
    assert await desk.value() == "the-first-value"
    desk.now += 1
    with pytest.raises(Unavailable) as caught:
        await desk.value()
    assert caught.value.reason is Reason.SECRET_UNAVAILABLE
    desk.store.gone = False
    assert await desk.value() == "the-first-value", "and it goes on by itself"


async def test_the_time_that_a_store_takes_is_counted_against_its_answer() -> None:
    desk = Desk()
    desk.store.gate = asyncio.Event()
    asked = asyncio.create_task(desk.value())
    await until(lambda: desk.store.reads)
    desk.now += 2
    desk.store.gate.set()
    await asked
    await desk.value()
    assert desk.store.reads == 2


async def test_a_store_that_never_answers_is_away() -> None:
    desk = Desk(timeout_seconds=0.01)
    desk.store.gate = asyncio.Event()
    with pytest.raises(Unavailable, match="no answer"):
        await desk.value()


async def test_many_steps_at_once_ask_a_store_once() -> None:
    desk = Desk()
    desk.store.gate = asyncio.Event()
    asked = [asyncio.create_task(desk.value()) for _ in range(50)]
    await until(lambda: desk.store.reads)
    desk.store.gate.set()
    assert set(await asyncio.gather(*asked)) == {"the-first-value"}
    assert desk.store.reads == 1


async def test_no_more_values_are_kept_than_may_be_and_none_after_its_time() -> None:
    desk = Desk()
    for number in range(KEPT_MAX + 20):
        desk.store.values["default", f"n{number}"] = (f"the-value-{number:05}", "1")
        value = await desk.value(f"n{number}")
        assert desk.broker.redactor([value]) is desk.broker.redactor([value])
    assert len(desk.broker._kept) == len(desk.broker._redactors) == KEPT_MAX
    desk.now += 2
    desk.broker.sweep()
    assert desk.broker._kept == desk.broker._redactors == {}
    desk.broker.redactor(["a-value"])
    desk.broker.forget("default", "any")
    assert desk.broker._redactors == {}


async def test_a_step_keeps_its_value_through_a_rotation_and_the_next_step_has_the_new_one() -> None:
    desk = Desk()
    async with desk.broker.serving(CALL, [USE]) as old:
        assert (await old.inject(TARGET)).headers == {"Authorization": "Bearer the-first-value"}
        desk.store.values["default", "token"] = ("the-second-value", "2")
        desk.broker.forget("default", "token")
        assert (await old.inject(TARGET)).headers == {"Authorization": "Bearer the-first-value"}
        async with desk.broker.serving(call("crm", "look", {}, "d" * 64, step_id="next"), [USE]) as new:
            assert (await new.inject(TARGET)).headers == {"Authorization": "Bearer the-second-value"}
    assert [(entry.step_id, entry.facts["version"]) for entry in desk.log.entries] == [("s", "1"), ("next", "2")]


async def test_a_removed_secret_is_not_given_again_to_a_step_that_has_it() -> None:
    desk = Desk()
    async with desk.broker.serving(CALL, [USE]) as step:
        await step.inject(TARGET)
        desk.store.values.clear()
        desk.broker.forget("default", "token")
        with pytest.raises(Refused) as caught:
            await step.inject(TARGET)
    assert caught.value.reason is Reason.SECRET_MISSING


async def test_a_step_is_served_while_it_runs_and_once_at_a_time() -> None:
    desk = Desk()
    async with desk.broker.serving(CALL, [USE]):
        with pytest.raises(Refused):
            async with desk.broker.serving(CALL, [USE]):
                pytest.fail("twice")
        await desk.broker.inject("crm", "p", "s", TARGET)
    for hand in ("crm", "other"):
        with pytest.raises(Refused):
            await desk.broker.inject(hand, "p", "s", TARGET)


async def test_what_is_changed_while_its_store_answers_is_not_used_again() -> None:
    desk = Desk()
    desk.store.gate = asyncio.Event()
    asked = asyncio.create_task(desk.value())
    await until(lambda: desk.store.reads)
    desk.broker.forget("default", "token")
    desk.store.gate.set()
    await asked
    del desk.store.values["default", "token"]
    with pytest.raises(Refused):
        await desk.value()


async def test_an_intent_after_a_change_does_not_join_the_asking_from_before_it() -> None:
    desk = Desk()
    desk.store.gate = asyncio.Event()
    before = asyncio.create_task(desk.broker.named("default", [USE]))
    await until(lambda: desk.store.reads)
    desk.store.values["default", "token"] = ("second", "2")
    desk.broker.forget("default", "token")
    desk.store.gate.set()
    (named,) = await desk.broker.named("default", [USE])
    assert named["version"] == "2"
    await before


async def test_an_adapter_that_goes_on_after_its_step_has_ended_is_given_nothing() -> None:
    desk = Desk()
    async with desk.broker.serving(CALL, [USE]) as step:
        await step.inject(TARGET)
    with pytest.raises(Refused) as caught:
        await step.inject(TARGET)
    assert caught.value.reason is Reason.SECRET_MISSING
    desk.now += 2
    desk.store.gate = asyncio.Event()
    async with desk.broker.serving(CALL, [USE]) as step:
        late = asyncio.create_task(step.inject(TARGET))
        await until(lambda: desk.store.reads == 2)
    desk.store.gate.set()
    with pytest.raises(Refused):
        await late
    assert [entry.type for entry in desk.log.entries] == [EntryType.SECRET_USED], "of the first alone"


async def test_a_use_is_on_record_once_for_a_step_and_holds_no_value() -> None:
    desk = Desk()
    async with desk.broker.serving(CALL, [USE]) as step:
        for _ in range(3):
            await step.inject(TARGET)
        await step.answer(HandResult(({"type": "text", "text": "the-first-value"},)))
    assert [entry.type for entry in desk.log.entries] == [EntryType.SECRET_USED, EntryType.SECRET_ECHOED]
    assert "the-first-value" not in repr(desk.log.entries)


async def test_what_comes_back_is_on_record_once_whether_it_was_searched_before_or_not() -> None:
    desk = Desk()
    async with desk.broker.serving(CALL, [USE]) as step:
        await step.inject(TARGET)
        for _ in range(2):
            assert "the-first-value" not in await step.search("It is the-first-value.")
        answered = await step.answer(HandResult(({"type": "text", "text": "the-first-value"},)))
        assert "the-first-value" not in repr(answered)
    assert [entry.type for entry in desk.log.entries].count(EntryType.SECRET_ECHOED) == 1


async def test_what_an_intent_says_needs_no_entry_of_its_own() -> None:
    desk = Desk()
    opened = await desk.broker.named("default", [USE])
    assert opened == [{"secret": "token", "store": "store", "version": "1", "target": TARGET.origin}]
    async with desk.broker.serving(replace(CALL, secrets_named=opened), [USE]) as step:
        assert (await step.inject(TARGET)).headers == {"Authorization": "Bearer the-first-value"}
        assert desk.log.entries == []
    assert desk.store.reads == 1


async def test_a_value_that_was_rotated_since_the_intent_has_an_entry_of_its_own() -> None:
    desk = Desk()
    opened = await desk.broker.named("default", [USE])
    desk.store.values["default", "token"] = ("the-second-value", "2")
    desk.broker.forget("default", "token")
    async with desk.broker.serving(replace(CALL, secrets_named=opened), [USE]) as step:
        assert (await step.inject(TARGET)).headers == {"Authorization": "Bearer the-second-value"}
    assert [entry.facts["version"] for entry in desk.log.entries] == ["2"]


@pytest.mark.parametrize(
    "use",
    [
        replace(USE, targets=(TARGET.origin, "https://other.example:443")),
        replace(USE, methods=("GET",)),
        replace(USE, paths=("/here",)),
        replace(USE, store="", connection="crm"),
    ],
    ids=["two targets", "a method", "a path", "a person's token"],
)
async def test_what_may_not_go_with_a_call_is_not_said_before(use: SecretUse) -> None:
    desk = Desk()
    assert await desk.broker.named("default", [use]) == []
    assert desk.store.reads == 0


async def test_an_intent_does_not_wait_for_a_store_and_who_asks_afterwards_has_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk()
    desk.store.gate = asyncio.Event()
    monkeypatch.setattr(broker, "AT_ONCE_SECONDS", 0)
    assert await desk.broker.named("default", [USE]) == []
    async with desk.broker.serving(CALL, [USE]) as step:
        injecting = asyncio.create_task(step.inject(TARGET))
        await until(lambda: desk.store.reads == 1)
        desk.store.gate.set()
        await injecting
    assert desk.store.reads == 1
    assert [entry.type for entry in desk.log.entries] == [EntryType.SECRET_USED]


async def test_a_store_that_hangs_is_asked_once_for_many_intents_and_nobody_queues_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker, "AT_ONCE_SECONDS", 0.0)
    desk = Desk()
    desk.store.gate = asyncio.Event()
    for _ in range(50):
        assert await desk.broker.named("default", [USE, replace(USE, parameter="x")]) == []
    await asyncio.sleep(0)
    assert (desk.store.reads, len(desk.broker._seeking)) == (1, 1)
    needed = asyncio.create_task(desk.broker.value("store", "default", "token"))
    desk.store.gate.set()
    assert (await needed).value == "the-first-value"
    assert (desk.store.reads, len(desk.broker._seeking)) == (1, 0)


async def test_a_store_that_fails_by_a_fault_of_its_own_ends_no_intent() -> None:
    desk = Desk()

    async def broken(*_: str) -> SecretValue:
        raise RuntimeError("its client library has a bug")

    desk.store.read = broken  # type: ignore[method-assign]
    assert await desk.broker.named("default", [USE]) == []
    with pytest.raises(RuntimeError):
        await desk.broker.value("store", "default", "token")


async def test_an_intent_says_nothing_of_what_cannot_be_had() -> None:
    desk = Desk()
    desk.store.gone = True
    assert await desk.broker.named("default", [USE, replace(USE, store="nowhere")]) == []


async def test_a_broker_that_is_closed_seeks_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.store.gate = asyncio.Event()
    monkeypatch.setattr(broker, "AT_ONCE_SECONDS", 0)
    await desk.broker.named("default", [USE])
    await desk.broker.close()
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()


class Adapter:
    """Asks for its injections and then fails in the way it is told."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure

    async def run(self, asked: Any) -> HandResult:
        await asked.inject("https", "api.example", 443)
        raise self.failure


@pytest.mark.parametrize("length", [0, INLINE_MAX_CHARACTERS], ids=["short", "long"])
async def test_what_is_searched_while_it_comes_is_told_of_once(length: int) -> None:
    desk = Desk()
    async with desk.broker.serving(CALL, [USE]) as step:
        assert await step.search("the-first-value") == "the-first-value"  # nothing was given yet
        await step.inject(TARGET)
        for _ in range(2):
            assert await step.search("." * length + "the-first-value") == "." * length + MARK
    assert [entry.type for entry in desk.log.entries] == [EntryType.SECRET_USED, EntryType.SECRET_ECHOED]


@pytest.mark.parametrize(
    "failure",
    [
        HandError(Reason.HAND_FAILED, HandFailure.EXECUTED, "it said the-first-value"),
        Unavailable(Reason.HAND_UNAVAILABLE, "it said the-first-value"),
        ValueError("bad header Bearer the-first-value"),
        UnicodeEncodeError("ascii", "the-first-value", 0, 1, "why"),
    ],
)
async def test_what_an_adapter_says_of_its_failure_holds_no_secret(
    failure: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk()
    with pytest.raises(HandError) as caught:
        await served.run(desk.broker, Adapter(failure), CALL, [USE])  # type: ignore[arg-type]
    printed = capsys.readouterr()
    assert "the-first-value" not in f"{caught.value!r} {caught.value.detail} {printed.out} {printed.err}"
    assert caught.value.__cause__ is None
    expected = HandFailure.EXECUTED if isinstance(failure, HandError) else HandFailure.UNKNOWN
    assert caught.value.failure is expected


async def test_a_secret_that_cannot_be_had_has_the_call_not_executed() -> None:
    desk = Desk()
    desk.store.gone = True
    with pytest.raises(HandError) as caught:
        await served.run(desk.broker, Adapter(ValueError()), CALL, [USE])  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.failure) == (Reason.SECRET_UNAVAILABLE, HandFailure.NOT_EXECUTED)
