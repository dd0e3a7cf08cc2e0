"""Both engines, one answer: each builtin with good and bad arguments, each construct that the check lets through.

Many stand in one bundle and are asked for by the input's ``case``, so that an error is one case's own. What the engines
are known to answer differently is listed, and has to differ: else the list, and ``docs/policies.md``, are old.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.policy import vocabulary
from gateway.policy.faults import EvaluationFailed
from gateway.policy.opa import OpaEngine
from gateway.policy.pool import EvaluatorPool
from gateway.policy.private_opa import private_opa
from gateway.reasons import Reason
from tests.policy.calls import CALLS
from tests.policy.language import INPUT, LANGUAGE
from tests.policy.support import inspected, write

pytestmark = pytest.mark.opa

OTHERS: list[Any] = [None, True, 7, "text", ["a", 1], {"k": "v"}, {"$set": ["e", 2]}]
"""One of each type, put in the place of each argument."""
TEXTS = ["aaa", "AB", "ab", "a\nb", "\u00e9", "", "xaby", ".", "b\n", "A", "\u03b1", "-", "]", 7, None, ["a"], True]
PATTERNS = {
    "match": "regex.match(`{}`, input.args[0])",
    "find": "regex.find_n(`{}`, input.args[0], -1)",
    "groups": "regex.find_all_string_submatch_n(`{}`, input.args[0], -1)",
    "replace": "regex.replace(input.args[0], `{}`, `<$1>`)",
}
EXPRESSIONS = [
    "^a+$", "(?i)^ab$", "[[:alpha:]]", r"^\.", "(?s)a.b", "(?m)^b$", r"\pL", "a{2,3}", "a|b", "(?P<n>a)", r"\x41", "é",
    ".", "[^a]", "$", "", "a*", "a*?b", r"\Aa\z", r"\p{Greek}", "[a-]", "[]a]", "(?U)a+", "(a)(b)?",
]  # fmt: skip
GLOBS = ["*", "a*", "*.b", "**", "**.b", "/x/**", "a.*", "[ab]", "[a-c]*", "{a,b}", "{a.b,c}", r"\*", "é*", "a", "*:*"]
NAMES = ["a", "ab", "a.b", "a.b.b", "/x/a", "/x/a/b", "/x/", "", "é", "*", "c", "a:b", "b", None, 7]
VALUES: list[Any] = [None, True, 1, 1.5, 0, -5, 12345, "a", 'é"\n', [1, "a", None], {"b": 1, "a": [True]}, [], {}, 0.1]

KNOWN = {
    "a builtin that asks whether a text is valid, of what is no text": r"(base64|json|net\.cidr)[._]is_valid \[[^\"]",
    "numbers beyond 2^53": r"abs \[1234|bits\.lsh \[1, 100\]|json\.(unmarshal|is_valid) .*(123456789|1e400)",
    "fractions": r"sum \[\[0\.1|(array\.slice|substring) .*1\.5",
    "characters beyond U+FFFF": r"count .*ud83d|json\.is_valid .*ud800",
}
"""What is known to differ on odd values -> cases."""
Case = tuple[str, str, list[list[Any]]]
"""Name, comprehension, arguments of each question."""
PACKAGES = 50
"""So many at once: OPA compiles everything anew with each."""
DEFINITION = "decisions := x if {\n\tinput.case == %s\n\tx := [%s]\n}\n"


HELPERS = """
value(given) := made if {
	is_object(given)
	given["$set"]
	made := {entry |
		some item in given["$set"]
		entry := inner(item)
	}
} else := given

