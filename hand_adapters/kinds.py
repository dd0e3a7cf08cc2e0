"""Which kinds of hands there are: the built-in adapters, and those that other distributions bring."""

from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Final

from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandAdapter

ENTRY_POINT_GROUP: Final = "handrail.adapters"
BUILT_IN: Final = EntryPoints(
    EntryPoint(name, value, ENTRY_POINT_GROUP)
    for name, value in {
        "anthropic": "hand_adapters.anthropic:AnthropicAdapter",
        "client": "hand_adapters.client:ClientAdapter",
        "http": "hand_adapters.http:HttpAdapter",
        "mail": "hand_adapters.mail:MailAdapter",
        "mcp": "hand_adapters.mcp:McpAdapter",
        "process": "hand_adapters.process:ProcessAdapter",
        "python": "hand_adapters.python:PythonAdapter",
        "remote": "hand_adapters.remote:RemoteAdapter",
        "sql": "hand_adapters.sql:SqlAdapter",
        "wasm": "hand_adapters.wasm:WasmAdapter",
        "webhook": "hand_adapters.webhook:WebhookAdapter",
    }.items()
)
"""Loaded by whoever declares such a hand: a parser of SQL alone takes 20 MB, which no other gateway needs."""
_BY_URL: Final = EntryPoint("mcp", "hand_adapters.mcp:McpHttpAdapter", ENTRY_POINT_GROUP)


def kind_of(settings: HandSettings) -> type[HandAdapter]:
    """The adapter of a declaration: an MCP server is a program or an address, and else its name says.

    Raises:
        SettingsError: as :func:`adapter_class`.
    """
    if settings.adapter == "mcp" and settings.url is not None:
        loaded: type[HandAdapter] = _BY_URL.load()
        return loaded
    return adapter_class(settings.adapter)


def adapter_class(name: str) -> type[HandAdapter]:
    """The adapter called ``name``: a built-in one, or the entry point of that name in ``handrail.adapters``.

    Raises:
        SettingsError: there is none, two distributions claim the name, or it does not load.
    """
    points = BUILT_IN.select(name=name) or entry_points(group=ENTRY_POINT_GROUP, name=name)
    if len(points) != 1:
        count = "no" if not points else "more than one"
        raise SettingsError(f"{count} adapter is called {name}; built in are {', '.join(sorted(BUILT_IN.names))}")
    try:
        loaded: type[HandAdapter] = next(iter(points)).load()
    except (ImportError, AttributeError) as exc:
        raise SettingsError(f"the adapter {name} does not load: {type(exc).__name__}") from None
    return loaded
