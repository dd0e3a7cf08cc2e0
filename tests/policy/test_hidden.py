"""What is hidden from a list: never what some call would be let go or asked about, and always what grants rule out."""

import asyncio
import json
import random
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from gateway.forward_clock import ForwardClock
from gateway.model import Effect
from gateway.policy.bundle import load
from gateway.policy.canary import Canary, Cause, Limits
from gateway.policy.candidate import Candidate
from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.faults import EngineUnavailable, EvaluationFailed
from gateway.policy.opa import MENU, OpaEngine
from gateway.policy.private_opa import private_opa
from gateway.policy.trial import Trial, TrialEngine
from gateway.reasons import Reason
from tests import regorus_engine
from tests.policy.support import OPEN, SHIPPED, ask, embedded, inspected, record, step, write
from tests.until import until

ROLES = ["agent", "author", "approver"]
PURPOSES = ["billing", "support"]
KINDS = ["none", "reversible", "irreversible", "external", None]
"""``None``: the operator did not say."""
HANDS = {
    hand: {
        "region": None,
        "trust": "untrusted",
        "labels": [],
        "manifest_digest": "0" * 64,
        "actions": {
            f"{kind}_{number}": {"idempotent": False, "args": {}, **({} if kind is None else {"side_effects": kind})}
            for kind in KINDS
            for number in range(2)
        },
    }
    for hand in ("git", "mail")
}
STEPS = [
    {"id": f"{hand}.{action}", "hand": hand, "action": action}
    for hand, known in HANDS.items()
    for action in known["actions"]
]
PROBE = """package probe

answers := [{"hidden": hidden(case), "said": said(case)} | some case in input.cases]

hidden(case) := found if {
	found := data.handrail.hidden with input as case.menu
		WITH
}

said(case) := [decisions |
	some call in case.calls
	decisions := data.handrail.decisions with input as call
		WITH
]
""".replace(
    "WITH",
    " ".join(
        f"with data.handrail.{datum} as case.{datum.rpartition('.')[2]}"
        for datum in (
            "grants.readers",
            "grants.scopes",
            "grants.table",
            "side_effects.ask",
            "side_effects.roles",
            "separation.conflicts",
        )
    ),
)


def menu(**members: Any) -> dict[str, Any]:
    """A menu of every step, as the gateway asks."""
    asked = {"v": 1, "tenant": "default", "environment": "test", "steps": STEPS, "hands": HANDS}
    return {**asked, "principal": {"id": "bot", "tenant": "default", "roles": ["agent"]}, **members}


def drawn(draw: random.Random) -> dict[str, Any]:
    """Data of the rules, who asks, and calls of every step by them: for every purpose, with whatever arguments."""

    def some(items: list[Any]) -> list[Any]:
        return draw.sample(items, draw.randint(0, len(items)))

    def cover() -> dict[str, Any]:
        hand = draw.choice(["git", "mail", "nowhere"])
        actions = some([*HANDS.get(hand, HANDS["git"])["actions"], "nothing"]) or ["*"]
        return {"hand": hand, "actions": draw.choice([actions, ["*"]])}

    def only() -> dict[str, Any]:
        limits = {
            "tenants": some(["default", "acme"]),
            "environments": some(["test", "production"]),
            "purposes": some(PURPOSES),
        }
        return {name: limits[name] for name in some([*limits])}

    def line() -> dict[str, Any]:
        covers = cover() if draw.random() < 0.7 else {"scopes": some(["s", "t"])}
        whom = {"roles": some(ROLES)} if draw.random() < 0.7 else {"principals": some(["bot", "eve"])}
        said = {name: draw.random() < 0.5 for name in some(["external", "unattended"])}
        return {**covers, **whom, **said, **({"only": only()} if draw.random() < 0.5 else {})}

    who = {
        "tenant": draw.choice(["default", "acme", "other"]),
        "environment": draw.choice(["test", "production"]),
        "principal": {"id": draw.choice(["bot", "eve"]), "tenant": "default", "roles": some(ROLES)},
    }
    steps = [
        {**step(one["id"], one["hand"], one["action"], to=draw.choice(["a", 1, None, {"b": ["c"]}]))} for one in STEPS
    ]
    # A plan holds few changes; each step is asked about alone.
    calls = [
        ask(one, hands=HANDS, plan={**ask()["plan"], "purpose": purpose}, **who)
        for one in steps
        for purpose in [None, "", *PURPOSES]
    ]
    kinds = ["reversible", "irreversible", "external"]
    return {
        "menu": menu(**who),
        "calls": calls,
        "readers": some(ROLES),
        "scopes": {"s": [cover()], "t": [cover(), cover()]},
        "table": [line() for _ in range(draw.randint(0, 6))],
        "ask": {kind: draw.choice([{}, {"approver_role": "approver", "quorum": 1}]) for kind in some(kinds)},
        "roles": {kind: some(ROLES) for kind in some(kinds)},
        "conflicts": [{"roles": ["agent", "author"]}] if draw.random() < 0.3 else [],
    }


