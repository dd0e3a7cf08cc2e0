"""``handrail connections``: the services at which people let the gateway act for them. Consent is given in a browser: a
terminal only says where.
"""

from typing import Annotated, Any

import typer

from gateway.cli.asking import ask_for
from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.options import Yes

app = noun("connections")

Id = Annotated[str, typer.Argument(metavar="ID", help="As the configuration names it: [connections.ID].")]


Whose = Annotated[str, typer.Option("--principal", metavar="ID", help="Whose connection it is.")]


@command(app, "list", example="connections list", good="they were listed")
def list_(session: Session) -> None:
    """List services, and whether you have connected them."""
    found = session.client.connections()
    session.out.show(
        {"connections": found},
        lambda: session.out.table(
            ["id", "service", "state", "asks for", "hands"],
            ([_shown(one.get(key)) for key in ("id", "title", "state", "scopes", "hands")] for one in found),
            "There is nothing to connect.",
        ),
    )


@command(app, example="connections connect github", good="the page was named")
def connect(session: Session, connection: Id) -> None:
    """Say at which page you connect a service: there you log in as yourself, and go on to the service."""
    document = session.client.connection(connection)
    session.out.show(
        document,
        lambda: session.out.facts(
            [
                ("service", document.get("title")),
                ("state", document.get("state")),
                ("asks for", _shown(document.get("scopes"))),
                ("open in your browser", document.get("page")),
            ]
        ),
    )


@command(app, example="connections remove github --yes", good="it is taken back")
def remove(session: Session, connection: Id, yes: Yes = False) -> None:
    """Take a consent back: your tokens are forgotten, and the service is asked to revoke them."""
    if not yes:
        ask_for("remove", session.out, to=f"take {connection} back", unasked="Give --yes.")
    document = session.client.remove_connection(connection)
    told = "and revoked there" if document.get("revoked") else "but not revoked there: do that at the service, too"
    session.out.show(document, lambda: session.out.line(f"{connection} is taken back, {told}."))


@command(app, example="connections end github --principal ada --yes", good="it is ended")
def end(session: Session, connection: Id, principal: Whose, yes: Yes = False) -> None:
    """End somebody's connection: the tokens are forgotten, and the service is asked to revoke them."""
    if not yes:
        ask_for("end", session.out, to=f"end what {principal} granted at {connection}", unasked="Give --yes.")
    document = session.client.end_connection(principal, connection)
    told = (
        "and revoked there" if document.get("revoked") else "but not revoked there: have the account's sessions ended"
    )
    session.out.show(document, lambda: session.out.line(f"{connection} of {principal} is ended, {told}."))


def _shown(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
