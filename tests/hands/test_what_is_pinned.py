"""What of a hand's declaration a yes is about. A setting that is new is decided on here, or the build fails."""

from typing import Any, Final

import pytest

from gateway.cli import hands_show
from gateway.cli.output import Output
from gateway.errors import Refused
from gateway.manifest import Manifest
from gateway.settings import HandSettings
from hand_adapters import annotate
from hand_adapters.kinds import kind_of
from tests.hands.testing_only_plain_jail import PlainJail

SCHEMA: Final = {"type": "object", "properties": {}}
HTTP: Final = {
    "adapter": "http",
    "base_url": "https://a.example",
    "actions": {"get": {"method": "GET", "path": "/", "args_schema": SCHEMA}},
}
SQL: Final = {
    "adapter": "sql",
    "database": {"dialect": "postgresql", "host": "a.example", "name": "crm", "user": "u"},
    "actions": {"query": {}},
}
MAIL: Final = {
    "adapter": "mail",
    "mail": {"host": "a.example", "senders": ["a@a.example"], "recipients": ["b@a.example"]},
    "actions": {"send": {}},
}
MODEL: Final = {"adapter": "anthropic", "base_url": "https://a.example"}
REMOTE: Final = {"adapter": "remote", "actions": {"get": {"args_schema": SCHEMA}}}
PROGRAM: Final = {"adapter": "process", "actions": {"now": {"argv": ["date"], "args_schema": SCHEMA}}}
SERVER: Final = {"adapter": "mcp", "command": ["tool"]}
THEIRS: Final = {"adapter": "shelf", "options": {"directory": "/srv/a", "depth": 2}}

Change = tuple[dict[str, Any], dict[str, Any]]

PINNED: Final[dict[str, Change]] = {
    "region": (HTTP, {"region": "eu"}),
    "trust": (HTTP, {"trust": "trusted"}),
    "labels": (HTTP, {"labels": ["one"]}),
    "actions": (HTTP, {"actions": {"get": {**HTTP["actions"]["get"], "side_effects": "none"}}}),
    "base_url": (HTTP, {"base_url": "https://b.example"}),
    "slo": (HTTP, {"slo": {"availability": 0.9}}),
    "secrets": (HTTP, {"secrets": {"t": {"place": "bearer"}}}),
    "database": (SQL, {"database": {**SQL["database"], "writes": ["delete"]}}),
    "mail": (MAIL, {"mail": {**MAIL["mail"], "recipients": ["c@a.example"]}}),
    "model": (MODEL, {"model": {"url_sources": True}}),
    "claim_seconds": (REMOTE, {"claim_seconds": 5}),
    "command": (SERVER, {"command": ["tool", "--root", "/"]}),
    "url": ({"adapter": "mcp", "url": "https://a.example/mcp"}, {"url": "https://b.example/mcp"}),
    "binds": (PROGRAM, {"binds": [{"source": "/etc"}]}),
    "env": (PROGRAM, {"env": {"MODE": "all"}}),
    "jail_profile": (PROGRAM, {"jail_profile": "strict"}),
    "egress": (PROGRAM, {"egress": [{"host": "a.example", "paths": ["/**"]}]}),
    "options": (THEIRS, {"options": {"directory": "/srv", "depth": 2}}),
}
"""Setting -> a declaration, and another one that nobody agreed to with it."""
WITH_WHAT_IT_OFFERS: Final = frozenset({"adapter", "python", "wasm", "openapi", "operations", "listing", "mcp"})
"""Seen in what the hand then offers, by tests of those adapters. Another adapter is another manifest."""
NOT_PINNED: Final = frozenset(
    {
        "enabled", "tenants",  # whether it is there, and whose pin is asked for
        "processing",  # for a register; nothing is decided by it
        "idle_seconds", "scratch_max_bytes", "queue_max", "egress_limits", "resilience",  # how much and how often
        "private_network",  # where the name that is pinned may lie
    }
)  # fmt: skip


def offered(declaration: dict[str, Any]) -> Manifest:
    """The part of a manifest that is the operator's, where the tool has the other."""
    return annotate.manifest("h", HandSettings.model_validate(declaration), ())