def let_go(case: Mapping[str, Any], said: list[list[dict[str, Any]]]) -> set[str]:
    """Steps of which some call is allowed or asked about: deny beats the others, and silence denies."""
    found = set()
    for call, decisions in zip(case["calls"], said, strict=True):
        [asked] = call["steps"]
        if decisions and all(one["effect"] != "deny" for one in decisions):
            found.add(asked["id"])
    return found


def check(cases: list[dict[str, Any]], answers: list[dict[str, Any]]) -> None:
    """Every step is hidden if and only if no call of it is let go."""
    shown = 0
    for case, answer in zip(cases, answers, strict=True):
        possible = let_go(case, answer["said"])
        hidden = {*answer["hidden"]}
        assert not hidden & possible, "a call of what is hidden would be let go"
        assert hidden | possible == {one["id"] for one in STEPS}, "no call of what is shown would be let go"
        shown += bool(possible and hidden)
    assert shown > len(cases) / 4, "most cases say nothing"


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    return [drawn(random.Random(seed)) for seed in range(60)]


@pytest.mark.opa
async def test_hidden_is_what_no_call_could_get_and_nothing_else(
    cases: list[dict[str, Any]], opa_program: Path, tmp_path: Path
) -> None:
    probe = tmp_path / "probe.rego"
    probe.write_text(PROBE, encoding="utf-8")
    arguments = ("eval", "--bundle", SHIPPED, "--data", probe, "--stdin-input", "--format", "raw", "data.probe.answers")
    process = await asyncio.create_subprocess_exec(opa_program, *arguments, stdin=PIPE, stdout=PIPE)
    out, _ = await process.communicate(json.dumps({"cases": cases}).encode())
    assert process.returncode == 0
    check(cases, json.loads(out))


def test_hidden_is_the_same_in_regorus(cases: list[dict[str, Any]]) -> None:
    engine = regorus_engine.engine_of(load(SHIPPED), probe=PROBE)
    engine.set_input_json(json.dumps({"cases": cases}))
    check(cases, json.loads(engine.eval_rule_as_json("data.probe.answers")))


# --- the engines -----------------------------------------------------------------------------------------------------


def rule(*body: str) -> str:
    """Hides every step for which ``body`` holds."""
    lines = "".join(f"\t{line}\n" for line in ("some step in input.steps", *body))
    return f"package handrail\n\nhidden contains step.id if {{\n{lines}}}\n"


HIDES = rule('step.hand == "mail"')
ANSWERS: dict[str, tuple[str, set[str] | Reason]] = {
    "a bundle without the rule": ("", set()),
    "a rule": (HIDES, {one["id"] for one in STEPS if one["hand"] == "mail"}),
    "undefined": ('package handrail\n\nhidden := "x" if input.nothing\n', set()),
    "the word that regorus has for undefined": ('package handrail\n\nhidden := "<undefined>"\n', Reason.POLICY_ERROR),
    "no set": ('package handrail\n\nhidden := {"git.none_0": true}\n', Reason.POLICY_ERROR),
    "no ids": ("package handrail\n\nhidden contains 1\n", Reason.POLICY_ERROR),
    "ids of nothing that was asked": ('package handrail\n\nhidden contains "elsewhere"\n', Reason.POLICY_ERROR),
    "a builtin that fails": (
        rule("to_number(step.action) == 1"),
        Reason.POLICY_ERROR,
    ),
    "a rule that takes too long": (
        rule("some a in numbers.range(1, 5000)", "some b in numbers.range(1, 5000)", "a * b == 0"),
        Reason.POLICY_TIMEOUT,
    ),
}


@asynccontextmanager
async def engine_of(kind: str, directory: Path, program: Path, deadline_seconds: float) -> AsyncIterator[Any]:
    if kind == "embedded":
        made = await embedded(directory, deadline_seconds=deadline_seconds)
        yield made
        await made.close()
        return
    async with private_opa(program) as url:
        engine = OpaEngine(url, None, deadline_seconds=deadline_seconds, input_max_bytes=1_048_576)
        await engine.activate(await inspected(directory), record)
        yield engine
        await engine.close()


