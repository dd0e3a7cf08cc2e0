"""``handrail keys``: the gateway's keys, and new keys for clients."""

import json
from pathlib import Path
from typing import Annotated

import typer
from handrail import SigningKey, Trust

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Stop
from gateway.cli.output import Output
from gateway.ports import Purpose

app = noun("The gateway's keys, and new keys for clients.")


@command(app, "list")
def list_(session: Session) -> None:
    """List the gateway's keys and their states."""
    found = session.client.keys()
    columns = ["kid", "purpose", "state"]
    session.out.show(
        {"keys": found},
        lambda: session.out.table(columns, ([item.get(name) for name in columns] for item in found)),
    )


@command(app)
def rotate(session: Session, purpose: Annotated[Purpose, typer.Argument()]) -> None:
    """Make the next key of a purpose the active one. Messages of the old one stay good."""
    document = session.client.rotate_key(str(purpose))
    session.out.show(document, lambda: session.out.line(f"The {purpose} key is rotated; see 'handrail keys list'."))


@command(app)
def revoke(session: Session, kid: Annotated[str, typer.Argument(metavar="KID")]) -> None:
    """Revoke one of the gateway's keys: nothing signed by it is believed from then on."""
    document = session.client.revoke_key(kid)
    session.out.show(document, lambda: session.out.line(f"{kid} is revoked."))


@command(app)
def new(out: Output, file: Annotated[Path, typer.Option("--out", help="New file for the private JWK.")]) -> None:
    """Make an Ed25519 key for a client (plans or approvals) in a new file of mode 0600. No gateway is asked."""
    key = SigningKey.generate()
    key.save(file)
    document = {"file": str(file), "kid": key.kid, "jwk": key.public.public_jwk()}
    out.show(document, lambda: out.facts([("private key", file), ("kid", key.kid)]))


@command(app)
def trust(
    session: Session, file: Annotated[Path | None, typer.Option("--out", help="Save it here instead.")] = None
) -> None:
    """Print the trust document for 'handrail verify'. Fetch it once, over a channel that you trust, and keep it."""
    document = session.client.trust()
    Trust.from_document(document)
    text = json.dumps(document, indent=2) + "\n"
    if file is None:
        session.out.raw(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise Stop(f"{file}: {exc.strerror}") from None
    session.out.show({"file": str(file)}, lambda: session.out.facts([("trust document", file)]))
