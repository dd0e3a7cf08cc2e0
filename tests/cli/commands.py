"""The commands as they are registered, one call of each, and the parser that takes their words."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from gateway.cli.main import app
from gateway.cli.nouns import NOUNS

PLAN_ID = "aa" * 32

SPECIAL = {
    "serve", "init", "demo", "jail run", "audit fsck", "log proof", "log consistency", "controls scan", "policy eval",
    "policy check", "policy build", "db upgrade", "audit verify-bundle", "jail build",
    "keys ceremony make", "keys ceremony check",
    "backup create", "backup verify", "backup restore", "retention apply", "retention archive", "retention hold lift",
    "retention hold list", "retention hold set", "retention status", "retention verify-archive", "keys rewrap",
    "keys carry", "hands check", "hands import", "hands openapi", "hands listing", "mcp stdio",
}  # fmt: skip
"""Commands with tests of their own (also in tests/backup): a stand-in is not enough for them."""
CASES: dict[str, list[str]] = {
    "plan sign": ["--key", "key.jwk", "--issuer", "agent", "plan.json"],
    "plan submit": ["token.jws"],
    "plan show": [PLAN_ID],
    "plan receipts": [PLAN_ID, "--out", "out"],
    "why": [f"{PLAN_ID}/s1"],
    "run": ["Look at the desk.", "--detach"],
    "runs list": [],
    "runs show": [f"run_{'0' * 32}"],
    "runs cancel": [f"run_{'0' * 32}"],
    "steps list": [],
    "steps retry": [f"{PLAN_ID}/s1", "--why", "it was down", "--not-executed"],
    "steps discard": [f"{PLAN_ID}/s1", "--why", "booked by hand"],
    "agents adopt": ["agent_1", "--connector", "cloud"],
    "agents list": [],
    "agents show": ["sesn_1", "--connector", "cloud"],
    "agents follow": ["sesn_1", "--connector", "cloud"],
    "agents release": ["sesn_1", "--connector", "cloud"],
    "approvals list": [],
    "approvals show": ["ap-1"],
    "approvals answers": ["ap-1", "--out", "answers.json"],
    "approvals watch": ["--for", "0"],
    "approvals approve": ["ap-1", "--key", "key.jwk", "--yes"],
    "approvals refuse": ["ap-1", "--yes"],
    "verify": ["receipt.json", "--trust", "trust.json"],
    "audit query": [],
    "log checkpoint": [],
    "log witnesses": [],
    "controls report": ["--framework", "gdpr"],
    "controls access-review": [],
    "controls processing-record": [],
    "controls responsibilities": [],
    "audit export": ["--out", "evidence.tar"],
    "proposals list": [],
    "proposals show": ["0" * 32],
    "proposals activate": ["0" * 32, "--yes"],
    "proposals sign": ["1" * 32, "--yes"],
    "proposals withdraw": ["0" * 32],
    "policy bring": ["policy.bundle"],
    "policy propose": ["policy.bundle"],
    "policy activate": ["0" * 32, "--yes"],
    "policy rollback": ["--yes"],
    "policy remote show": [],
    "policy remote pull": [],
    "policy list": [],
    "policy show": [],
    "policy observe propose": ["git", "--for", "1d"],
    "policy observe show": [],
    "policy observe stop": ["git"],
    "policy shadow start": ["cd" * 32, "--for", "1d"],
    "policy shadow show": [],
    "policy shadow stop": [],
    "policy canary propose": ["ab" * 32, "--percent", "5"],
    "policy canary show": [],
    "policy canary stop": [],
    "policy suggest": [],
    "policy inputs": ["--out", "inputs.ndjson"],
    "policy replay": ["--workers", "1"],
    "freeze all": ["--cause", "drill", "--why", "a drill"],
    "freeze hand": ["git"],
    "freeze principal": ["p1"],
    "freeze context": ["c1"],
    "freeze list": [],
    "unfreeze": ["f" * 16],
    "principals add": ["p1", "--role", "agent"],
    "principals key": ["p1"],
    "principals list": [],
    "principals revoke": ["p1"],
    "principals name": ["p-1", "p1"],
    "principals enrol": ["p1"],
    "principals keys": ["p1"],
    "principals unenrol": ["p1", "k"],
    "principals link": ["p1", "--issuer", "company", "--subject", "s"],
    "principals connections": ["ada"],
    "principals links": ["p1"],
    "principals certificates add": ["p1", "--uri", "spiffe://example.org/p1"],
    "principals certificates list": ["p1"],
    "principals certificates remove": ["p1", "l1"],
    "principals unlink": ["p1", "l1"],
    "privacy access": ["ann", "--out", "ann.json"],
    "privacy erase": ["ann", "--yes"],
    "privacy erasure": ["e1"],
    "privacy hold set": ["ann", "--code", "legal_claim"],
    "privacy hold list": [],
    "privacy hold lift": ["h1"],
    "issuers add": ["i1", "--key", "key.jwk"],
    "issuers list": [],
    "issuers revoke": ["i1"],
    "keys list": [],
    "keys create": ["receipt"],
    "keys history": [],
    "keys rotate": ["receipt"],
    "keys revoke": ["k1"],
    "keys new": ["--out", "new.jwk"],
    "keys api": ["--out", "me.key"],
    "keys trust": [],
    "secrets set": ["token", "--file", "value.txt"],
    "secrets rotate": ["token", "--file", "value.txt"],
    "secrets list": [],
    "secrets show": ["token"],
    "secrets remove": ["token", "--yes"],
    "secrets check": [],
    "connections list": [],
    "connections connect": ["hub"],
    "connections remove": ["hub", "--yes"],
    "connections end": ["hub", "--principal", "ada", "--yes"],
    "hands list": [],
    "hands show": ["git"],
    "hands slo": [],
    "hands pin": ["git", "--yes"],
    "doctor": [],
    "config example": [],
    "config check": [],
}

EVERY = sorted({*CASES, *SPECIAL})


def commands() -> Iterator[str]:
    """The words of every command but the demonstration's."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("handrail", [], resilient_parsing=True)
    for name in NOUNS:
        if name != "demo":
            yield from _below(name, root.get_command(context, name), context)


