"""Menus: one question for a list, kept while it holds; and what fails, hangs or changes meanwhile hides nothing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import pytest

from gateway import menus
from gateway.manifest import ActionManifest, Manifest, SideEffects
from gateway.menus import ASKING_MAX, FAILED_SECONDS, KEPT_MAX, KEPT_SECONDS, STEPS_AT_ONCE, Menus
from gateway.model import Principal, Role
from gateway.policy.faults import EngineUnavailable

BOT = Principal("bot", "acme", "pseudonym-bot", frozenset({Role.AGENT}))


def manifest(hand: str, *names: str) -> Manifest:
    schema = {"type": "object"}
    actions = {name: ActionManifest(name, name, schema, side_effects=SideEffects.NONE) for name in names}
    return Manifest(hand, "mcp", actions)


GIT, MAIL = manifest("git", "log", "push"), manifest("mail", "log", "send")


class Scripted:
    """``ports.PolicyEngine`` for menus: hides every ``push``, ``send``, and what ends in an odd number."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.bundle = "one"
        self.before: Callable[[], Awaitable[None]] | None = None

    async def hidden(self, menu: Mapping[str, Any]) -> set[str]:
        self.asked.append(menu)
        if self.before is not None:
            await self.before()
        return {one["id"] for one in menu["steps"] if one["action"][-1] in "hd13579"}

    def basis(self, tenant: str, principal_id: str) -> tuple[str, ...]:
        return (self.bundle, tenant, principal_id)


class Made:
    def __init__(self) -> None:
        self.engine = Scripted()
        self.now = 0.0
        self.menus = Menus(self.engine, "test", lambda: self.now)  # type: ignore[arg-type] - what menus ask


@pytest.fixture
async def made() -> Any:
    found = Made()
    yield found
    await found.menus.close()


async def test_a_list_is_one_question_without_anything_that_only_a_call_has(made: Made) -> None:
    assert await made.menus.hidden(BOT, [GIT, MAIL]) == {"git": {"push"}, "mail": {"send"}}
    [asked] = made.engine.asked
    assert asked.keys() == {"v", "tenant", "environment", "principal", "steps", "hands"}
    assert asked["principal"] == {"id": "bot", "tenant": "acme", "roles": ["agent"]}
    assert [one["hand"] for one in asked["steps"]] == ["git", "git", "mail", "mail"]
    assert asked["hands"]["git"]["actions"].keys() == {"log", "push"}
    assert await made.menus.hidden(BOT, []) == {}


async def test_an_answer_is_kept_for_who_asked_what_of_which_bundle(made: Made) -> None:
    others = [
        Principal("eve", "acme", "p", BOT.roles),
        Principal("bot", "other", "p", BOT.roles),
        Principal("bot", "acme", "p", frozenset({Role.AUTHOR})),
    ]
    for caller in [BOT, *others, BOT, *others]:
        await made.menus.hidden(caller, [GIT])
    assert len(made.engine.asked) == 4
    renamed = manifest("git2", "log", "push")
    assert await made.menus.hidden(BOT, [renamed]) == {"git2": {"push"}}
    made.engine.bundle = "two"
    await made.menus.hidden(BOT, [GIT])
    assert len(made.engine.asked) == 6
    made.now = KEPT_SECONDS
    await made.menus.hidden(BOT, [GIT])
    assert len(made.engine.asked) == 7


async def test_a_thousand_tools_take_a_few_questions(made: Made) -> None:
    many = manifest("many", *(f"tool_{number}" for number in range(1000)))
    hidden = await made.menus.hidden(BOT, [GIT, many])
    assert hidden == {"git": {"push"}, "many": {f"tool_{number}" for number in range(1, 1000, 2)}}
    assert [len(asked["steps"]) for asked in made.engine.asked] == [STEPS_AT_ONCE] * 4 + [2]


@pytest.mark.parametrize("fault", [EngineUnavailable("away"), RuntimeError("no engine does that")], ids=["away", "odd"])
async def test_what_gets_no_answer_is_shown_and_not_asked_anew_for_a_while(made: Made, fault: Exception) -> None:
    async def fail() -> None:
        raise fault

    made.engine.before = fail
    for _ in range(3):
        assert await made.menus.hidden(BOT, [GIT]) == {}
    assert len(made.engine.asked) == 1
    made.now, made.engine.before = FAILED_SECONDS, None
    assert await made.menus.hidden(BOT, [GIT]) == {"git": {"push"}}
    made.now, made.engine.before = made.now + KEPT_SECONDS, fail
    assert await made.menus.hidden(BOT, [GIT]) == {}, "an answer is not believed for ever"
    assert await made.menus.seen(BOT, [GIT]) is None, "nor is it another list for that"


