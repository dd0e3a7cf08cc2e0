"""``handrail principals``: add, list and revoke callers, and their security keys."""

from pathlib import Path
from typing import Annotated, Any

import typer
from handrail import load_public

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.output import Output
from gateway.model import Role
from gateway.rendering import moment

app = noun("principals")


@command(app, example="principals add ada --role approver --approval-key ada.jwk", good="it was added")
def add(
    session: Session,
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")],
    role: Annotated[list[Role], typer.Option(help="What it may do; repeat for several.")],
    hand: Annotated[list[str] | None, typer.Option(help="Hand it may see; repeat. Default: all.")] = None,
    approval_key: Annotated[
        Path | None, typer.Option(help="JWK file whose public half signs this person's approvals.")
    ] = None,
    ttl_days: Annotated[int | None, typer.Option(min=1, help="Life of the API key. Default: the gateway's.")] = None,
) -> None:
    """Add a principal and print its API key, this once."""
    document = session.client.add_principal(
        principal_id,
        [str(item) for item in role],
        hands=hand or None,
        approval_key=load_public(approval_key) if approval_key else None,
        ttl_days=ttl_days,
    )
    session.out.show(document, lambda: _show(session.out, document))


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


@command(app, example="principals revoke ada", good="it was revoked")
def revoke(
    session: Session, principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")]
) -> None:
    """Revoke a principal and all its API keys."""
    document = session.client.revoke_principal(principal_id)
    session.out.show(document, lambda: session.out.line(f"{principal_id} is revoked."))


@command(app, example="principals name p-5f0c...e1 ada", good="it was named")
def name(
    session: Session,
    pseudonym: Annotated[str, typer.Argument(metavar="PSEUDONYM", help="As 'principals list' shows who has no id.")],
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="Its id from now on.")],
) -> None:
    """Give an id to a principal that has none any more, after a restore without the epoch keys."""
    document = session.client.name_principal(pseudonym, principal_id)
    session.out.show(document, lambda: session.out.line(f"{pseudonym} is {principal_id}."))


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


@command(app, example="principals link ada --issuer company --subject 00u1a2b3", good="it was linked")
def link(
    session: Session,
    principal_id: Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")],
    issuer: Annotated[str, typer.Option(help="The issuer, by the name of its [identity.NAME] table.")],
    subject: Annotated[str, typer.Option(help="The sub of its access tokens, exactly.")],
) -> None:
    """Let access tokens of an issuer's subject call as a principal."""
    document = session.client.link_subject(principal_id, issuer, subject)
    facts = [("link", document.get("id")), ("issuer", document.get("source")), ("subject", document.get("subject"))]
    session.out.show(document, lambda: session.out.facts(facts))


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
    out.facts(
        [("principal", principal.get("id")), ("roles", principal.get("roles")), ("API key", api_key.get("token"))]
    )
    out.note("The key is shown this once. Hand it over privately; it goes into HANDRAIL_API_KEY.")
