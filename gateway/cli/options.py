"""Options that several nouns have: one name, one meaning, one line of help."""

from pathlib import Path
from typing import Annotated

import typer
from handrail import Trust, TrustError

from gateway.cli.exits import Stop

Config = Annotated[
    Path | None, typer.Option("--config", help="handrail.toml. Default: HANDRAIL_CONFIG, ./handrail.toml.")
]
Key = Annotated[Path | None, typer.Option(help="Your enrolled private JWK. Default: the one in cli.json.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
PostQuantum = Annotated[
    bool,
    typer.Option(
        "--post-quantum", help="Require the log's ML-DSA-44 signature beside the other; --trust says by which keys."
    ),
]
NO_SECOND_KEY = "Save the trust document anew: it names such keys where the gateway has [log] post_quantum = true."


def both_required(trust: Trust | None) -> Trust:
    """The trust document, with the log's second signature required. Raises ``Stop`` where it names no key for it."""
    unknown = Stop("--post-quantum: no ML-DSA-44 key of the log is known", NO_SECOND_KEY)
    if trust is None:
        raise unknown
    try:
        return trust.both_required()
    except TrustError:
        raise unknown from None