async def test_a_list_does_not_wait_for_an_engine_that_hangs(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(menus, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(menus, "ASKING_MAX", 2)
    go_on = asyncio.Event()

    async def hang() -> None:
        await go_on.wait()

    made.engine.before = hang
    for name in ("bot", "bot", "eve", "mal"):
        assert await made.menus.hidden(Principal(name, "acme", "p", BOT.roles), [GIT]) == {}
    assert len(made.engine.asked) == 1, "one evaluation at a time is for lists"
    go_on.set()
    monkeypatch.setattr(menus, "WAIT_SECONDS", 20)
    assert await made.menus.hidden(BOT, [GIT]) == {"git": {"push"}}


async def test_an_answer_of_two_bundles_is_not_kept(made: Made) -> None:
    async def change() -> None:
        made.engine.bundle = "two"

    made.engine.before = change
    await made.menus.hidden(BOT, [GIT])
    made.engine.bundle, made.engine.before = "one", None
    await made.menus.hidden(BOT, [GIT])
    assert len(made.engine.asked) == 2


async def look(made: Made, names: Iterable[str]) -> list[Any]:
    return [await made.menus.seen(Principal(name, "acme", "p", BOT.roles), [GIT]) for name in names]


async def test_more_who_look_than_answers_are_kept_keep_no_evaluator_busy(made: Made) -> None:
    """Twice as many as are kept look every two seconds, one after another: each is known in turn."""
    names = [f"bot-{number}" for number in range(2 * KEPT_MAX)]
    told: Counter[str] = Counter()

    async def take_a_while() -> None:
        made.now += 0.001

    made.engine.before = take_a_while
    minutes = 4
    for cycle in range(int(minutes * KEPT_SECONDS / 2)):
        for number, name in enumerate(names):
            made.now = max(made.now, 2 * (cycle + number / len(names)))
            [found] = await look(made, [name])
            assert found in (None, {"git": {"push"}})
            if found is not None:
                told[name] += 1
    assert len(made.engine.asked) <= minutes * KEPT_MAX, "and not at each look"
    assert told.keys() == set(names), "nobody waits for ever"
    assert await made.menus.hidden(BOT, [GIT]) == {"git": {"push"}}, "who asks for a list is answered"


async def test_who_looks_learns_at_once_what_another_bundle_hides(made: Made) -> None:
    names = [f"bot-{number}" for number in range(KEPT_MAX)]
    await look(made, names)
    made.engine.bundle = "two"
    assert await look(made, names) == [{"git": {"push"}}] * KEPT_MAX
    assert len(made.engine.asked) == 2 * KEPT_MAX


async def test_who_looks_is_told_of_no_change_by_an_engine_that_fails_or_hangs(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty answer would be a list that nothing is hidden from."""
    monkeypatch.setattr(menus, "WAIT_SECONDS", 0.01)
    go_on = asyncio.Event()

    async def fail() -> None:
        raise EngineUnavailable("away")

    async def hang() -> None:
        await go_on.wait()

    for before in (fail, hang):
        made.engine.before = before
        assert await look(made, ["bot"]) == [None]
        made.now += FAILED_SECONDS
    go_on.set()


async def test_those_who_look_leave_room_for_those_who_ask(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(menus, "WAIT_SECONDS", 0.01)
    go_on = asyncio.Event()

    async def hang() -> None:
        await go_on.wait()

    made.engine.before = hang
    await asyncio.gather(*(look(made, [f"bot-{number}"]) for number in range(ASKING_MAX)))
    monkeypatch.setattr(menus, "WAIT_SECONDS", 20)
    asking = asyncio.create_task(made.menus.hidden(BOT, [GIT]))
    await asyncio.sleep(0)
    go_on.set()
    assert await asking == {"git": {"push"}}
    assert len(made.engine.asked) == ASKING_MAX // 2 + 1
