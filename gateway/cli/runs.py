"""``handrail runs``: the runs that the gateway takes forward."""

from typing import Annotated, Any

import typer

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.output import Output
from gateway.ports.runs import RunStatus
from gateway.rendering import moment

app = noun("runs")

RunArgument = Annotated[str, typer.Argument(metavar="ID", help="As 'run' and 'runs list' show it.")]
_EXITS = {
    RunStatus.DONE: Exit.GOOD,
    RunStatus.RUNNING: Exit.WAITING,
    RunStatus.WAITING: Exit.WAITING,
    RunStatus.INTERRUPTED: Exit.WAITING,
}
_INTERRUPTED = "It goes on when a gateway takes it up: see the log of the gateways. To end it: handrail runs cancel {}"


@command(app, "list", example="runs list", good="they were listed")
def list_(
    session: Session,
    after: Annotated[int | None, typer.Option(min=0, help="Only those that follow this one.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Runs on one page.")] = None,
) -> None:
    """List runs, newest first: your own, or all of the tenant for roles that read every plan."""
    page = session.client.runs(after=after, limit=limit)
    session.out.show(page, lambda: _show_page(session.out, page))


@command(app, example="runs show RUN_ID", good="it is done", negative="it failed", waiting="it goes on, or waits")
def show(session: Session, run_id: RunArgument) -> Exit:
    """Show a run: what the model said last, what it used, and its plans."""
    view = session.client.run_view(run_id)
    session.out.show(view, lambda: show_run(session.out, view))
    return verdict(view)


@command(app, example="runs cancel RUN_ID", good="it has ended")
def cancel(session: Session, run_id: RunArgument) -> None:
    """End a run of your own: a call that runs is seen through, and what waits for people is withdrawn."""
    view = session.client.cancel_run(run_id)
    session.out.show(view, lambda: session.out.line(f"{run_id}: {view.get('status')}"))


def verdict(view: dict[str, Any]) -> Exit:
    """What the shell learns of a run."""
    return _EXITS.get(RunStatus(str(view.get("status"))), Exit.NEGATIVE)


def show_run(out: Output, view: dict[str, Any]) -> None:
    """A run for people."""
    error = view.get("error") or {}
    interrupted = view.get("interrupted_at")
    out.facts(
        [
            ("run", view.get("run_id")),
            ("status", view.get("status")),
            ("why", f"{error.get('code')}: {error.get('text')}" if error else ""),
            ("problem", error.get("problem")),
            ("since", moment(interrupted) if interrupted else ""),
            ("what to do", _INTERRUPTED.format(view.get("run_id")) if interrupted else error.get("why")),
            ("brain", view.get("brain")),
            ("begun", moment(view.get("created_at"))),
            ("ended", moment(view.get("ended_at")) if view.get("ended_at") else ""),
            ("used", used(view)),
            ("waits for", ", ".join(view.get("approvals") or [])),
        ]
    )
    turns = view.get("turns", [])
    columns = ["turn", "kind", "plan_id"]
    if any(one.get("brain") != view.get("brain") for one in turns):
        columns.insert(2, "brain")
    out.line("")
    out.table(
        ["plan" if name == "plan_id" else name for name in columns],
        ([one.get(name) for name in columns] for one in turns),
        "No turn yet.",
    )
    if view.get("text"):
        out.section(str(view["text"]))


def used(view: dict[str, Any]) -> str:
    """What a run used so far."""
    counted = [_many(view.get("steps"), "step"), _many(view.get("tokens"), "token")]
    return ", ".join([*counted, *([_spent(view)] if view.get("currency") else [])])


def _spent(view: dict[str, Any]) -> str:
    """What its answers cost; empty where no brain had prices."""
    if not view.get("currency"):
        return ""
    spent = view.get("spent")
    return "cost not known" if spent is None else f"{float(spent):.6f}".rstrip("0").rstrip(".") + f" {view['currency']}"


def _many(count: Any, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _show_page(out: Output, page: dict[str, Any]) -> None:
    rows = (
        [
            one.get("run_id"),
            one.get("principal"),
            one.get("brain"),
            f"{one.get('status')}: {one['code']}" if one.get("code") else one.get("status"),
            moment(one.get("created_at")),
            _spent(one),
        ]
        for one in page.get("runs", [])
    )
    out.table(["run", "for", "brain", "status", "begun", "spent"], rows, "There is no run.")
    if page.get("next") is not None:
        out.note(f"More: --after {page['next']}")
