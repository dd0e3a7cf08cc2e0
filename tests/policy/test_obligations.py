"""What a gateway could not keep is told when a bundle is checked, not when it denies."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.personal_data import SECRET_KIND, Scanner, declared
from gateway.policy import tools
from tests.policy.support import DENY_ALL, SHIPPED, load, write

PACKAGE = "package handrail.x\n\n"
RULE = (
    PACKAGE
    + """decisions contains decision if {
	some step in input.steps
	decision := {"step": step.id, "effect": "allow", "reasons": [], "obligations": OBLIGATIONS}
}
"""
)


async def said(directory: Path, text: str, data: Any = None, scanner: Scanner | None = None) -> list[str]:
    files = {"decisions.rego": DENY_ALL, "handrail/x.rego": text}
    if data is not None:
        files["handrail/y/data.json"] = json.dumps(data)
    kinds = (scanner or Scanner()).kinds
    return [str(one) for one in await tools.check(load(write(directory, files)), kinds, SECRET_KIND)]


KEPT = [
    '{"redact_request": ["secret", "email", "*"]}',
    '{"redact_request": {"secret"}, "redact_personal": ["card"], "quorum": 2, "enrolled_key": true}',
    '{"egress_hosts": [], "deadline_seconds": 1.5}',
    '{"redact_request": input.kinds, "redact_personal": [k | some k in input.kinds]}',
    "{input.name: [1]}",
]


@pytest.mark.parametrize("obligations", KEPT)
async def test_what_can_be_kept_or_is_not_known_yet_passes(tmp_path: Path, obligations: str) -> None:
    assert await said(tmp_path, RULE.replace("OBLIGATIONS", obligations)) == []


FAULTY = {
    '{"redact_request": ["secrets"]}': "redact_request: no kind is called secrets; there are *, ",
    '{"redact_request": {"email", "e-mail"}}': "redact_request: no kind is called e-mail; there are *, ",
    '{"redact_personal": ["secret"]}': "redact_personal: no kind is called secret; there are *, ",
    '{"redact_request": "secret"}': "redact_request: no value that it can have.",
    '{"redact_request": ["Secret"]}': "redact_request: no value that it can have.",
    '{"redact_requests": ["secret"]}': "redact_requests is no obligation.",
    '{"quorum": 0}': "quorum: no value that it can have.",
    '{"log_level": null}': "log_level: no value that it can have.",
}


@pytest.mark.parametrize(("obligations", "problem"), FAULTY.items(), ids=FAULTY)
async def test_what_cannot_be_kept_is_told_with_its_place(tmp_path: Path, obligations: str, problem: str) -> None:
    (found,) = await said(tmp_path, RULE.replace("OBLIGATIONS", obligations))
    assert found.startswith(f"handrail/x.rego:5:86: {problem}")


NAMED = {
    "a name of the rule": ("", '\tkinds := {"emial"}\n'),
    "another rule": ('kinds := {"emial"}\n\n', ""),
    "a rule with a condition": ('kinds := ["emial"] if input.environment == "test"\n\n', ""),
    "what else a rule is": ('kinds := ["email"] if input.v == 2\n\nelse := ["emial"]\n\n', ""),
    "what a rule is by default": ('default kinds := {"emial"}\n\nkinds := ["email"] if input.v == 2\n\n', ""),
    "a member of a set": ('kinds contains "email"\n\nkinds contains "emial" if input.v == 1\n\n', ""),
    "a name that a rule has too": ('kinds := {"email"}\n\n', '\tkinds := {"emial"}\n'),
}
NAMES_KINDS = """decisions contains decision if {
	some step in input.steps
HERE	decision := {
		"step": step.id, "effect": "allow", "reasons": [], "obligations": {"redact_request": kinds},
	}
}
"""


@pytest.mark.parametrize(("before", "within"), NAMED.values(), ids=NAMED)
async def test_kinds_are_seen_by_their_name(tmp_path: Path, before: str, within: str) -> None:
    text = PACKAGE + before + NAMES_KINDS.replace("HERE", within)
    (found,) = await said(tmp_path, text)
    lines = text.splitlines()
    line = next(number for number, one in enumerate(lines, 1) if "emial" in one)
    assert found.startswith(f"handrail/x.rego:{line}:")
    assert "redact_request: no kind is called emial; there are *, " in found


async def test_a_name_that_two_decisions_use_is_told_once(tmp_path: Path) -> None:
    text = PACKAGE + 'kinds := {"emial"}\n\n' + 2 * NAMES_KINDS.replace("HERE", "")
    assert len(await said(tmp_path, text)) == 1


OPEN = {
    "what a rule computes": ("kinds := {one | some one in input.kinds}\n\n", ""),
    "what is only known then": ("", "\tkinds := input.kinds\n"),
    "a name that is looked through": ("", "\tsome kinds in input.kinds\n"),
    "names within": (
        "",
        '\tkinds := input.kinds\n\t[1 | kinds := {"emial"}; kinds == input.kinds] == []\n',
    ),
    "a rule of another name": ('kind := {"emial"}\n\nkinds := {"email"}\n\n', ""),
}


@pytest.mark.parametrize(("before", "within"), OPEN.values(), ids=OPEN)
async def test_what_a_name_stands_for_is_not_guessed(tmp_path: Path, before: str, within: str) -> None:
    assert await said(tmp_path, PACKAGE + before + NAMES_KINDS.replace("HERE", within)) == []


async def test_an_argument_is_not_taken_for_a_rule(tmp_path: Path) -> None:
    text = PACKAGE + 'kinds := {"emial"}\n\nduties(kinds) := {"redact_request": kinds}\n\nmine := duties(["email"])\n'
    assert await said(tmp_path, text) == []


async def test_kinds_are_seen_outside_of_a_decision_and_in_data(tmp_path: Path) -> None:
    text = PACKAGE + 'stated := {"redact_request": ["secrets"]}\n\nother := {"obligations": {"mine": 1}}\n'
    data = {"for": [{"purpose": "support", "redact_request": ["secret", "adress"]}], "obligations": {"mine": 1}}
    first, second = await said(tmp_path, text, data)
    assert first.startswith("handrail/x.rego:3:13: redact_request: no kind is called secrets")
    assert second.startswith("data/handrail/y/for/0/redact_request: redact_request: no kind is called adress")


async def test_an_operators_own_kinds_count(tmp_path: Path) -> None:
    own = Scanner([declared("staff", "EMP-[0-9]{4}")])
    text = RULE.replace("OBLIGATIONS", '{"redact_request": ["staff"]}')
    assert await said(tmp_path, text, scanner=own) == []
    (found,) = await said(tmp_path, text)
    assert "staff" in found


async def test_the_shipped_rules_have_none_that_cannot_be_kept() -> None:
    assert list(await tools.check(load(SHIPPED), Scanner().kinds, SECRET_KIND)) == []
