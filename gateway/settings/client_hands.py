"""What a hand that its client runs cannot have."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.settings.hands import ActionSettings


def check(actions: Mapping[str, "ActionSettings"]) -> None:
    """Raises ``ValueError`` where an action says what only a hand that is called from here can keep."""
    for name, action in actions.items():
        if action.cacheable:
            raise ValueError(
                f"actions.{name}: adapter = 'client' takes no cacheable actions: no answer comes from here"
            )
        if action.result_schema is not None:
            raise ValueError(
                f"actions.{name}: adapter = 'client' takes no result_schema: a client reports content alone"
            )
        if "deadline_seconds" in action.model_fields_set:
            raise ValueError(f"actions.{name}: adapter = 'client' takes no deadline_seconds: nobody here ends the call")