def _below(name: str, found: Any, context: Any) -> Iterator[str]:
    if isinstance(found, TyperGroup):
        for sub in found.list_commands(context):
            yield from _below(f"{name} {sub}", found.get_command(context, sub), context)
    elif found is not None:
        yield name


def find(words: Sequence[str]) -> tuple[Any, Any, list[str]]:
    """What ``words`` name, its context, and the words behind its name. Raises ``LookupError`` for no command."""
    found: Any = typer.main.get_command(app)
    context = found.make_context("handrail", [], resilient_parsing=True)
    rest = list(words)
    while isinstance(found, TyperGroup) and rest and not rest[0].startswith("-"):
        word = rest.pop(0)
        inner = found.get_command(context, word)
        if inner is None:
            raise LookupError(f"{context.command_path} has no {word}")
        found, context = inner, inner.make_context(word, [], parent=context, resilient_parsing=True)
    return found, context, rest


def parameters(name: str) -> list[Any]:
    """Arguments and options of a command."""
    found, _, _ = find(name.split())
    return [item for item in found.params if item.name != "help"]


def check(line: str, *, whole: bool) -> None:
    """Hold a command line, without ``handrail``, against the command that it names; nothing is run.

    Args:
        whole: what the command cannot do without has to be there.

    Raises:
        LookupError: no such command.
        typer.exceptions.TyperException: no such option, or one without its value.
        ValueError: too many words, or one too few.
    """
    found, context, rest = find(shlex.split(line, comments=True))
    values, left, _ = found.make_parser(context).parse_args(rest)
    if isinstance(found, TyperGroup):
        if whole and not rest:
            raise ValueError(f"{line}: no command")
        return
    if left and not context.allow_extra_args:
        raise ValueError(f"{line}: {left[0]} is too much")
    missing = [item.name for item in found.params if item.required and values.get(item.name) in (None, ())]
    if whole and missing:
        raise ValueError(f"{line}: without {', '.join(missing)}")
