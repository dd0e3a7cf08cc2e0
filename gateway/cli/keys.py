"""``handrail keys``: the gateway's keys, and new keys for clients."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from handrail import SigningKey, Trust
from handrail.history import read_history

from gateway.cli import keys_ceremony, keys_stores
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Stop
from gateway.cli.output import Output
from gateway.cli.saving import Force, refuse_existing, save
from gateway.cli.times import wire_time
from gateway.ports import Purpose
from gateway.rendering import moment as at
from gateway.times import parse_time

app = noun("keys")
app.add_typer(keys_ceremony.app, name="ceremony")
_EPOCH: Final = "epoch"
_DAY_SECONDS: Final = 86_400
app.add_typer(keys_stores.app)


@command(app, "list", example="keys list", good="they were listed")
def list_(session: Session) -> None:
    """List the gateway's keys, their states and ages, and the epochs that wrap data keys."""
    found = session.client.key_list()
    rows = [
        [key.get("kid"), key.get("purpose"), key.get("state"), _age(key, found.get("now")), _stands(key)]
        for key in found.get("keys") or []
    ]
    rows += [[one.get("epoch"), _EPOCH, one.get("state"), "", ""] for one in found.get("epochs") or []]
    session.out.show(
        found, lambda: session.out.table(["kid", "purpose", "state", "days of use", "what of it stands"], rows)
    )


@command(app, example="keys create receipt", good="it was made")
def create(
    session: Session,
    purpose: Annotated[Purpose, typer.Argument(metavar="PURPOSE", help=f"One of: {', '.join(Purpose)}.")],
) -> None:
    """Make a further next key of a purpose: verifiers know it before it is used, also after two rotations in a row."""
    document = session.client.create_key(str(purpose))
    session.out.show(document, lambda: session.out.line(f"There is one more next {purpose} key; see 'keys list'."))


@command(app, example="keys rotate receipt", good="it was rotated")
def rotate(
    session: Session,
    purpose: Annotated[
        str,
        typer.Argument(
            metavar="PURPOSE", help=f"One of: {', '.join(Purpose)}; or {_EPOCH}, the key above all data keys."
        ),
    ],
) -> None:
    """Make the next key of a purpose the active one; messages of the old one stay good."""
    if purpose not in {*Purpose, _EPOCH}:
        raise Stop(f"{purpose}: no purpose of a key", f"One of: {', '.join(Purpose)}, {_EPOCH}.")
    document = session.client.rotate_key(purpose)
    session.out.show(document, lambda: session.out.line(f"The {purpose} key is rotated; see 'handrail keys list'."))


@command(app, example="keys revoke KID --compromised-at 3h", good="it was revoked")
def revoke(
    session: Session,
    kid: Annotated[str, typer.Argument(metavar="KID", help="As 'keys list' shows it.")],
    compromised_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Since when it may be in wrong hands: 3h ago, or 2026-01-31T12:00:00Z. Without it, nothing it signed "
            "stands.",
        ),
    ] = None,
) -> None:
    """Revoke one of the gateway's keys: nothing signed by it is believed from then on.

    What it signed before a checkpoint of the log that is older than the compromise stands.
    """
    since = wire_time(compromised_at, "--compromised-at", time.time())
    document = session.client.revoke_key(kid, since)
    revoked: Mapping[str, Any] = next((key for key in document.get("keys") or [] if key.get("kid") == kid), {})
    session.out.show(
        document, lambda: session.out.facts([("revoked", kid), ("what of it stands", _stands(revoked) or "nothing")])
    )


@command(app, example="keys history --trust trust.json", good="it was shown, and its signature holds")
def history(
    session: Session,
    trust: Annotated[
        Path | None, typer.Option(help="Trust document, from a channel you trust. Default: asked of the gateway.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--out", help="Save the signed text here.")] = None,
    force: Force = False,
) -> None:
    """Show every key that ever was: when it signed, and which entries of the log say so."""
    if file is not None:
        refuse_existing(file, force=force)
    trusted = Trust.from_document(session.client.trust()) if trust is None else Trust.load(trust)
    token = session.client.key_history()
    claims = read_history(token, trusted)
    if file is not None:
        save(file, token + "\n", force=force, private=False)
    rows = [
        [key["kid"], key["purpose"], key["state"], at(key.get("not_before")), at(key.get("not_after")),
         ", ".join(str(entry[0]) for entry in key["entries"]), _stands(key)]
        for key in claims["keys"]
    ]  # fmt: skip
    columns = ["kid", "purpose", "state", "signs from", "until", "entries", "what of it stands"]
    session.out.show({**claims, "signed": token}, lambda: session.out.table(columns, rows))


def _age(key: Mapping[str, Any], now: Any) -> str:
    """Days since the first signature of the active key; of others it says nothing."""
    since = key.get("activated_at")
    if key.get("state") != "active" or since is None:
        return ""
    return f"{max(0.0, parse_time(now) - parse_time(since)) / _DAY_SECONDS:.0f}"


def _stands(key: Mapping[str, Any]) -> str:
    if key.get("state") != "revoked":
        return ""
    if key.get("compromised_at") is None:
        return "nothing"
    if not key.get("covered_size"):
        return f"nothing (stolen {at(key['compromised_at'])}; no checkpoint is older)"
    return f"about entries below {key.get('covered_size')} (stolen {at(key['compromised_at'])})"


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
