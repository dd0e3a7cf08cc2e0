"""``handrail proposals``: changes that take two people."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import SigningKey
from handrail.proposals import check_proposal, check_request

from gateway.cli.asking import ask_for
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Key, Yes
from gateway.cli.output import Output
from gateway.dual_control import differences
from gateway.reasons import Reason
from gateway.rendering import moment
from gateway.two_person import Kind, ProposalStatus

app = noun("proposals")

ProposalId = Annotated[str, typer.Argument(metavar="ID", help="As 'proposals list' shows it.")]


@command(app, "list", example="proposals list --all", good="they were listed")
def list_(
    session: Session,
    status: Annotated[ProposalStatus | None, typer.Option(help="Only those in this state.")] = ProposalStatus.OPEN,
    all_: Annotated[bool, typer.Option("--all", help="In any state.")] = False,
    kind: Annotated[Kind | None, typer.Option(help="Only those of this kind.")] = None,
    after: Annotated[str | None, typer.Option(help="Only those that follow this one.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Proposals on one page.")] = None,
) -> None:
    """List the proposals that wait for other people, newest first."""
    page = session.client.proposals(
        status=None if all_ or status is None else str(status),
        kind=None if kind is None else str(kind),
        after=after,
        limit=limit,
    )
    session.out.show(page, lambda: _show_page(session.out, page))


@command(
    app,
    example="proposals show ID",
    good="it was activated",
    negative="nothing came of it",
    waiting="it waits for a second person",
)
def show(session: Session, proposal_id: ProposalId) -> Exit:
    """Show one proposal with its exact document."""
    shown = session.client.proposal(proposal_id)
    check_proposal(shown)
    session.out.show(shown, lambda: show_proposal(session.out, shown))
    return standing(shown)


@command(app, example="proposals activate ID", good="it took effect")
def activate(session: Session, proposal_id: ProposalId, key: Key = None, yes: Yes = False) -> Exit:
    """Have what somebody else proposed take effect; shows it first and asks for the word 'activate'."""
    return activate_shown(session, session.client.proposal(proposal_id), key, yes)


@command(
    app,
    example="proposals sign ID",
    good="it took effect: enough people signed",
    waiting="it waits for more signatures",
)
def sign(session: Session, proposal_id: ProposalId, key: Key = None, yes: Yes = False) -> Exit:
    """Sign a change of trust; shows it first and asks for the word 'sign'."""
    shown = session.client.proposal(proposal_id)
    check_proposal(shown)
    if "needed" not in shown:
        raise Stop(f"{proposal_id} is activated by a second person, not signed", "handrail proposals activate ID")
    _require_open(shown)
    check_request(shown)
    signing = signing_key(session, key)
    if not session.out.json:
        show_proposal(session.out, shown)
    if not yes:
        unasked = "Read it with 'proposals show', then give --yes."
        ask_for("sign", session.out, to="agree to exactly this", unasked=unasked)
    done = session.client.sign_proposal(shown, signing)
    session.out.show(done, lambda: session.out.line(f"{done.get('id')}: {_stands(done)}"))
    return standing(done)


@command(app, example="proposals withdraw ID", good="it was withdrawn, or ended")
def withdraw(session: Session, proposal_id: ProposalId) -> Exit:
    """Take a proposal back, or end what is in force."""
    document = session.client.withdraw(proposal_id)
    session.out.show(document, lambda: session.out.line(f"{proposal_id}: {document.get('status')}"))
    return Exit.GOOD


def activate_shown(session: Session, shown: dict[str, Any], key: Path | None, yes: bool) -> Exit:
    """Show a proposal, ask, and activate exactly what was shown."""
    check_proposal(shown)
    _require_open(shown)
    signing = signing_key(session, key)
    if not session.out.json:
        show_proposal(session.out, shown)
    if not yes:
        unasked = "Read it with 'proposals show', then give --yes."
        ask_for("activate", session.out, to="have exactly this take effect", unasked=unasked)
    done = session.client.activate(shown, signing)
    session.out.show(done, lambda: session.out.line(f"{done.get('id')}: {done.get('status')}"))
    return Exit.GOOD


def proposed(session: Session, document: dict[str, Any]) -> Exit:
    """Say that nothing has changed yet: what was asked for takes more people than the one who asked."""

    def show() -> None:
        show_proposal(session.out, document)
        session.out.section(f"Nothing changed yet. It is proposed, and needs {_missing(document)} more:")
        session.out.line(f"handrail proposals sign {document.get('id')}")

    session.out.show(document, show)
    return Exit.WAITING


def is_proposal(document: dict[str, Any]) -> bool:
    """Whether the gateway answered with a proposal where one person may not make the change."""
    return "document_sha256" in document and "needed" in document


def signing_key(session: Session, key: Path | None) -> SigningKey | None:
    """The caller's enrolled key; ``None`` where the gateway knows of none, and would take no signature.

    Raises:
        Stop: a key is enrolled and is not here, or the key that is here is another.
    """
    enrolled = session.client.me().get("approval_kid")
    file = key or session.connection.key_file
    if enrolled is None:
        if key is not None:
            raise Stop(
                f"{key} is not enrolled", "Have a security admin add you with --approval-key, or leave --key out."
            )
        return None
    if file is None:
        raise Stop("you have an enrolled key and must sign with it", "Give its private JWK with --key FILE.")
    loaded = SigningKey.load(file)
    if loaded.kid != enrolled:
        raise Stop(f"{file} is not your enrolled key", f"The enrolled one has the kid {enrolled}: give it with --key.")
    return loaded


def _require_open(shown: dict[str, Any]) -> None:
    """Say first that there is nothing left to agree to: nobody should read a document for that.

    Raises:
        Stop: with the exit code of a refusal.
    """
    status = shown.get("status")
    if status == ProposalStatus.EXPIRED:
        text = f"{shown.get('id')} has expired: too few agreed in time"
        raise Stop(text, "Have it proposed again.", Exit.NEGATIVE, code=Reason.PROPOSAL_EXPIRED)
    if status != ProposalStatus.OPEN:
        by = f" by {shown.get('decided_by')}" if shown.get("decided_by") else ""
        at = moment(shown.get("decided_at"))
        raise Stop(
            f"{shown.get('id')} is closed: it was {status}{by}{f' at {at}' if at else ''}",
            f"Look at it: handrail proposals show {shown.get('id')}",
            Exit.NEGATIVE,
            code=Reason.PROPOSAL_CLOSED,
        )


def standing(shown: dict[str, Any]) -> Exit:
    """The exit code that says how a proposal stands."""
    status = shown.get("status")
    if status == ProposalStatus.OPEN:
        return Exit.WAITING
    return Exit.GOOD if status in {ProposalStatus.ACTIVATED, ProposalStatus.ENDED} else Exit.NEGATIVE


def show_proposal(out: Output, shown: dict[str, Any]) -> None:
    """A proposal for people: who, until when, and the exact document."""
    by = shown.get("decided_by")
    out.facts(
        [
            ("id", shown.get("id")),
            ("kind", shown.get("kind")),
            ("about", shown.get("subject")),
            ("status", shown.get("status")),
            ("proposed by", f"{shown.get('proposed_by')} ({shown.get('proposed_attested_by')})"),
            ("proposed at", moment(shown.get("proposed_at"))),
            ("expires", moment(shown.get("expires_at"))),
            ("decided by", f"{by} ({shown.get('decided_attested_by')})" if by else ""),
            ("in force until", moment(shown.get("in_force_until"))),
            ("ended by", shown.get("ended_by")),
            ("document sha256", shown.get("document_sha256")),
        ]
    )
    if "needed" in shown:
        _show_change(out, shown)
    out.section("the exact document:", style="bold")
    out.block(shown.get("document"))


def _show_change(out: Output, shown: dict[str, Any]) -> None:
    """A change of trust: who signed, what is asked for, and what differs afterwards."""
    out.facts([("signatures", _stands(shown))])
    rows = (
        [one.get("by"), one.get("attested_by"), moment(one.get("at")), "yes" if one.get("counts") else "no"]
        for one in shown.get("signatures") or []
    )
    out.table(["signed by", "attested by", "at", "counts"], rows, "Nobody signed yet.")
    if isinstance(shown.get("request"), dict):
        out.section("what is asked for:", style="bold")
        out.block(shown["request"])
    document = shown.get("document") or {}
    before, after = document.get("before"), document.get("after")
    if isinstance(after, dict):
        changed = differences(before if isinstance(before, dict) else None, after)
        out.section("what changes:", style="bold")
        out.table(["what", "before", "after"], ([name, _value(was), _value(is_)] for name, was, is_ in changed))


def _value(value: Any) -> str:
    return "-" if value is None else json.dumps(value)


def _counting(shown: dict[str, Any]) -> int:
    return sum(1 for one in shown.get("signatures") or [] if one.get("counts"))


def _missing(shown: dict[str, Any]) -> int:
    needed = shown.get("needed")
    return max(0, (needed if isinstance(needed, int) else 0) - _counting(shown))


def _stands(shown: dict[str, Any]) -> str:
    return f"{shown.get('status')}, {_counting(shown)} of {shown.get('needed')} signed"


def _show_page(out: Output, page: dict[str, Any]) -> None:
    rows = (
        [
            item.get("id"),
            item.get("status"),
            item.get("kind"),
            item.get("subject"),
            item.get("proposed_by"),
            moment(item.get("expires_at")),
        ]
        for item in page["proposals"]
    )
    out.table(["id", "status", "kind", "about", "proposed by", "expires"], rows, "Nothing waits for a second person.")
    if page.get("next") is not None:
        out.note(f"More: --after {page['next']}")
