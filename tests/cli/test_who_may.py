"""docs/cli.md says who may give each command: the roles that have the permission of every request that it sends."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.model import Role
from gateway.permissions import EVERYONE, ROLE_PERMISSIONS, Permission
from gateway.two_person import RULES, Kind
from gateway.web.routes import TABLE
from gateway.web.routing import Access
from tests.cli.commands import CASES, EVERY, check, parameters
from tests.cli.conftest import Run
from tests.client.stand_in import DIGEST, StandIn
from tests.meta.tree import ROOT, text

ROWS = [
    re.split(r" (?<!\\)\| ", line[2:-2])
    for line in text(ROOT / "docs" / "cli.md").split("## Commands")[1].splitlines()
    if line.startswith("| `")
]
NAMES = {str(role).replace("_", " "): role for role in Role}
BY_DIGEST = {
    "policy check": [DIGEST],
    "policy eval": ["--bundle", DIGEST, "--input", "input.json"],
}
"""Commands that ask a gateway only for a bundle that it keeps."""


def _named(cell: str) -> list[str]:
    """The commands of a row: ``noun verb|verb ARG``, with what is optional in brackets."""
    found = []
    for span in re.findall(r"`([^`]+)`", cell):
        first, *others = re.sub(r"\[[^\]]*\]", "", span.replace("\\|", "|")).split("|")
        words = [re.match(r"(?:[a-z]+(?:-[a-z]+)* ?)*", part)[0].split() for part in (first, *others)]  # type: ignore[index]
        found.append(" ".join(words[0]))
        found += [" ".join([*words[0][:-1], *more]) for more in words[1:] if more]
    return found


def _said(name: str) -> str:
    """What the page says that a command needs: ``verb, verb: who; verb: who`` or the same for all of the row."""
    [needs] = [needs for cell, _, needs in ROWS if name in _named(cell)]
    for part in needs.split("; "):
        verbs, colon, who = part.partition(": ")
        if colon and name.rsplit(maxsplit=1)[-1] in verbs.split(", "):
            return who
    assert not re.match(r"[a-z, ]+: ", needs), name
    return needs


def _roles(words: str) -> set[Role]:
    if words.startswith("any key"):
        return set(Role)
    return {role for word, role in NAMES.items() if re.search(rf"\b{word}\b", words)}


def test_the_page_lists_every_command_once_and_no_other() -> None:
    assert sorted(name for cell, *_ in ROWS for name in _named(cell)) == EVERY


@pytest.mark.parametrize("cell", [cell for cell, *_ in ROWS])
def test_the_page_shows_options_that_a_command_has(cell: str) -> None:
    there = {word for name in _named(cell) for item in parameters(name) for word in (*item.opts, *item.secondary_opts)}
    assert set(re.findall(r"--[a-z-]+", cell)) <= there


def _access(method: str, target: str) -> Permission | Access:
    path = target.split("?", maxsplit=1)[0]
    [found] = [
        endpoint.access
        for endpoint in TABLE
        if endpoint.method == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", endpoint.path), path)
    ][:1]
    return found


def _of_kind(name: str, target: str, body: bytes) -> set[Permission]:
    """What a proposal of its kind takes besides the route's permission."""
    if target == "/v1/proposals":
        return {RULES[Kind(json.loads(body)["kind"])].propose}
    if target.endswith("/activate"):
        # Which role activates which kind is the kind's; the page of the general command names every role that has one.
        return {RULES[Kind.POLICY_ACTIVATE].activate} if name == "policy activate" else set()
    if target.endswith("/sign"):
        return {RULES[Kind.TRUST_PRINCIPAL].activate}
    if target.endswith("/withdraw") and name != "proposals withdraw":
        # What is in force is ended by who could activate it; an open proposal also by who made it.
        return {RULES[Kind(name.rsplit(" ", 1)[0].replace(" ", "."))].activate}
    return set()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", sorted({*CASES, *BY_DIGEST}))
def test_the_page_names_the_roles_that_may(run: Run, gateway: StandIn, tmp_path: Path, name: str) -> None:
    (tmp_path / "input.json").write_text("{}")
    gateway.seen.clear()
    run(*name.split(), *CASES.get(name, BY_DIGEST.get(name, [])), "--json")
    asked: set[Any] = set()
    for method, target, _, body in gateway.seen:
        asked |= {_access(method, target)} | _of_kind(name, target, body)
    needed = asked - set(Access) - EVERYONE
    may = {role for role, granted in ROLE_PERMISSIONS.items() if needed <= granted}
    assert _roles(_said(name)) == (may if asked else set()), _said(name)


def test_a_bundle_that_is_kept_is_asked_for(run: Run, gateway: StandIn, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text("{}")
    for name, words in BY_DIGEST.items():
        check(" ".join([name, *words]), whole=True)
        gateway.seen.clear()
        run(*name.split(), *words)
        assert [target for _, target, *_ in gateway.seen] == [f"/v1/policy/bundles/{DIGEST}/file"]
