"""What might be declared of an action, in TOML for a person to review: in comments, so that the worst counts."""

from collections.abc import Iterator

from gateway.cli import toml_text
from hand_adapters.suggest import Suggestion


def lines(found: Suggestion, why: str) -> Iterator[str]:
    """The lines of the action's table.

    Args:
        why: what the side effects rest on.
    """
    if found.side_effects is not None:
        yield f'# side_effects = "{found.side_effects}"  # {why}'
    if found.idempotent:
        yield "# idempotent = true"
    if found.roles:
        yield f"# args = {toml_text.value(dict(found.roles))}"
