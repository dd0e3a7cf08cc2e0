"""``handrail why``: each rule that spoke on a step, with file and line, and the input it saw."""

import re
from typing import Annotated, Any, Final

import typer

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Stop
from gateway.cli.output import Output

app = noun("why")

_STEP: Final = re.compile(r"([0-9a-f]{64})[/.](.+)")


@command(app, example="why PLAN_ID/STEP_ID", good="it was shown")
def why(
    session: Session,
    step: Annotated[
        str,
        typer.Argument(metavar="STEP", help="PLAN_ID/STEP_ID, or PLAN_ID: of one step, or with the step beside it."),
    ],
    step_id: Annotated[
        str | None,
        typer.Argument(metavar="STEP_ID", help="The step, where it is not behind the slash.", show_default=False),
    ] = None,
) -> None:
    """Show each rule that spoke on a step, with file and line, and the input it saw."""
    if step_id is None:
        match = _STEP.fullmatch(step)
        step, step_id = (match[1], match[2]) if match else (step, _only_step(session, step))
    document = session.client.why(step, step_id)
    session.out.show(document, lambda: _show(session.out, document))


def _only_step(session: Session, plan_id: str) -> str:
    """The step of a plan that has one."""
    names = [str(step["id"]) for step in session.client.plan(plan_id)["steps"]]
    if len(names) != 1:
        raise Stop(f"{plan_id} has {len(names)} steps: which one?", f"Write PLAN_ID/STEP_ID, of {', '.join(names)}.")
    return names[0]


def _show(out: Output, document: dict[str, Any]) -> None:
    decision = document.get("decision") or {}
    error = document.get("error") or {}
    seen = document.get("input")
    out.facts(
        [
            ("decision", decision.get("effect")),
            ("policy", decision.get("policy_digest")),
            ("ended as", f"{document.get('status')}: {error.get('code')}. {error.get('text')}" if error else ""),
            ("freeze", error.get("freeze")),
            ("refused in", error.get("approval")),
        ]
    )
    out.line("")
    out.table(
        ["code", "message", "where", "rule"],
        (
            [
                reason.get("code"),
                reason.get("message"),
                f"{reason.get('file')}:{reason.get('line')}" if reason.get("file") else "",
                reason.get("title") or reason.get("rule"),
            ]
            for reason in document.get("reasons") or []
        ),
        "No rule spoke: a step that no rule allows is denied." if decision or seen else "No rule was asked.",
    )
    out.section("input the rules saw:", style="bold")
    if seen is not None:
        out.block(seen)
    else:
        out.line("none (it was erased)" if decision else "none (the step did not reach policy)")
