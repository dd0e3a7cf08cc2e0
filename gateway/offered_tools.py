"""Pinned manifests as tools that are offered: what is said about them, and the way back from a name to an action."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from mcp import types

from gateway.manifest import ActionManifest, Manifest, SideEffects
from gateway.mcp_methods import is_method
from gateway.tool_names import tool_name

_log = structlog.get_logger(__name__)

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""What a pinned schema is in, whatever its server wrote it in."""
_CACHE_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """One action of one hand under its name as a tool."""

    hand: str
    action: str
    tool: types.Tool


def describe(hand: str, action: ActionManifest, *, alone: bool = False) -> types.Tool:
    """The tool as a client sees it: the pinned schema, and hints by the *operator's* word alone (the server's own
    annotations are a claim by what is being governed).

    The result schema is not offered: policy may redact a result, and a client must refuse a result that is off an
    offered schema (MCP, tools, output schema).
    """
    return types.Tool(
        name=tool_name(hand, action.name, alone=alone),
        title=action.title,
        description=action.description,
        input_schema={"$schema": DIALECT, **action.args_schema},
        annotations=types.ToolAnnotations(
            title=action.title,
            read_only_hint=action.side_effects is SideEffects.NONE,
            destructive_hint=action.side_effects in {SideEffects.IRREVERSIBLE, SideEffects.EXTERNAL},
            idempotent_hint=action.idempotent,
        ),
        execution=types.ToolExecution(task_support="optional"),
    )


class Tools:
    """Tools by manifest, built once per pinned digest."""

    def __init__(self) -> None:
        self._built: OrderedDict[tuple[str, bool], tuple[OfferedTool, ...]] = OrderedDict()

    def offered(self, manifests: Iterable[Manifest], *, alone: bool = False) -> Mapping[str, OfferedTool]:
        """Name -> tool for every action of ``manifests``. A name claimed twice is nobody's.

        Args:
            alone: they are one hand's, and its name is no part of theirs.
        """
        offered: dict[str, OfferedTool] = {}
        contested: set[str] = set()
        for manifest in manifests:
            for entry in self._tools(manifest, alone):
                if offered.setdefault(entry.tool.name, entry) is not entry:
                    contested.add(entry.tool.name)
        for name in contested:
            _log.warning("two actions claim one tool name; neither is offered", tool=name)
            del offered[name]
        return offered

    def _tools(self, manifest: Manifest, alone: bool) -> tuple[OfferedTool, ...]:  # noqa: FBT001
        built = self._built.get((manifest.digest, alone))
        if built is None:
            built = tuple(
                OfferedTool(manifest.hand, action.name, describe(manifest.hand, action, alone=alone))
                for action in manifest.actions.values()
                if not is_method(manifest.adapter, action.name) and not manifest.keeps_apart(action.name)
            )
            self._built[manifest.digest, alone] = built
            if len(self._built) > _CACHE_MAX:
                self._built.popitem(last=False)
        return built
