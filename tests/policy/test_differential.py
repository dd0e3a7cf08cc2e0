"""Both engines, one answer: on a recorded corpus, on generated inputs, and for each part of the language."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from gateway.model import Decision
from gateway.policy.bundle import load
from gateway.policy.opa import OpaEngine
from gateway.policy.private_opa import private_opa
from tests.policy.generators import CORPUS, contexts, hands, moments, numbers, principals, request, steps
from tests.policy.support import (
    DECIDING,
    SHIPPED,
    ask,
    canonical,
    embedded,
    inspected,
    record,
    rego,
    spelled,
    step,
    write,
)

pytestmark = pytest.mark.opa
SILENT = {"arguments", "budgets", "rates", "separation", "tokens", "windows"}
"""Rules that say nothing with the data that is shipped; their own tests bring theirs."""


class Engines:
    """Both engines on one bundle, in a loop of their own that outlives single tests."""

    def __init__(self, program: Path) -> None:
        self._runner = asyncio.Runner()
        self._server = private_opa(program)
        url = self._runner.run(self._server.__aenter__())
        self.opa = OpaEngine(url, None, deadline_seconds=20.0, input_max_bytes=1_048_576)
        self.embedded: Any = None

    def load(self, directory: Path) -> None:
        async def both() -> None:
            if self.embedded is not None:
                await self.embedded.close()
            self.embedded = await embedded(directory, deadline_seconds=20.0)
            await self.opa.activate(await inspected(directory), record)

        self._runner.run(both())

    def decide(self, policy_input: dict[str, Any]) -> Mapping[str, Decision]:
        """What both decide; fails where they decide two things."""

        async def both() -> tuple[Mapping[str, Decision], Mapping[str, Decision]]:
            return await self.embedded.decide(policy_input), await self.opa.decide(policy_input)

        one, other = self._runner.run(both())
        assert canonical(one) == canonical(other)
        return one

    def same(self, policy_input: dict[str, Any]) -> str:
        """What both decide, as text."""
        return canonical(self.decide(policy_input))

    def close(self) -> None:
        async def end() -> None:
            if self.embedded is not None:
                await self.embedded.close()
            await self.opa.close()
            await self._server.__aexit__(None, None, None)

        self._runner.run(end())
        self._runner.close()


@pytest.fixture(scope="module")
def engines(opa_program: Path) -> Any:
    made = Engines(opa_program)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shipped(engines: Engines) -> Engines:
    engines.load(SHIPPED)
    return engines


@seed(20261121)
@settings(
    max_examples=2000,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(taken=steps, principal=principals, known=hands, context=contexts, now=moments)
def test_generated_plans(
    shipped: Engines, taken: list[Any], principal: Any, known: Any, context: Any, now: Any
) -> None:
    shipped.same(request(taken, principal, known, context, now))


odd_text = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=24),
    st.sampled_from(
        [
            "https://example.com/x",
            "http://0x7f.1",
            "HTTP://[::1]/",
            "https://a@b.example",
            "www.example.com:443",
            "//evil.example",
            "https://ex\u00e4mple.com",
            "4111 1111 1111 1111",
            "4111\u200b1111\u200b1111\u200b1111",
            "\u200e078-05-1120",
            "DE89 3704 0044 0532 0130 00",
            "\uff14\uff11\uff11\uff11111111111111",
            "SELECT 1",
            "DELETE FROM t WHERE id = 1",
            "SELECT q'(')'; DROP TABLE x; SELECT q'(')'",
            "UPDATE t SET a = 'it''s' WHERE \u0001 = 1",
            "H\u200bIV",
            "\u0130STANBUL gewerkschaft",
            "-0",
        ]
    ),
    st.lists(st.sampled_from(["'", '"', "`", ";", "--", "/*", "\\", " DROP ", " WHERE ", "a", "=", "1", "\u00a0"])).map(
        "".join
    ),
)
odd_number = st.one_of(
    numbers, st.sampled_from([0, -0.0, 0.5, 1.5, 1e15, -1, 2**53 - 1]), st.floats(0, 1e6, allow_nan=False, width=32)
)
odd = st.recursive(
    st.one_of(odd_text, odd_number, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(odd_text, inner, max_size=2)),
    max_leaves=5,
)
LABELS = st.lists(
    st.sampled_from(["sql", "external", "special:health", "host:*.example.com", "safeguard:scc"]), unique=True
)
ROLES = ["recipient", "url", "account", "amount", "content", "path"]


@seed(20261126)
@settings(
    max_examples=300,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    arguments=st.dictionaries(st.sampled_from(ROLES), odd, max_size=4),
    labels=LABELS,
    kind=st.sampled_from(["none", "reversible", "external", "unheard of"]),
    region=st.sampled_from([None, "eu", "us", "in", "EU-West-2"]),
    home=st.sampled_from([None, "eu"]),
)
def test_generated_arguments_of_every_role(
    shipped: Engines, arguments: Any, labels: Any, kind: Any, region: Any, home: Any
) -> None:
    """What rules about arguments read is the caller's: text of any kind, numbers, and other shapes than expected."""
    roles = {f"/{role}": role for role in ROLES} | {f"/{role}/*": role for role in ROLES[:2]}
    hand = {"region": region, "trust": "untrusted", "labels": labels, "manifest_digest": "0" * 64}
    hand["actions"] = {"do": {"side_effects": kind, "idempotent": False, "args": roles}}
    policy_input = ask(step("s1", "known", "do") | {"args": arguments}, hands={"known": hand})
    policy_input["context"]["data_region"] = home
    policy_input["now"] = "2026-11-26T12:00:00Z"
    answer = shipped.same(policy_input)
    # An error denies, but it is no reason that anybody could act on.
    assert "policy.error" not in answer


