"""``handrail approvals``: list, approve and refuse held steps."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from handrail import SigningKey, check_shown
from handrail.views import ApprovalPage, ApprovalView

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output

app = noun("List, approve and refuse held steps.")

ApprovalId = Annotated[str, typer.Argument(metavar="ID")]
Key = Annotated[Path | None, typer.Option(help="Your enrolled private JWK. Default: the one in cli.json.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@command(app, "list")
def list_(
    session: Session,
    all_: Annotated[bool, typer.Option("--all", help="Answered ones too.")] = False,
    after: Annotated[str | None, typer.Option(help="Only those that follow this one.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Requests on one page.")] = None,
) -> None:
    """List approval requests that wait for an answer, newest first."""
    page = session.client.approvals(status=None if all_ else "open", after=after, limit=limit)
    session.out.show(page, lambda: _show_page(session.out, page))


@command(app)
def approve(session: Session, approval_id: ApprovalId, key: Key = None, yes: Yes = False) -> Exit:
    """Allow one exact call. Shows it first and asks for the word 'approve'. Exit 4 while more approvers are needed."""
    return _answer(session, approval_id, key, yes, "approve")


@command(app)
def refuse(session: Session, approval_id: ApprovalId, key: Key = None, yes: Yes = False) -> Exit:
    """Refuse one exact call. Shows it first and asks for the word 'refuse'."""
    return _answer(session, approval_id, key, yes, "refuse")


def _show_page(out: Output, page: ApprovalPage) -> None:
    rows = (
        [
            item.get("id"),
            item.get("status"),
            item.get("hand"),
            item.get("action"),
            item.get("requested_by"),
            _time(item.get("expires_at")),
            "\n".join(str(reason.get("message") or reason.get("code")) for reason in item.get("reasons", [])),
        ]
        for item in page["approvals"]
    )
    columns = ["id", "status", "hand", "action", "asked by", "expires", "why"]
    out.table(columns, rows, "Nothing waits for an approval.")
    if page.get("next") is not None:
        out.note(f"More: --after {page['next']}")


def _answer(
    session: Session, approval_id: str, key: Path | None, yes: bool, decision: Literal["approve", "refuse"]
) -> Exit:
    key_file = key or session.connection.key_file
    signing_key = SigningKey.load(key_file) if key_file is not None else None
    shown = session.client.approval(approval_id)
    # Not only before signing: a person must not be shown a call that is not the one bound.
    check_shown(dict(shown))
    if not session.out.json:
        _show(session.out, shown)
    if not yes:
        _ask(session.out, decision)
    # The document that was shown is the one signed; fetching it again would sign what nobody saw.
    answered = session.client.answer(shown, decision, signing_key)
    session.out.show(answered, lambda: session.out.line(f"{approval_id}: {answered.get('status')}"))
    if signing_key is None:
        session.out.note("Attested by the gateway: you have no enrolled key here (--key FILE).", "yellow")
    return Exit.WAITING if answered.get("status") == "open" else Exit.GOOD


def _ask(out: Output, word: str) -> None:
    if not out.interactive:
        raise Stop("there is nobody to ask here", f"Read the call with --json, then give --yes to {word} it.")
    typed = typer.prompt(f"Type '{word}' to {word} this exact call", default="", show_default=False)
    if typed.strip() != word:
        raise Stop("nothing was answered", code=Exit.NEGATIVE)


def _show(out: Output, shown: ApprovalView) -> None:
    fields: dict[str, Any] = dict(shown)
    names = ("hand", "action", "description", "side_effects", "requested_by", "acts_for", "plan_id", "step_id",
             "context_id", "approver_role", "quorum")  # fmt: skip
    out.facts(
        [
            *((name.replace("_", " "), fields.get(name)) for name in names),
            ("expires", _time(fields.get("expires_at"))),
            ("args sha256", (fields.get("binding") or {}).get("args_sha256")),
        ]
    )
    for reason in fields.get("reasons") or []:
        out.line(f"why: {reason.get('code')}: {reason.get('message') or ''}")
    out.section("the exact arguments:", style="bold")
    out.block(fields.get("args"))


def _time(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or not 0 <= seconds < 253_402_300_800:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
