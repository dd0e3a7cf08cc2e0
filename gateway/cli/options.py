"""Options that several nouns have: one name, one meaning, one line of help."""

from pathlib import Path
from typing import Annotated

import typer

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
