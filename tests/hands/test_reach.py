"""Where a hand without a jail sends its calls, in the one spelling that decisions have for a host."""

from typing import Any

import pytest

from gateway.manifest import HOST
from gateway.settings import HandSettings
from hand_adapters.contract import Aimed
from hand_adapters.kinds import kind_of

_ACTION: dict[str, Any] = {"path": "/a", "args_schema": {"type": "object"}}


def _declared(adapter: str, host: str) -> dict[str, Any]:
    if adapter == "mail":
        mail = {"host": host, "senders": ["a@example.com"], "recipients": ["*@example.com"]}
        return {"mail": mail, "actions": {"send": {}}}
    if adapter == "mcp":
        return {"url": f"https://{host}/mcp"}
    if adapter == "webhook":
        return {"base_url": f"https://{host}/in", "actions": {"a": _ACTION}, "secrets": {"s": {"place": "signature"}}}
    if adapter == "anthropic":
        return {"base_url": f"https://{host}"}
    return {"base_url": f"https://{host}/v1", "actions": {"a": {**_ACTION, "method": "GET"}}}


@pytest.mark.parametrize("adapter", ["anthropic", "http", "mail", "mcp", "webhook"])
@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.com", "api.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_spelt_as_a_decision_spells_it(adapter: str, host: str, named: str) -> None:
    settings = HandSettings(adapter=adapter, **_declared(adapter, host))
    kind = kind_of(settings)
    kind.validate("h", settings)
    hand = kind("h", settings, None)  # type: ignore[arg-type]
    assert isinstance(hand, Aimed)
    assert tuple(hand.hosts) == (named,)
    assert HOST.fullmatch(named)


@pytest.mark.parametrize("adapter", ["http", "mcp"])
def test_an_international_host_is_one_in_either_spelling(adapter: str) -> None:
    settings = HandSettings(adapter=adapter, **_declared(adapter, "bücher.example"))
    hand = kind_of(settings)("h", settings, None)  # type: ignore[arg-type]
    assert isinstance(hand, Aimed)
    assert tuple(hand.hosts) == ("xn--bcher-kva.example",)
