"""``handrail keys``: the gateway's keys, and new keys for clients."""

import json
from pathlib import Path
from typing import Annotated

import typer
from handrail import SigningKey, Trust

from gateway.cli import keys_stores
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.output import Output
from gateway.cli.saving import Force, refuse_existing, save
from gateway.ports import Purpose

app = noun("keys")
app.add_typer(keys_stores.app)


@command(app, "list", example="keys list", good="they were listed")
def list_(session: Session) -> None:
    """List the gateway's keys and their states."""
    found = session.client.keys()
    columns = ["kid", "purpose", "state"]
    session.out.show(
        {"keys": found},
        lambda: session.out.table(columns, ([item.get(name) for name in columns] for item in found)),
    )


@command(app, example="keys rotate receipt", good="it was rotated")
def rotate(
    session: Session,
    purpose: Annotated[Purpose, typer.Argument(metavar="PURPOSE", help=f"One of: {', '.join(Purpose)}.")],
) -> None:
    """Make the next key of a purpose the active one; messages of the old one stay good."""
    document = session.client.rotate_key(str(purpose))
    session.out.show(document, lambda: session.out.line(f"The {purpose} key is rotated; see 'handrail keys list'."))


@command(app, example="keys revoke KID", good="it was revoked")
def revoke(
    session: Session, kid: Annotated[str, typer.Argument(metavar="KID", help="As 'keys list' shows it.")]
) -> None:
    """Revoke one of the gateway's keys: nothing signed by it is believed from then on."""
    document = session.client.revoke_key(kid)
    session.out.show(document, lambda: session.out.line(f"{kid} is revoked."))


@command(app, example="keys new --out agent.jwk", good="it was written")
def new(
    out: Output,
    file: Annotated[Path, typer.Option("--out", help="The file for the private JWK.")],
    force: Force = False,
) -> None:
    """Make an Ed25519 key for a client (plans or approvals), in a file of mode 0600; no gateway is asked."""
    key = SigningKey.generate()
    refuse_existing(file, force=force)
    key.save(file, replace=force)
    document = {"file": str(file), "kid": key.kid, "jwk": key.public.public_jwk()}
    out.show(document, lambda: out.facts([("private key", file), ("kid", key.kid)]))


@command(app, example="keys trust --out trust.json", good="it was printed or saved")
def trust(
    session: Session,
    file: Annotated[Path | None, typer.Option("--out", help="Save it here instead.")] = None,
    force: Force = False,
) -> None:
    """Print the trust document for 'handrail verify': fetch it once, over a channel that you trust, and keep it."""
    if file is not None:
        refuse_existing(file, force=force)
    document = session.client.trust()
    Trust.from_document(document)
    text = json.dumps(document, indent=2) + "\n"
    if file is None:
        session.out.raw(text)
        return
    save(file, text, force=force, private=False)
    session.out.show({"file": str(file)}, lambda: session.out.facts([("trust document", file)]))
