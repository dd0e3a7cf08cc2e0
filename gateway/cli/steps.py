"""``handrail steps``: dead letters, which are steps that ended in doubt or did not reach their hand."""

import re
from typing import Annotated, Any, Final

import typer

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output
from gateway.cli.plan import WAIT_MAX_SECONDS, show_plan, verdict
from gateway.ports import LetterStatus
from gateway.rendering import moment

app = noun("steps")

_STEP: Final = re.compile(r"([0-9a-f]{64})[/.](.+)")

StepArgument = Annotated[str, typer.Argument(metavar="PLAN_ID/STEP_ID", help="As 'steps list' shows it.")]
Why = Annotated[str, typer.Option("--why", help="Why, in words: erasable, and in no entry.")]


@command(app, "list", example="steps list", good="they were listed")
def list_(
    session: Session,
    status: Annotated[
        LetterStatus, typer.Option(help="Those that wait, or those that were settled.")
    ] = LetterStatus.OPEN,
    after: Annotated[int | None, typer.Option(min=0, help="Only those that follow this one.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Steps on one page.")] = None,
) -> None:
    """List dead letters, newest first: steps that ended in doubt, or did not reach their hand."""
    page = session.client.dead_letters(status=str(status), after=after, limit=limit)
    session.out.show(page, lambda: _show_page(session.out, page, status))


@command(
    app,
    example="steps retry PLAN_ID/STEP_ID --why 'the proxy was down' --not-executed",
    good="the new plan's step succeeded",
    negative="it did not",
    waiting="the new plan is not done yet",
)
def retry(
    session: Session,
    step: StepArgument,
    why: Why,
    not_executed: Annotated[
        bool, typer.Option("--not-executed", help="You say that the step did not happen; it is on record that you did.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, max=WAIT_MAX_SECONDS, help="Seconds to wait for it to be done.")] = 10.0,
) -> Exit:
    """Have a dead letter tried again, once, as a new plan: policy decides anew, and people are asked anew."""
    plan_id, name = _parts(step)
    view = session.client.retry_step(plan_id, name, why=why, not_executed=not_executed, wait=wait or None)
    session.out.show(view, lambda: show_plan(session.out, view))
    return verdict(view)


@command(app, example="steps discard PLAN_ID/STEP_ID --why 'booked by hand'", good="it is settled")
def discard(session: Session, step: StepArgument, why: Why) -> None:
    """Say that nothing more is to be done about a dead letter."""
    plan_id, name = _parts(step)
    done = session.client.discard_step(plan_id, name, why=why)
    session.out.show(done, lambda: session.out.line(f"{plan_id}/{name}: {done.get('verdict')}"))


def _parts(step: str) -> tuple[str, str]:
    match = _STEP.fullmatch(step)
    if match is None:
        raise Stop(f"{step}: which step?", "Write PLAN_ID/STEP_ID; 'handrail steps list' lists them.")
    return match[1], match[2]


def _show_page(out: Output, page: dict[str, Any], status: LetterStatus) -> None:
    rows = (
        [
            f"{one.get('plan_id')}/{one.get('step_id')}",
            one.get("hand"),
            one.get("action"),
            f"{one.get('status')}: {one.get('reason')}",
            moment(one.get("ended_at")),
            _outcome(one),
        ]
        for one in page.get("dead_letters", [])
    )
    heads = ["step", "hand", "action", "ended as", "at", "now"]
    out.table(heads, rows, "No step waits for anybody." if status is LetterStatus.OPEN else f"None was {status}.")
    if page.get("next") is not None:
        out.note(f"More: --after {page['next']}")


def _outcome(one: dict[str, Any]) -> str:
    settled = one.get("settled")
    if settled is None:
        return "waits" if one.get("hand_usable") else "waits; its hand is not usable"
    plan = f" as {settled['retry_plan']}" if settled.get("retry_plan") else ""
    return f"{settled.get('verdict')} by {settled.get('by')}{plan}"
