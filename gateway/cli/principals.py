"""``handrail principals``: add, list and revoke callers, and their security keys."""

from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import load_public

from gateway.cli import principals_certificates
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.output import Output
from gateway.cli.proposals import is_proposal, proposed
from gateway.model import Role
from gateway.rendering import moment

app = noun("principals")
app.add_typer(principals_certificates.app, name="certificates")


OwnKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Public part of an API key that the principal made with 'keys api'."),
]
_WAITING = "nothing changed yet: others have to sign"


@command(
    app,
    example="principals add ada --role approver --approval-key ada.jwk",
    good="it was added",
    waiting=_WAITING,
)
def add(
    session: Session,
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")],
    role: Annotated[list[Role], typer.Option(help="What it may do; repeat for several.")],
    hand: Annotated[list[str] | None, typer.Option(help="Hand it may see; repeat. Default: all.")] = None,
    approval_key: Annotated[
        Path | None, typer.Option(help="JWK file whose public half signs this person's approvals.")
    ] = None,
    ttl_days: Annotated[int | None, typer.Option(min=1, help="Life of the API key. Default: the gateway's.")] = None,
    own_key: OwnKey = None,
) -> Exit:
    """Add a principal and print its API key, this once."""
    document = session.client.add_principal(
        principal_id,
        [str(item) for item in role],
        hands=hand or None,
        approval_key=load_public(approval_key) if approval_key else None,
        ttl_days=ttl_days,
        own_key=own_key,
    )
    if is_proposal(document):
        return proposed(session, document)
    session.out.show(document, lambda: _show(session.out, document))
    return Exit.GOOD


@command(app, example="principals key ada --ttl-days 30", good="it was made", waiting=_WAITING)
def key(
    session: Session,
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")],
    ttl_days: Annotated[int | None, typer.Option(min=1, help="Life of the API key. Default: the gateway's.")] = None,
    own_key: OwnKey = None,
) -> Exit:
    """Give a principal one more API key and print it, this once."""
    document = session.client.issue_api_key(principal_id, ttl_days=ttl_days, own_key=own_key)
    if is_proposal(document):
        return proposed(session, document)
    made = {"principal": {"id": principal_id}, "api_key": document}
    session.out.show(document, lambda: _show(session.out, made))
    return Exit.GOOD


@command(app, "list", example="principals list", good="they were listed")
def list_(session: Session) -> None:
    """List the principals of your tenant."""
    found = session.client.principals()
    session.out.show(
        {"principals": found},
        lambda: session.out.table(
            ["id", "roles", "hands", "approval key", "state"],
            (
                [
                    item.get("id"),
                    item.get("roles"),
                    "all" if item.get("hands") is None else item["hands"],
                    item.get("approval_kid"),
                    "revoked" if item.get("revoked_at") else "active",
                ]
                for item in found
            ),
        ),
    )


@command(app, example="principals revoke ada", good="it was revoked", waiting=_WAITING)
def revoke(
    session: Session, principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")]
) -> Exit:
    """Revoke a principal and all its API keys."""
    document = session.client.revoke_principal(principal_id)
    if is_proposal(document):
        return proposed(session, document)
    session.out.show(document, lambda: session.out.line(f"{principal_id} is revoked."))
    return Exit.GOOD


@command(app, example="principals name p-5f0c...e1 ada", good="it was named", waiting=_WAITING)
def name(
    session: Session,
    pseudonym: Annotated[str, typer.Argument(metavar="PSEUDONYM", help="As 'principals list' shows who has no id.")],
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="Its id from now on.")],
) -> Exit:
    """Give an id to a principal that has none any more, after a restore without the epoch keys."""
    document = session.client.name_principal(pseudonym, principal_id)
    if is_proposal(document):
        return proposed(session, document)
    session.out.show(document, lambda: session.out.line(f"{pseudonym} is {principal_id}."))
    return Exit.GOOD


@command(app, example="principals enrol ada", good="the ticket was printed")
def enrol(
    session: Session, principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")]
) -> None:
    """Make a ticket with which an approver enrols a security key, and print it, this once."""
    document = session.client.offer_enrolment(principal_id)
    session.out.show(document, lambda: _show_ticket(session.out, document, session.connection.url))