async def _decides(engine: Any) -> bool:
    return (await engine.decide(ask(step())))["s1"].effect is Effect.ALLOW


@pytest.mark.opa
@pytest.mark.parametrize("kind", ["embedded", "opa"])
@pytest.mark.parametrize("case", ANSWERS)
async def test_each_answer_is_read_alike_and_none_of_them_touches_a_decision(
    kind: str, case: str, opa_program: Path, tmp_path: Path
) -> None:
    source, expected = ANSWERS[case]
    modules = {"open.rego": OPEN.replace("EFFECT", "allow"), **({"hidden.rego": source} if source else {})}
    write(tmp_path, modules)
    deadline_seconds = 0.3 if expected is Reason.POLICY_TIMEOUT else 20.0
    async with engine_of(kind, tmp_path, opa_program, deadline_seconds) as engine:
        # More often than the breaker of OPA bears: how lists fare is nothing to it.
        for _ in range(6 if isinstance(expected, Reason) else 1):
            if isinstance(expected, Reason):
                with pytest.raises(EvaluationFailed) as caught:
                    await engine.hidden(menu())
                assert caught.value.reason is expected
            else:
                assert await engine.hidden(menu()) == expected
        # An evaluator process that was killed is replaced meanwhile, and OPA ends what nobody waits for.
        await until(lambda: _decides(engine))


@pytest.mark.opa
async def test_an_opa_that_lost_its_menu_still_decides(opa_program: Path, tmp_path: Path) -> None:
    """A gateway of an older release, say, put the bundle back without it."""
    write(tmp_path, {"open.rego": OPEN.replace("EFFECT", "allow"), "hidden.rego": HIDES})
    async with private_opa(opa_program) as url:
        engine = OpaEngine(url, None, deadline_seconds=2.0, input_max_bytes=1_048_576)
        await engine.activate(await inspected(tmp_path), record)
        async with aiohttp.ClientSession() as http, http.delete(f"{url}/v1/policies/handrail/{MENU}") as answer:
            assert answer.status == 200
        with pytest.raises(EngineUnavailable):
            await engine.hidden(menu())
        assert (await engine.decide(ask(step())))["s1"].effect is Effect.ALLOW
        await engine.maintain()
        assert await engine.hidden(menu())
        await engine.close()


async def test_a_menu_is_answered_by_the_bundle_that_decides_for_whom_it_is(tmp_path: Path) -> None:
    """A canary: inside of it the candidate, and once it stopped, what either of both hides."""
    write(tmp_path / "active", {"open.rego": OPEN, "hidden.rego": HIDES})
    write(tmp_path / "candidate", {"open.rego": OPEN, "hidden.rego": HIDES.replace("mail", "git")})
    made = await inspected(tmp_path / "candidate")
    backends = [await embedded(tmp_path / "active"), await embedded(tmp_path / "candidate")]

    async def fetch(_digest: str) -> Any:
        return SimpleNamespace(signed=SimpleNamespace(bundle=made))

    active = SimpleNamespace(digest=backends[0].digest, hidden=backends[0].hidden, basis=lambda *_: "active")
    candidate = Candidate(lambda: EmbeddedEngine(workers=1, deadline_seconds=2.0, input_max_bytes=1_048_576), fetch)
    trial = Trial(b"k" * 32, ForwardClock(lambda: 10.0), lambda: active.digest, Limits(10, 5, 0.1, 0.1))
    engine = TrialEngine(active, candidate, trial, None, None)  # type: ignore[arg-type] - what decides alone
    canary = Canary("c", made.digest, active.digest, 100, 0.0, 99.0)
    of = {hand: {one["id"] for one in STEPS if one["hand"] == hand} for hand in HANDS}

    bases = [engine.basis("default", "bot")]
    assert await engine.hidden(menu()) == of["mail"]
    trial.adopt(canary, None)
    bases.append(engine.basis("default", "bot"))
    with pytest.raises(EngineUnavailable):
        await engine.hidden(menu())
    await candidate.hold(made.digest)
    assert await engine.hidden(menu()) == of["git"]
    trial.adopt(replace(canary, stopped=Cause.DENIALS), None)
    bases.append(engine.basis("default", "bot"))
    assert await engine.hidden(menu()) == of["git"] | of["mail"]
    assert len(set(bases)) == len(bases)
    await candidate.close()
    for backend in backends:
        await backend.close()