inner(given) := made if {
	is_object(given)
	given["$set"]
	made := {item | some item in given["$set"]}
} else := given
"""


def calls() -> Iterator[Case]:
    """Each builtin."""
    for name, known in CALLS.items():
        width = len(known[0])
        wrong = [[*known[0][:at], other, *known[0][at + 1 :]] for at in range(width) for other in OTHERS]
        missing = [known[0][:at] for at in range(width)]
        arguments = ", ".join(f"value(input.args[{at}])" for at in range(width))
        yield name, f"v | v := {name}({arguments})", [*known, *wrong, *missing]
    formatted = 'sprintf("%v-%v%%", [input.args[0], value(input.args[0])])'
    yield "sprintf", f"v | v := {formatted}", [[value] for value in VALUES]
    for name in vocabulary.NEEDLE_ARGUMENT:
        yield name, f'v | v := {name}(input.args[0], "ab")', [["abab"], ["a"], [""], [1], []]
    yield "walk", "[place, found] | walk(input.args[0], [place, found])", [[value] for value in VALUES]


def patterns() -> Iterator[Case]:
    """Each kind of pattern."""
    for kind, call in PATTERNS.items():
        for pattern in EXPRESSIONS:
            yield f"regex {kind} {pattern}", f"v | v := {call.format(pattern)}", [[text] for text in TEXTS]
    for pattern in GLOBS:
        for separators in ("null", "[]", '["."]', '["/"]', '[".", "/"]'):
            call = f"glob.match(`{pattern}`, {separators}, input.args[0])"
            yield f"glob {pattern} {separators}", f"v | v := {call}", [[name] for name in NAMES]


def arguments(directory: Path, cases: Iterator[Case]) -> list[dict[str, Any]]:
    """Write a bundle that asks by the input's arguments; the inputs."""
    decisions = [f"package handrail\n{HELPERS}"]
    inputs: list[dict[str, Any]] = []
    for name, comprehension, given in cases:
        decisions.append(DEFINITION % (json.dumps(name), comprehension))
        inputs += [{"case": name, "args": args} for args in given]
    write(directory, {"decisions.rego": "\n".join(decisions)})
    return inputs


def language(directory: Path, texts: list[str]) -> list[dict[str, Any]]:
    """Write a bundle with a package for each of ``texts``; the inputs."""
    decisions = ["package handrail\n"]
    files = {"handrail/doc/data.json": '{"a": 1, "l": [1, 2], "n": null}'}
    for number, text in enumerate(texts):
        package = f"handrail.case{number}"
        source = re.sub(r"data\.handrail(?!\.doc)", f"data.{package}", text.replace(" ; ", "\n\n"))
        files[f"case{number}.rego"] = f"package {package}\n\n{source}\n"
        in_parts = re.search(r"(^| ; |default )p[.[]", text) is not None
        read = "[key, value] | some key, value in" if in_parts else "p | p :="
        decisions.append(DEFINITION % (json.dumps(text), f"{read} data.{package}.p"))
    write(directory, {"decisions.rego": "\n".join(decisions), **files})
    return [{"case": text, **INPUT} for text in texts]


PARTS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "builtins": lambda directory: arguments(directory, calls()),
    "patterns": lambda directory: arguments(directory, patterns()),
    **{
        f"language-{at}": lambda directory, at=at: language(directory, LANGUAGE[at : at + PACKAGES])
        for at in range(0, len(LANGUAGE), PACKAGES)
    },
}


async def outcome(question: Awaitable[Any]) -> Any:
    """The answer as text, or that there was an error."""
    try:
        return json.dumps(_sorted(await question), sort_keys=True)
    except EvaluationFailed as fault:
        return "error" if fault.reason is Reason.POLICY_ERROR else str(fault.reason)


def _sorted(value: Any) -> Any:
    """Sets come in any order, JSON does not tell them from arrays, and 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return sorted((_sorted(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("part", PARTS)
async def test_what_the_check_lets_through_means_one_thing(opa_program: Path, tmp_path: Path, part: str) -> None:
    inputs = PARTS[part](tmp_path)
    bundle = await inspected(tmp_path)
    pool = EvaluatorPool(bundle, workers=1, deadline_seconds=20.0)
    await pool.start()
    different: dict[str, tuple[str, str]] = {}
    try:
        async with private_opa(opa_program) as url:
            opa = OpaEngine(url, None, deadline_seconds=20.0, input_max_bytes=1_048_576)
            try:
                await opa.try_out(bundle, b"{}")
                for one in inputs:
                    raw = json.dumps(one).encode()
                    ours, theirs = await outcome(pool.evaluate(raw)), await outcome(opa._ask(raw, bundle.digest))
                    if ours != theirs:
                        different[f"{one['case']} {json.dumps(one.get('args'))}"] = ours, theirs
            finally:
                await opa.close()
    finally:
        await pool.close()
    known = KNOWN if part == "builtins" else {}
    assert {case: both for case, both in different.items() if not any(re.match(p, case) for p in known.values())} == {}
    assert [why for why, p in known.items() if not any(re.match(p, case) for case in different)] == []


def test_there_is_a_case_for_every_builtin_and_enough_of_the_language() -> None:
    assert {*CALLS, *vocabulary.PATTERN_ARGUMENT, *vocabulary.NEEDLE_ARGUMENT, "sprintf", "walk"} == {
        *vocabulary.IMPLEMENTED
    }
    assert len(LANGUAGE) == len(set(LANGUAGE)) > 200
