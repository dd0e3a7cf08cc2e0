"""``handrail secrets``: keep the secrets that hands and connections name. A value is read from a file or the standard
input, never from the command line or a variable, where others see it; nothing prints one.
"""

import getpass
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import secret_values
from gateway.cli.asking import ask_for
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.options import Yes
from gateway.cli.output import Output

app = noun("secrets")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="As a hand ([hands.ID.secrets.NAME]) or a connection (client_secret) names it."
    ),
]
ValueFile = Annotated[
    Path | None, typer.Option("--file", help="File with the value. Default: the standard input, or a hidden prompt.")
]


@command(app, "set", example="secrets set crm-token --file crm-token.txt", good="it is kept")
def set_(session: Session, name: Name, file: ValueFile = None) -> None:
    """Keep a new secret, sealed in the gateway's database."""
    document = session.client.set_secret(name, _value(session.out, file))
    session.out.show(document, lambda: session.out.line(f"{name} is kept, version {document.get('version')}."))


@command(app, example="secrets rotate crm-token --file crm-token.txt", good="it has the new value")
def rotate(session: Session, name: Name, file: ValueFile = None) -> None:
    """Put a new value in the place of the one before, which steps under way keep until they end."""
    document = session.client.rotate_secret(name, _value(session.out, file))
    session.out.show(document, lambda: session.out.line(f"{name} is rotated, version {document.get('version')}."))


@command(app, "list", example="secrets list", good="they were listed")
def list_(session: Session) -> None:
    """List secrets, and the hands and connections that name them, without values."""
    found = session.client.secrets()
    session.out.show(
        {"secrets": found},
        lambda: session.out.table(
            ["name", "store", "version", "set at", "used by"],
            ([*(one.get(key) for key in ("name", "store", "version", "set_at")), _users(one)] for one in found),
            "There are no secrets, and nothing names one.",
        ),
    )


@command(app, example="secrets show crm-token", good="it was shown")
def show(session: Session, name: Name) -> None:
    """Show what is known of a sealed secret, without its value."""
    document = session.client.secret(name)
    names = ("name", "store", "version", "set_at", "set_by", "hands", "connections")
    session.out.show(
        document, lambda: session.out.facts([(one.replace("_", " "), _shown(document.get(one))) for one in names])
    )


@command(app, example="secrets remove crm-token --yes", good="it is gone")
def remove(session: Session, name: Name, yes: Yes = False) -> None:
    """Forget a secret: hands and connections that name it fail from then on."""
    if not yes:
        ask_for("remove", session.out, to=f"forget {name}", unasked="Give --yes.")
    document = session.client.remove_secret(name)
    session.out.show(document, lambda: session.out.line(f"{name} is removed."))


@command(app, example="secrets check", good="every secret can be used", negative="one cannot be used")
def check(session: Session) -> Exit:
    """Ask each store for every secret that a hand or a connection names."""
    found = session.client.check_secrets()
    session.out.show(
        {"checks": found},
        lambda: session.out.table(
            ["name", "store", "version", "used by", "state"],
            (
                [
                    one.get("name"),
                    one.get("store"),
                    one.get("version"),
                    _users(one),
                    "ok" if one.get("usable") else one.get("problem"),
                ]
                for one in found
            ),
            "Nothing names a secret.",
        ),
    )
    return Exit.GOOD if all(one.get("usable") for one in found) else Exit.NEGATIVE


def _value(out: Output, file: Path | None) -> str:
    """The value. Raises ``Stop``, never with any of it."""
    if file is not None:
        return secret_values.from_file(file)
    if out.interactive:
        return secret_values.fit(getpass.getpass("Value (not shown): ").encode(), "what was typed")
    return secret_values.fit(sys.stdin.buffer.read(secret_values.READ_MAX + 1), "standard input")


def _users(one: Mapping[str, Any]) -> list[str]:
    return [*one.get("hands", ()), *(f"connections.{name}" for name in one.get("connections", ()))]


def _shown(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