def test_the_recorded_corpus(shipped: Engines) -> None:
    """Inputs and the answers recorded for them, so that a change of both engines at once is seen too."""
    recorded = json.loads(CORPUS.read_text(encoding="utf-8"))
    assert len(recorded) >= 100
    changed = []
    for case in recorded:
        said = spelled(shipped.decide(case["input"]))
        if said != case["said"]:
            changed.append((case["input"]["steps"], said, case["said"]))
    assert changed == []
    every = [said for case in recorded for said in case["said"].values()]
    assert {said["effect"] for said in every} == {"allow", "ask", "deny"}
    spoke = {code.partition(".")[0] for said in every for code in (*said["codes"], *said["beaten"])}
    assert spoke >= {rule.parent.name for rule in DECIDING} - SILENT


LANGUAGE = {
    "every": "every x in [1, 2] { x > 0 }",
    "every-empty": "every x in [] { x > 9 }",
    "every-input": "every s in input.steps { s.hand == input.steps[0].hand }",
    "not-undefined": "not input.nothing.here",
    "else": 'choose(input.steps[0].hand) == "k"',
    "default": "limit == 7",
    "default-function": "size(3) == 4",
    "sets": "{1, 2} | {3} == {3, 2, 1}; {1, 2} & {2} == {2}; {1, 2} - {2} == {1}",
    "division": "7 / 2 * 2 == 7; 10 % 3 == 1; (0 - 5) % 3 == 0 - 2",
    "numbers": "1 == 1.0; 1e2 == 100; 9007199254740991 == 9007199254740991",
    "order": '"a" < "b"; 1 < "a"; null < false; [1] < [2]',
    "objects": '{"a": 1, "b": 2} == {"b": 2, "a": 1}; object.get({"a": {"b": 3}}, ["a", "b"], 0) == 3',
    "unicode": 'count("é") == 1; upper("é") == "É"; substring("aéb", 1, 1) == "é"',
    "strings": 'split("a/b", "/") == ["a", "b"]; trim_prefix("ab", "a") == "b"; indexof("abc", "c") == 2',
    "regex": 'regex.match("(?i)^ab+$", "ABB"); not regex.match("^a$", "a\\n")',
    "glob": 'glob.match("*.example.com", ["."], "a.example.com"); not glob.match("*.a", ["."], "x.y.a")',
    "net": 'net.cidr_contains("10.0.0.0/8", "10.1.2.3"); not net.cidr_contains("10.0.0.0/8", "11.1.2.3")',
    "time": 'time.parse_rfc3339_ns("2026-01-02T03:04:05Z") == 1767323045000000000; time.weekday(0) == "Thursday"',
    "base64": 'base64url.decode("-_-_") == base64url.decode("-_-_"); base64.encode("a") == "YQ=="',
    "walk": 'walk({"a": {"b": 1}}, [["a", "b"], 1])',
    "comprehension": '{k: v | some k, v in ["a", "b"]} == {0: "a", 1: "b"}',
    "destructuring": "[x, [y]] := [1, [2]]; x + y == 3",
    "membership": '1 in [1]; 1 in {"a": 1}; not 2 in {1}',
    "with": "y == 3",
    "bits": "bits.and(6, 3) == 2; bits.lsh(1, 4) == 16",
    "sprintf": 'sprintf("%v %v %v", [1, "a", {"k": [true, null]}]) == "1 a {\\"k\\": [true, null]}"',
    "false": "false",
    "null": "null",
    "undefined": "input.nothing",
    "partial-sets": '"ALPHA" in names',
    "partial-objects": 'lengths["alpha"] == 5',
    "reference-heads": "tree.left.value == 1",
    "arguments-undefined": "size(input.nothing) == 4",
    "builtin-error": 'to_number("x") == 1',
    "division-by-zero": "1 / (count(input.steps) - count(input.steps)) == 1",
}
SUPPORT = """
choose(hand) := "k" if {
	hand == "known"
} else := "o"

default limit := 1

limit := 7

default size(_) := 4

size(1) := 1

names contains upper(name) if some name in ["alpha", "beta"]

lengths[name] := count(name) if some name in ["alpha", "beta"]

tree.left.value := 1

tree.right.value := 2

z := input.number

y := v if v := z with input.number as 3
"""


