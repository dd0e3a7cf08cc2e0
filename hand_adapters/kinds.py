"""Which kinds of hands there are: the built-in adapters, and those that other distributions bring."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from gateway.settings import SettingsError
from hand_adapters.contract import HandAdapter
from hand_adapters.http import HttpAdapter
from hand_adapters.mcp import McpAdapter
from hand_adapters.process import ProcessAdapter
from hand_adapters.python import PythonAdapter
from hand_adapters.remote import RemoteAdapter
from hand_adapters.sql import SqlAdapter
from hand_adapters.wasm import WasmAdapter

BUILT_IN: Final[Mapping[str, type[HandAdapter]]] = {
    "http": HttpAdapter,
    "mcp": McpAdapter,
    "process": ProcessAdapter,
    "python": PythonAdapter,
    "remote": RemoteAdapter,
    "sql": SqlAdapter,
    "wasm": WasmAdapter,
}
ENTRY_POINT_GROUP: Final = "handrail.adapters"


def adapter_class(name: str) -> type[HandAdapter]:
    """The adapter called ``name``: a built-in one, or the entry point of that name in ``handrail.adapters``.

    Raises:
        SettingsError: there is none, two distributions claim the name, or it does not load.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    points = entry_points(group=ENTRY_POINT_GROUP, name=name)
    if len(points) != 1:
        count = "no" if not points else "more than one"
        raise SettingsError(f"{count} adapter is called {name}; built in are {', '.join(sorted(BUILT_IN))}")
    try:
        loaded: type[HandAdapter] = next(iter(points)).load()
    except (ImportError, AttributeError) as exc:
        raise SettingsError(f"the adapter {name} does not load: {type(exc).__name__}") from None
    return loaded
