"""``handrail policy remote show|pull``: the Git remote that bundles are pulled from."""

from typing import Any

from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.output import Output
from gateway.rendering import moment

app = group("See and pull the Git remote that bundles come from.")


@command(app, example="policy remote show", good="nothing is wrong", negative="something is")
def show(session: Session) -> Exit:
    """Show the newest pull: what it brought, and what was refused and why."""
    return _shown(session, session.client.policy_remote())


@command(app, example="policy remote pull", good="what it brought is good", negative="it brought nothing good")
def pull(session: Session) -> Exit:
    """Pull now; what it brings decides nothing before it is proposed."""
    return _shown(session, session.client.pull_policy_remote())


def _shown(session: Session, view: dict[str, Any]) -> Exit:
    session.out.show(view, lambda: _show(session.out, view))
    return Exit.NEGATIVE if view.get("problem") else Exit.GOOD


def _show(out: Output, view: dict[str, Any]) -> None:
    out.facts(
        [
            ("remote", view.get("url")),
            ("ref", view.get("ref")),
            ("file", view.get("path")),
            ("last pull", moment(view.get("tried_at")) or "never"),
            ("last good", moment(view.get("good_at")) or "never"),
            ("commit", view.get("commit")),
            ("bundle", view.get("digest")),
        ]
    )
    rewritten, problem = view.get("rewritten"), view.get("problem")
    if rewritten:
        where = "to an older commit" if rewritten.get("moved") == "back" else "to another history"
        out.note(f"The history was rewritten {where}: {rewritten.get('before')} -> {rewritten.get('commit')}", "yellow")
    if problem:
        out.note(f"{problem.get('code')}: {problem.get('detail')}", "red")
    elif view.get("digest"):
        out.note(f"To have it decide: handrail policy propose {view['digest']}")
