"""``handrail unfreeze``: the first of two people's words by which a freeze is lifted."""

from typing import Annotated

import typer

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit
from gateway.cli.options import Key
from gateway.cli.proposals import show_proposal, signing_key
from gateway.two_person import Kind

app = noun("unfreeze")


@command(
    app,
    example="unfreeze 5f1c2a9b7d3e4f60",
    good="",
    waiting="it waits for a second person, who runs: handrail proposals activate ID",
)
def unfreeze(
    session: Session,
    freeze_id: Annotated[str, typer.Argument(metavar="FREEZE", help="As 'freeze list' shows it.")],
    key: Key = None,
) -> Exit:
    """Propose that a freeze be lifted; what it stopped does not go on by itself."""
    signing = signing_key(session, key)
    made = session.client.propose(str(Kind.FREEZE_LIFT), {"freeze": freeze_id}, subject=freeze_id, key=signing)
    session.out.show(made, lambda: show_proposal(session.out, made))
    if not session.out.json:
        session.out.section(f"Now somebody else: handrail proposals activate {made.get('id')}")
    return Exit.WAITING
