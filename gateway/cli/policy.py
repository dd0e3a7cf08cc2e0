"""``handrail policy``: evaluate and check policy bundles, without a gateway."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import structlog
import typer

from gateway.canonical import parse
from gateway.cli import (
    policy_build,
    policy_candidate,
    policy_lifecycle,
    policy_observe,
    policy_remote,
    policy_replay,
    policy_suggest,
)
from gateway.cli.candidates import Candidate, candidate
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Code, Exit, Stop, unreadable
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.errors import Refused
from gateway.files import read_bounded
from gateway.model import Effect
from gateway.personal_data import SECRET_KIND, Scanner
from gateway.policy import tools
from gateway.policy.faults import BundleError, Problem
from gateway.policy.suggest import granted_hands
from gateway.settings import PolicySettings, load

app = noun("policy")
app.add_typer(policy_replay.app)
app.add_typer(policy_build.app)
app.add_typer(policy_lifecycle.app)
app.add_typer(policy_suggest.app)
app.add_typer(policy_observe.app, name="observe")
app.add_typer(policy_remote.app, name="remote")
app.add_typer(policy_candidate.shadow, name="shadow")
app.add_typer(policy_candidate.canary, name="canary")

_INPUT_MAX_BYTES: Final = 16_777_216
_INPUT_HINT: Final = "Submit the plan, then give what 'handrail why PLAN_ID/STEP_ID --json' prints."


@command(
    app,
    "eval",
    example="policy eval --input input.json --bundle policies",
    good="every step is allowed",
    negative="one is denied, or there is no answer",
    waiting="one asks for a person",
)
def evaluate(
    session: Session,
    input_: Annotated[Path, typer.Option("--input", help="Policy input, version 1, as JSON ('handrail why --json').")],
    bundle: Candidate = None,
    engine: Annotated[Literal["embedded", "opa"] | None, typer.Option(help="Default: the configured one.")] = None,
    config: Config = None,
) -> Exit:
    """Decide one input by a bundle."""
    out, settings = session.out, load(config).policy
    _log_to_standard_error()
    try:
        document = parse(read_bounded(input_, _INPUT_MAX_BYTES, regular=False))
    except OSError as exc:
        raise unreadable(input_, exc) from None
    except Refused as exc:
        raise Stop(f"{input_}: not strict JSON ({exc.detail})", _INPUT_HINT, code=Code.FILE) from None
    if not isinstance(document, dict):
        raise Stop(f"{input_}: not a JSON object", _INPUT_HINT, code=Code.FILE)
    if isinstance(document.get("actions"), list):
        raise Stop(f"{input_}: a plan, not a policy input", _INPUT_HINT, code=Code.FILE)
    # What 'handrail why --json' prints holds the input that the rules saw.
    policy_input = document["input"] if isinstance(document.get("input"), dict) else document
    try:
        found = asyncio.run(
            tools.evaluate(candidate(session, bundle, settings), engine or settings.engine, policy_input, settings)
        )
    except BundleError as exc:
        return _show_problems(out, exc.problems)
    answer = found.document()
    out.show(answer, lambda: _show(out, answer))
    effects = {decision.effect for decision in found.decisions.values()}
    if found.problem is not None or Effect.DENY in effects or not effects:
        return Exit.NEGATIVE
    return Exit.WAITING if Effect.ASK in effects else Exit.GOOD


@command(
    app, example="policy check policies", good="the bundle can be used", negative="something keeps it from being used"
)
def check(
    session: Session,
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE", help="A directory, a file of 'policy build', or the digest of a bundle that is kept."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="handrail.toml: count its own kinds, and say which granted hands it does not declare."
        ),
    ] = None,
) -> Exit:
    """Say everything that keeps a gateway from using a bundle."""
    _log_to_standard_error()
    try:
        chosen = candidate(session, bundle, PolicySettings())
        known = Scanner() if config is None else load(config).results.scanner()
        found = asyncio.run(tools.check(chosen, known.kinds, SECRET_KIND))
    except BundleError as exc:
        return _show_problems(session.out, exc.problems)
    for hand in sorted(granted_hands(chosen.data) - set(load(config).hands)) if config is not None else ():
        session.out.note(f"grants/data.json: {config} declares no hand {hand}, so that line covers nothing.", "yellow")
    return _show_problems(session.out, found)


def _log_to_standard_error() -> None:
    """An engine's complaints; where nobody says so, structlog writes among the answers."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def _show_problems(out: Output, found: Sequence[Problem]) -> Exit:
    document = {"problems": [asdict(problem) for problem in found]}
    out.show(
        document,
        lambda: out.table(
            ["where", "builtin", "problem"],
            (
                [f"{item.file}:{item.line}:{item.column}" if item.line else item.file, item.builtin, item.message]
                for item in found
            ),
            "The bundle can be used.",
        ),
    )
    return Exit.NEGATIVE if found else Exit.GOOD


def _show(out: Output, answer: Mapping[str, Any]) -> None:
    out.facts([("policy", answer["digest"]), ("no answer", answer["problem"])])
    out.line("")
    rows = []
    for decision in answer["decisions"]:
        for reason in decision["reasons"] or [{}]:
            place = answer["locations"].get(reason.get("code")) or {}
            where = f"{place['file']}:{place['line']}" if place else ""
            rows.append([decision["step_id"], decision["effect"], reason.get("code"), reason.get("message"), where])
    out.table(["step", "effect", "code", "message", "where"], rows, "No decision.")
