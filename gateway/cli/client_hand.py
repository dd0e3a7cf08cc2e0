"""The tools that a client itself runs, as the declaration of a hand."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.cli import toml_text
from hand_adapters.client_presets import Tool


def declaration(tools: Mapping[str, Tool]) -> dict[str, Any]:
    """The hand's settings."""
    return {"adapter": "client", "actions": {name: _action(tool) for name, tool in tools.items()}}


def lines(hand: str, tools: Mapping[str, Tool]) -> Iterator[str]:
    """The same in TOML. Unlike what a server says of itself it is not in comments: it is ours, and still to be read."""
    yield from toml_text.comment(
        f"Tools that {hand} runs itself. They are judged before and reported after; what is not listed is denied. Read "
        "each line before you pin the hand: it is what policy will believe."
    )
    yield f"[hands.{hand}]"
    yield 'adapter = "client"'
    yield '# labels = ["root:/home/me/project"]  # what its paths may lead to; without one, none may lead anywhere'
    for name, tool in tools.items():
        yield f"\n[hands.{hand}.actions.{toml_text.key(name)}]"
        for key, value in _action(tool).items():
            yield f"{key} = {toml_text.value(value)}"


def _action(tool: Tool) -> dict[str, Any]:
    """Its settings; arguments that have a role are named in a schema, which leaves the others to the client."""
    said: dict[str, Any] = {"description": tool.description, "side_effects": str(tool.side_effects)}
    if tool.roles:
        said["args"] = {pointer: str(role) for pointer, role in tool.roles.items()}
        members = {pointer.removeprefix("/"): {"type": "string"} for pointer in tool.roles}
        said["args_schema"] = {"type": "object", "properties": members, "additionalProperties": True}
    return said