async def whole(declaration: dict[str, Any]) -> Manifest:
    settings = HandSettings.model_validate(declaration)
    if settings.adapter in {"mcp", "shelf"}:
        return offered(declaration)
    return await kind_of(settings)("h", settings, PlainJail()).manifest()


def test_every_setting_of_a_hand_is_pinned_or_said_not_to_be():
    assert set(HandSettings.model_fields) == {*PINNED, *WITH_WHAT_IT_OFFERS, *NOT_PINNED}
    assert not set(PINNED) & (WITH_WHAT_IT_OFFERS | NOT_PINNED)


@pytest.mark.parametrize("setting", sorted(PINNED))
async def test_a_yes_to_one_declaration_is_none_to_another(setting):
    base, change = PINNED[setting]
    assert (await whole(base)).digest == (await whole(dict(base))).digest, "the control"
    changed = await whole({**base, **change})
    assert changed.digest != (await whole(base)).digest
    assert Manifest.from_document(changed.document()).digest == changed.digest, "what is stored is what was pinned"


def shown(manifest: Manifest, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``handrail hands pin`` prints before a first yes."""
    document = manifest.document()
    hand = {name: document.get(name) for name in ("adapter", "region", "trust", "endpoint", "secrets", "egress")}
    hand["actions"] = [{"name": name, **action} for name, action in document["actions"].items()]
    hands_show.show(Output(), {**hand, "id": manifest.hand, "manifest": document}, whole=True)
    return capsys.readouterr().out


SECRET: Final = {"store": "gateway", "place": "bearer", "methods": ["GET"]}
SHOWN: Final = {
    **PINNED,
    "methods of a secret": (HTTP | {"secrets": {"t": SECRET}}, {"secrets": {"t": {**SECRET, "methods": ["POST"]}}}),
    "paths of a secret": (HTTP | {"secrets": {"t": SECRET}}, {"secrets": {"t": {**SECRET, "paths": ["/a"]}}}),
    "zero": ({**THEIRS, "options": {}}, {"options": {"depth": 0}}),
}


@pytest.mark.parametrize("setting", sorted(SHOWN))
async def test_what_is_pinned_is_shown_before_the_first_yes(setting, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    base, change = SHOWN[setting]
    before, after = shown(await whole(base), capsys), shown(await whole({**base, **change}), capsys)
    assert before != after


BOUND: Final = {**PROGRAM, "binds": [{"source": "/srv/a", "target": "/data"}, {"source": "/srv/b", "target": "/b"}]}


@pytest.mark.parametrize(
    "binds",
    [
        [{"source": "/srv/a", "target": "/data", "writable": True}, {"source": "/srv/b", "target": "/b"}],
        [{"source": "/etc", "target": "/data"}, {"source": "/srv/b", "target": "/b"}],
        [{"source": "/srv/a", "target": "/usr/local"}, {"source": "/srv/b", "target": "/b"}],
        [{"source": "/srv/a", "target": "/data"}],
        [*BOUND["binds"], {"source": "/srv/c"}],
    ],
    ids=["written", "another source", "another place", "fewer", "more"],
)
def test_what_a_jail_is_shown_is_part_of_the_pin(binds):
    assert offered({**BOUND, "binds": binds}).digest != offered(BOUND).digest


def test_the_order_of_binds_and_what_is_said_by_default_change_nothing():
    assert offered({**BOUND, "binds": BOUND["binds"][::-1]}).digest == offered(BOUND).digest
    assert offered({**PROGRAM, "jail_profile": "default", "binds": [], "env": {}}).jail is None
    same_place = {"source": "/srv/a", "target": "/srv/a", "writable": False}
    short = offered({**PROGRAM, "binds": [{"source": "/srv/a"}]})
    assert short.digest == offered({**PROGRAM, "binds": [same_place]}).digest


@pytest.mark.parametrize(
    "options",
    [{"api_key": "x"}, {"server": {"accounts": [{"password": "x"}]}}, {"note": "ghp_0123456789abcdef"}],
    ids=["by its name", "within", "by its form"],
)
def test_what_is_pinned_is_shown_so_no_option_is_a_secret(options):
    with pytest.raises(ValueError, match="looks like a secret"):
        HandSettings.model_validate({**THEIRS, "options": options})


def test_options_that_have_no_one_form_are_refused():
    with pytest.raises(Refused):
        offered({**THEIRS, "options": {"many": 2**60}})
