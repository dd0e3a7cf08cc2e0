"""``handrail issuers``: add, list and revoke signers of plans."""

from pathlib import Path
from typing import Annotated

import typer
from handrail import load_public

from gateway.cli.command import command, noun
from gateway.cli.connect import Session

app = noun("issuers")

IssuerId = Annotated[str, typer.Argument(metavar="ID", help="What plans name as their iss.")]


@command(app, example="issuers add agent --key agent.jwk", good="it was registered")
def add(
    session: Session,
    issuer_id: IssuerId,
    key: Annotated[Path, typer.Option(help="JWK file; only its public half is sent.")],
    speaks_for: Annotated[
        list[str] | None, typer.Option(help="Principal in whose name it may sign, beside the caller; repeat.")
    ] = None,
    attests_request: Annotated[
        bool, typer.Option("--attests-request", help="Its 'request' counts as the user's own words.")
    ] = False,
) -> None:
    """Register an issuer, or add a key to one that exists."""
    document = session.client.add_issuer(
        issuer_id, load_public(key), speaks_for=speaks_for or (), attests_request=attests_request
    )
    kids = ", ".join(str(item.get("kid")) for item in document.get("keys") or [])
    session.out.show(document, lambda: session.out.facts([("issuer", document.get("id")), ("keys", kids)]))


@command(app, "list", example="issuers list", good="they were listed")
def list_(session: Session) -> None:
    """List the issuers of your tenant."""
    found = session.client.issuers()
    session.out.show(
        {"issuers": found},
        lambda: session.out.table(
            ["id", "keys", "speaks for", "attests request", "state"],
            (
                [
                    item.get("id"),
                    [str(key.get("kid")) for key in item.get("keys") or [] if not key.get("revoked_at")],
                    item.get("speaks_for"),
                    "yes" if item.get("attests_request") else "no",
                    "revoked" if item.get("revoked_at") else "active",
                ]
                for item in found
            ),
        ),
    )


@command(app, example="issuers revoke agent", good="it was revoked")
def revoke(session: Session, issuer_id: IssuerId) -> None:
    """Revoke an issuer and all its keys."""
    document = session.client.revoke_issuer(issuer_id)
    session.out.show(document, lambda: session.out.line(f"{issuer_id} is revoked."))
