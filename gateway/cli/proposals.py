"""``handrail proposals``: changes that take two people."""

from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import SigningKey
from handrail.proposals import check_proposal

from gateway.cli.asking import ask_for
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Key, Yes
from gateway.cli.output import Output
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
    """List the proposals that wait for a second person, newest first."""
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


@command(app, example="proposals withdraw ID", good="it was withdrawn, or ended")
def withdraw(session: Session, proposal_id: ProposalId) -> Exit:
    """Take a proposal back, or end what is in force."""
    document = session.client.withdraw(proposal_id)
    session.out.show(document, lambda: session.out.line(f"{proposal_id}: {document.get('status')}"))
    return Exit.GOOD


def activate_shown(session: Session, shown: dict[str, Any], key: Path | None, yes: bool) -> Exit:
    """Show a proposal, ask, and activate exactly what was shown."""
    check_proposal(shown)
    signing = signing_key(session, key)
    if not session.out.json:
        show_proposal(session.out, shown)
    if not yes:
        unasked = "Read it with 'proposals show', then give --yes."
        ask_for("activate", session.out, to="have exactly this take effect", unasked=unasked)
    done = session.client.activate(shown, signing)
    session.out.show(done, lambda: session.out.line(f"{done.get('id')}: {done.get('status')}"))
    return Exit.GOOD


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
    out.section("the exact document:", style="bold")
    out.block(shown.get("document"))


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
