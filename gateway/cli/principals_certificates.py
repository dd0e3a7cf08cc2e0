"""``handrail principals certificates``: client certificates by which a principal is known."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.proposals import is_proposal, proposed
from gateway.rendering import moment

app = group("Add, list and remove the client certificates by which a principal is known.")

_KIND = "certificate"
Principal = Annotated[str, typer.Argument(metavar="ID", help="The principal's id.")]


@command(
    app,
    example="principals certificates add ada --certificate ada.pem",
    good="it was added",
    waiting="nothing changed yet: others have to sign",
)
def add(
    session: Session,
    principal_id: Principal,
    certificate: Annotated[Path | None, typer.Option(help="One certificate (PEM): that and no other.")] = None,
    uri: Annotated[str | None, typer.Option(help="Any that has this URI, as a SPIFFE id.")] = None,
    dns: Annotated[str | None, typer.Option(help="Any that has this DNS name.")] = None,
    email: Annotated[str | None, typer.Option(help="Any that has this address.")] = None,
    subject: Annotated[str | None, typer.Option(help="Any of this subject (RFC 4514), as CN=ada,O=Example.")] = None,
) -> Exit:
    """Let whoever holds a certificate, or any of the configured authorities with a name in it, call as a principal."""
    names = {"uri": uri, "dns": dns, "email": email, "subject": subject}
    given = [(kind, value) for kind, value in names.items() if value is not None]
    if len(given) + (certificate is not None) != 1:
        raise Stop("give a certificate, or one name", "One of --certificate, --uri, --dns, --email and --subject.")
    if certificate is not None:
        text = certificate.read_text(encoding="ascii", errors="replace")
        document = session.client.link_certificate(principal_id, text)
    else:
        [(kind, value)] = given
        document = session.client.link_certificate(principal_id, kind=kind, value=value)
    if is_proposal(document):
        return proposed(session, document)
    facts = [("link", document.get("id")), (str(document.get("source")), document.get("subject"))]
    session.out.show(document, lambda: session.out.facts(facts))
    return Exit.GOOD


@command(app, "list", example="principals certificates list ada", good="they were listed")
def list_(session: Session, principal_id: Principal) -> None:
    """List the certificates and names by which a principal is known, the removed among them."""
    found = [item for item in session.client.links(principal_id) if item.get("kind") == _KIND]
    session.out.show(
        {"links": found},
        lambda: session.out.table(
            ["link", "known by", "name", "good until", "state"],
            (
                [
                    item.get("id"),
                    item.get("source"),
                    item.get("subject"),
                    "" if item.get("expires_at") is None else moment(item["expires_at"]),
                    "removed" if item.get("revoked_at") else "active",
                ]
                for item in found
            ),
            "No certificate.",
        ),
    )


@command(app, example="principals certificates remove ada 4f1c2a9b7d3e6058", good="it was removed")
def remove(
    session: Session,
    principal_id: Principal,
    link_id: Annotated[str, typer.Argument(metavar="LINK", help="As 'principals certificates list' shows it.")],
) -> None:
    """Remove a certificate or a name, for ever: it is never given to anybody again."""
    document = session.client.revoke_link(principal_id, link_id)
    session.out.show(document, lambda: session.out.line(f"{document.get('subject')} is removed."))