@command(app, example="principals keys ada", good="they were listed")
def keys(
    session: Session, principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")]
) -> None:
    """List a principal's security keys."""
    found = session.client.security_keys(principal_id)
    session.out.show(
        {"security_keys": found},
        lambda: session.out.table(
            ["key", "kind", "enrolled at", "used"],
            ([key.get("kid"), key.get("jwk", {}).get("crv"), key.get("rp_id"), key.get("sign_count")] for key in found),
            "No security key.",
        ),
    )


@command(app, example="principals unenrol ada KEY", good="it was revoked")
def unenrol(
    session: Session,
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")],
    kid: Annotated[str, typer.Argument(metavar="KEY", help="As 'principals keys' shows it.")],
) -> None:
    """Revoke one security key of a principal, for ever."""
    document = session.client.revoke_security_key(principal_id, kid)
    session.out.show(document, lambda: session.out.line(f"Key {kid} of {principal_id} is revoked."))


@command(app, example="principals link ada --issuer company --subject 00u1a2b3", good="it was linked", waiting=_WAITING)
def link(
    session: Session,
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")],
    issuer: Annotated[str, typer.Option(help="The issuer, by the name of its [identity.NAME] table.")],
    subject: Annotated[str, typer.Option(help="The sub of its access tokens, exactly.")],
) -> Exit:
    """Let access tokens of an issuer's subject call as a principal."""
    document = session.client.link_subject(principal_id, issuer, subject)
    if is_proposal(document):
        return proposed(session, document)
    facts = [("link", document.get("id")), ("issuer", document.get("source")), ("subject", document.get("subject"))]
    session.out.show(document, lambda: session.out.facts(facts))
    return Exit.GOOD


@command(app, example="principals connections ada", good="they were listed")
def connections(
    session: Session, principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")]
) -> None:
    """List services, and whether a principal has connected them; 'connections end' ends one."""
    found = session.client.connections_of(principal_id)
    session.out.show(
        {"connections": found},
        lambda: session.out.table(
            ["id", "service", "state"],
            ([one.get(key) for key in ("id", "title", "state")] for one in found),
            "There is nothing to connect.",
        ),
    )


@command(app, example="principals links ada", good="they were listed")
def links(
    session: Session, principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")]
) -> None:
    """List a principal's links to identities elsewhere."""
    found = session.client.links(principal_id)
    session.out.show(
        {"links": found},
        lambda: session.out.table(
            ["link", "kind", "issuer", "subject", "state"],
            (
                [
                    item.get("id"),
                    item.get("kind"),
                    item.get("source"),
                    item.get("subject"),
                    "revoked" if item.get("revoked_at") else "active",
                ]
                for item in found
            ),
            "No link.",
        ),
    )


@command(app, example="principals unlink ada 4f1c2a9b7d3e6058", good="it was revoked")
def unlink(
    session: Session,
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")],
    link_id: Annotated[str, typer.Argument(metavar="LINK", help="As 'principals links' shows it.")],
) -> None:
    """Revoke a link, for ever: its subject is never given to anybody again."""
    document = session.client.revoke_link(principal_id, link_id)
    session.out.show(document, lambda: session.out.line(f"Link {link_id} of {principal_id} is revoked."))


def _show_ticket(out: Output, document: dict[str, Any], url: str) -> None:
    out.facts([("ticket", document.get("ticket")), ("expires", moment(document.get("expires_at")))])
    out.note(f"It is shown this once. Hand it over privately; it is used at {url}/security-keys.")


def _show(out: Output, document: dict[str, Any]) -> None:
    principal, api_key = document.get("principal") or {}, document.get("api_key") or {}
    token = api_key.get("token")
    shown = token or f"{api_key.get('key_id')}, which the principal made"
    out.facts([("principal", principal.get("id")), ("roles", principal.get("roles")), ("API key", shown)])
    if token is None:
        return
    out.note("The key is shown this once. Hand it over privately; it goes into HANDRAIL_API_KEY.")