@pytest.mark.parametrize("name", LANGUAGE)
def test_the_language(engines: Engines, tmp_path: Path, name: str) -> None:
    rule = f"""
decisions contains {{"step": step.id, "effect": "allow"}} if {{
	some step in input.steps
	step.hand == "known"
	{LANGUAGE[name].replace("; ", chr(10) + chr(9))}
}}
"""
    elsewhere = 'step.hand == "other"'
    denied = rego("").replace("some step in input.steps", f"some step in input.steps\n\t{elsewhere}")
    write(tmp_path, {"a.rego": denied + SUPPORT + rule})
    engines.load(tmp_path)
    answer = engines.same(ask(step()))
    if name in {"false", "null", "undefined", "arguments-undefined"}:
        return
    expected = "policy.error" if name in {"builtin-error", "division-by-zero"} else "Effect.ALLOW"
    assert expected in answer


TEXT = 'a"\\\n\u0000\u2028\U0001f600{}'
DATA = {
    "handrail/data.json": {"limits": {"steps": 3}, "flat": [1], "none": None, "empty": {}, "in": {"x": 1}},
    "handrail/deep/er/data.json": {"acme-corp": {"n": 1.5e3}, "in": [], "text": TEXT},
    "handrail/my-data/data.json": {"known": {"a b": [None, True, -0.5]}},
    "handrail/rules/data.json": {"table": [{"hand": "known"}, {"hand": "x", "more": {"y": 1}}], "acme-corp": 7},
}
READ = {
    "merged": "data.handrail.limits.steps == 3",
    "list": "data.handrail.flat[0] == 1",
    "null": "data.handrail.none == null",
    "empty": "data.handrail.empty == {}",
    "keyword": 'data.handrail["in"].x == 1',
    "key-that-is-no-name": 'data.handrail.deep.er["acme-corp"].n == 1500',
    "key-from-the-input": "data.handrail.deep.er[input.environment] == []",
    "text": f"data.handrail.deep.er.text == {json.dumps(TEXT)}",
    "directory-that-is-no-name": 'data.handrail["my-data"].known["a b"] == [null, true, -0.5]',
    "beside-rules": 'data.handrail.rules["acme-corp"] == 7; data.handrail.rules.size == 2',
    "member-of-some": "some row in data.handrail.rules.table; row.more.y == 1",
    "member-of-none": "not elsewhere",
    "directory-as-a-whole": 'count(data.handrail.deep.er) == 3; object.keys(data.handrail.deep) == {"er"}',
    "replaced": "replaced == 5",
}


@pytest.mark.parametrize("name", READ)
def test_data_read(engines: Engines, tmp_path: Path, name: str) -> None:
    rule = f"""
decisions contains {{"step": step.id, "effect": "allow"}} if {{
	some step in input.steps
	step.hand == "known"
	{READ[name].replace("; ", chr(10) + chr(9))}
}}

elsewhere if {{
	some row in data.handrail.rules.table
	row.nowhere.to_be_found == 1
}}

replaced := v if v := steps with data.handrail.limits as {{"steps": 5}}

steps := data.handrail.limits.steps
"""
    elsewhere = rego("").replace("some step in input.steps", 'some step in input.steps\n\tstep.hand == "other"')
    beside = "package handrail.rules\n\nsize := count(data.handrail.rules.table)\n"
    data = {path.removeprefix("/"): json.dumps(value) for path, value in DATA.items()}
    data["data.json"] = json.dumps({"handrail": json.loads(data.pop("handrail/data.json"))})
    write(tmp_path, {"a.rego": elsewhere + rule, "rules.rego": beside, **data})
    engines.load(tmp_path)
    assert "Effect.ALLOW" in engines.same(ask(step(), environment="in"))


USED = [0, 99, 100, 100.5, 2**53 - 1, -1, "100", None, [], {}, True]
LIMITS: list[dict[str, Any]] = [
    {"context": {"most": 100}, "principal": {}},
    {"context": {"ask_over": 100, "most": 101}, "principal": {"day": {"most": 100}}},
    {"context": {}, "principal": {"minute": {"ask_over": 0}, "hour": {}, "day": {"ask_over": 100}}},
]


@pytest.mark.parametrize("limits", LIMITS)
def test_limits_of_tokens(engines: Engines, tmp_path: Path, limits: dict[str, Any]) -> None:
    """Whatever the context says of tokens, and where it says nothing of them."""
    shutil.copytree(SHIPPED, tmp_path / "policies", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "policies" / "handrail" / "tokens" / "data.json").write_text(json.dumps(limits))
    engines.load(tmp_path / "policies")
    question = {**step("s1", "git", "git_status", repo_path="/repo"), "analysis": {"kind": "message", "model": "m"}}
    effects = set()
    for used in USED:
        sums = {"steps": 1, "changes": 0, "amount": 0, "tokens": used}
        windows = dict.fromkeys(("minute", "hour", "day"), sums)
        for spent in ({"context": sums, "principal": windows}, {"context": sums}, {"principal": windows}, used):
            policy_input = ask(question)
            policy_input["context"]["spent"] = {"steps": 0, "changes": 0, **spent} if isinstance(spent, dict) else spent
            effects |= {decision.effect for decision in engines.decide(policy_input).values()}
    assert "deny" in effects


def test_every_loaded_module_is_in_both_engines(shipped: Engines) -> None:
    shipped.load(SHIPPED)
    assert shipped.embedded.digest == shipped.opa.digest == load(SHIPPED).digest
