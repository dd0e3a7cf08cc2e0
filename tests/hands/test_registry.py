"""Only what was pinned is served; what changed, is missing or was never agreed to looks as if it were not there."""

import asyncio
import subprocess
import sys

import pytest
import sqlalchemy

from gateway.canonical import sha256_canonical
from gateway.entries import EntryType
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.manifest import ActionManifest, Manifest
from gateway.model import Principal, Role
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from gateway.store.tables import hand_pins, metadata
from hand_adapters.contract import HandError
from hand_adapters.diff import differences
from hand_adapters.http import HttpAdapter
from hand_adapters.kinds import BUILT_IN, adapter_class
from hand_adapters.pins import Pin, SqlPins
from hand_adapters.registry import Registry
from tests.hands.hands_support import call, hostile


class MemoryLog:
    """The log's port over one engine: rows and entries in one transaction, or neither."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.engine = engine
        self.entries = []
        self.down = False

    def newest_pin(self, _connection, tenant, hand):
        pinned = (e for e in reversed(self.entries) if e.type is EntryType.HAND_REGISTERED)
        return next((e.manifest_digest for e in pinned if (e.tenant, e.hand) == (tenant, hand)), None)

    async def append(self, item):
        if self.down:
            raise Unavailable(Reason.LOG_UNAVAILABLE)
        with self.engine.begin() as connection:
            for write in item.writes:
                connection.execute(write.statement, write.parameters)
        self.entries += item.entries
        return range(len(item.entries))


def agent(hands=None, tenant="default") -> Principal:
    return Principal("ana", tenant, "p-ana", frozenset({Role.AGENT}), hands)


ACME = Principal("olga", "acme", "pseudo-of-acme", frozenset({Role.OPERATOR}))
"""An operator of another tenant."""
MAC_KEY = bytes(range(32))


HTTP = HandSettings(
    adapter="http",
    base_url="http://127.0.0.1:1",
    private_network=True,
    actions={
        "get": {
            "method": "GET",
            "path": "/",
            "args_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "result_schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]},
        }
    },
)


@pytest.fixture
async def world(tmp_path, plain_jail):
    """``await world(settings, jail=...)`` -> a started registry over the one database of this test."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'h.db'}")
    metadata.create_all(engine)
    log = MemoryLog(engine)
    opened = []

    async def make(settings, jail=plain_jail, **more):
        pins = SqlPins(engine, log, MAC_KEY, log.newest_pin, clock=lambda: 5.0)
        registry = Registry(settings, jail, pins, retry_seconds=(3600,), **more)
        opened.append(registry)
        await registry.start()
        await registry.settled()
        return registry

    make.log, make.engine = log, engine
    yield make
    for registry in opened:
        await registry.close()
    engine.dispose()


async def test_an_unpinned_hand_is_not_there(world):
    registry = await world({"api": HTTP})
    assert registry.states() == {"api": "unpinned"}
    assert registry.manifest("default", "api") is None
    assert registry.listed(agent()) == []
    assert registry.check_args("default", "api", "get", {}) == ({"pointer": "", "keyword": "absent"},)
    with pytest.raises(HandError) as caught:
        await registry.run(call("api", "get", {}, "0"))
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)


async def test_a_pin_is_an_entry_and_survives_a_restart(world, operator):
    registry = await world({"api": HTTP})
    offered = await registry.offer("api")
    await registry.pin("api", offered.digest, operator)
    assert registry.manifest("default", "api") == offered
    [entry] = world.log.entries
    assert (entry.type, entry.principal, entry.manifest_digest) == (
        EntryType.HAND_REGISTERED,
        "pseudo-olga",
        offered.digest,
    )
    again = await world({"api": HTTP})
    assert again.states() == {"api": "pinned"}
    assert again.manifest("default", "api").digest == offered.digest


async def test_what_was_not_offered_cannot_be_pinned(world, operator):
    registry = await world({"api": HTTP})
    with pytest.raises(Refused) as caught:
        await registry.pin("api", "0" * 64, operator)
    assert caught.value.reason is Reason.REQUEST_CONFLICT
    assert world.log.entries == []
    with pytest.raises(Refused) as caught:
        await registry.pin("nobody", "0" * 64, operator)
    assert caught.value.reason is Reason.REQUEST_NOT_FOUND


async def test_without_the_log_nothing_is_pinned(world, operator):
    registry = await world({"api": HTTP})
    world.log.down = True
    with pytest.raises(Unavailable):
        await registry.pin("api", (await registry.offer("api")).digest, operator)
    assert registry.manifest("default", "api") is None


async def test_a_changed_declaration_drifts_until_somebody_pins_it_again(world, operator):
    first = await world({"api": HTTP})
    pinned = await first.offer("api")
    await first.pin("api", pinned.digest, operator)
    changed = HTTP.model_copy(update={"region": "elsewhere"})
    registry = await world({"api": changed})
    assert registry.states() == {"api": "drifted"}
    assert registry.manifest("default", "api") is None
    assert registry.describe_one("default", "api")["diff"] == [
        {"path": "/region", "pinned": None, "offered": "elsewhere"}
    ]
    drift = [entry for entry in world.log.entries if entry.type is EntryType.HAND_DRIFTED]
    assert [(entry.manifest_digest, entry.hand) for entry in drift] == [(pinned.digest, "api")]
    with pytest.raises(HandError) as caught:
        await registry.run(call("api", "get", {}, pinned.digest))
    assert caught.value.reason is Reason.HAND_DRIFTED
    offered = await registry.offer("api")
    await registry.pin("api", offered.digest, operator)
    assert registry.states() == {"api": "pinned"}
    assert sum(entry.type is EntryType.HAND_DRIFTED for entry in world.log.entries) == 1


async def test_a_pin_edited_in_the_database_pins_nothing(world, operator):
    registry = await world({"api": HTTP})
    offered = await registry.offer("api")
    await registry.pin("api", offered.digest, operator)
    with world.engine.begin() as connection:
        document = connection.execute(sqlalchemy.select(hand_pins.c.manifest)).scalar_one()
        assert '"side_effects":"external"' in document
        looser = document.replace('"side_effects":"external"', '"side_effects":"none"')
        connection.execute(hand_pins.update().values(manifest=looser))
    again = await world({"api": HTTP})
    assert again.manifest("default", "api") is None
    assert "damaged" in again.describe("default")[0]["problem"]
    assert again.describe("default")[0]["pinned_digest"] is None, "else nobody would pin it again"
    await again.pin("api", offered.digest, operator)
    assert again.manifest("default", "api") is not None


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'p.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    engine = sqlalchemy.create_engine(url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


async def test_a_second_pin_takes_the_place_of_the_first_on_every_database(database, operator):
    log = MemoryLog(database)
    pins = SqlPins(database, log, MAC_KEY, log.newest_pin, clock=lambda: 5.0)
    assert await pins.load() == {}
    for description in ("one", "two"):
        manifest = Manifest("h", "http", {"a": ActionManifest("a", description, {"type": "object"})})
        await pins.pin(manifest, operator)
    assert dict(await pins.load()) == {("default", "h"): Pin(manifest.digest, manifest)}
    await pins.pin(manifest, ACME)
    assert set(await pins.load()) == {("default", "h"), ("acme", "h")}
    with database.connect() as connection:
        pinned = connection.execute(sqlalchemy.select(hand_pins.c.tenant, hand_pins.c.pinned_by)).all()
    assert sorted(pinned) == [("acme", "pseudo-of-acme"), ("default", "pseudo-olga")]


async def test_one_tenants_yes_is_nobody_elses(world, operator):
    registry = await world({"api": HTTP.model_copy(update={"tenants": ("default", "acme")})})
    offered = await registry.offer("api")
    await registry.pin("api", offered.digest, operator)
    assert registry.manifest("acme", "api") is None
    assert registry.listed(agent(tenant="acme")) == []
    assert registry.check_args("acme", "api", "get", {}) == ({"pointer": "", "keyword": "absent"},)
    assert registry.check_result("acme", "api", "get", {"ok": True}) == ({"pointer": "", "keyword": "absent"},)
    assert [hand["state"] for hand in registry.describe("acme")] == ["unpinned"]
    assert registry.describe_one("acme", "api")["pinned_digest"] is None
    with pytest.raises(HandError) as caught:
        await registry.run(call("api", "get", {}, offered.digest, tenant="acme"))
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED)

    await registry.pin("api", offered.digest, ACME)
    assert registry.manifest("acme", "api") == registry.manifest("default", "api") == offered
    assert [(entry.tenant, entry.principal) for entry in world.log.entries] == [
        ("default", "pseudo-olga"),
        ("acme", "pseudo-of-acme"),
    ]
    again = await world({"api": HTTP.model_copy(update={"tenants": ("default", "acme")})})
    assert [manifest.hand for manifest in again.listed(agent(tenant="acme"))] == ["api"]


async def test_a_hand_that_is_not_declared_for_a_tenant_is_not_there_for_it(world, operator):
    registry = await world({"api": HTTP})
    offered = await registry.offer("api")
    await registry.pin("api", offered.digest, operator)
    assert registry.describe("acme") == []
    for attempt in (registry.pin("api", offered.digest, ACME), asyncio.to_thread(registry.describe_one, "acme", "api")):
        with pytest.raises(Refused) as caught:
            await attempt
        assert caught.value.reason is Reason.REQUEST_NOT_FOUND
    assert len(world.log.entries) == 1


async def test_a_pin_does_not_outlive_the_declaration_for_its_tenant(world, operator):
    shared = HTTP.model_copy(update={"tenants": ("default", "acme")})
    registry = await world({"api": shared})
    offered = await registry.offer("api")
    for somebody in (operator, ACME):
        await registry.pin("api", offered.digest, somebody)
    again = await world({"api": HTTP})
    assert again.manifest("default", "api") == offered, "whom a hand is declared for is no part of what was agreed to"
    assert again.manifest("acme", "api") is None
    await again.offer("api")
    assert again.manifest("acme", "api") is None


async def test_a_tenant_that_agrees_to_a_change_agrees_for_itself_alone(world, operator):
    first = await world({"api": HTTP.model_copy(update={"tenants": ("default", "acme")})})
    for somebody in (operator, ACME):
        await first.pin("api", (await first.offer("api")).digest, somebody)
    changed = HTTP.model_copy(update={"tenants": ("default", "acme"), "region": "elsewhere"})
    registry = await world({"api": changed})
    drift = [entry.tenant for entry in world.log.entries if entry.type is EntryType.HAND_DRIFTED]
    assert sorted(drift) == ["acme", "default"]
    await registry.pin("api", (await registry.offer("api")).digest, ACME)
    assert registry.states() == {"api": "pinned"}
    assert [registry.describe(tenant)[0]["state"] for tenant in ("acme", "default")] == ["pinned", "drifted"]
    assert registry.describe_one("default", "api")["diff"]
    assert registry.manifest("default", "api") is None


async def test_a_principal_sees_only_hands_in_its_scope(world, operator):
    registry = await world({"a": HTTP, "b": HTTP})
    for hand in ("a", "b"):
        await registry.pin(hand, (await registry.offer(hand)).digest, operator)
    assert [manifest.hand for manifest in registry.listed(agent())] == ["a", "b"]
    assert [manifest.hand for manifest in registry.listed(agent(frozenset({"b"})))] == ["b"]
    assert registry.listed(agent(frozenset())) == []


async def test_args_and_results_are_held_against_the_pinned_schemas(world, operator):
    registry = await world({"api": HTTP})
    await registry.pin("api", (await registry.offer("api")).digest, operator)
    assert registry.check_args("default", "api", "get", {"n": 1}) == ()
    assert registry.check_args("default", "api", "get", {"n": "secret"}) == ({"pointer": "/n", "keyword": "type"},)
    assert registry.check_args("default", "api", "get", {"secret": 1}) == (
        {"pointer": "", "keyword": "additionalProperties"},
    )
    assert registry.check_args("default", "api", "nothing", {})
    assert registry.check_result("default", "api", "get", {"ok": True, "more": 1}) == ()
    assert registry.check_result("default", "api", "get", None) == ({"pointer": "", "keyword": "type"},)


async def test_no_jail_stops_the_hands_that_need_one_and_no_other(world, operator):
    from tests.hands.testing_only_plain_jail import PlainJail

    bare = PlainJail(missing=("bubblewrap is missing: install it.", "no user namespaces."))
    registry = await world({"api": HTTP, "tool": hostile("good")}, jail=bare)
    await registry.pin("api", (await registry.offer("api")).digest, operator)
    assert registry.states() == {"api": "pinned", "tool": "unavailable"}
    tool = next(hand for hand in registry.describe("default") if hand["id"] == "tool")
    assert tool["problem"] == "bubblewrap is missing: install it. no user namespaces."
    assert bare.started == []


async def test_a_hand_is_asking_until_it_was_asked_once(world, monkeypatch):
    answer = asyncio.Event()
    ready = HttpAdapter.manifest

    async def slow(self):
        await answer.wait()
        return await ready(self)

    registry = await world({"api": HTTP})
    monkeypatch.setattr(HttpAdapter, "manifest", slow)
    second = Registry({"api": HTTP}, None, registry._pins)
    await second.start()
    assert second.states() == {"api": "asking"}
    assert second.describe("default")[0]["problem"] == "Being asked what it offers."
    answer.set()
    await second.settled()
    assert second.states() == {"api": "unpinned"}
    await second.close()


@pytest.mark.parametrize("how", ["silent", "broken"])
async def test_an_adapter_that_never_says_or_falls_over_does_not_keep_the_gateway_from_being_ready(
    world, monkeypatch, how
):
    async def manifest(self):
        if how == "broken":
            raise ZeroDivisionError("a third party's mistake")
        await asyncio.Event().wait()

    monkeypatch.setattr(HttpAdapter, "manifest", manifest)
    registry = await world({"api": HTTP}, ask_seconds=0.01)
    assert registry.states() == {"api": "unavailable"}
    [shown] = registry.describe("default")
    assert shown["problem"].startswith("It did not say" if how == "silent" else "Its adapter failed")
    assert "mistake" not in shown["problem"]


async def test_a_disabled_hand_is_not_even_asked(world, plain_jail):
    registry = await world({"tool": hostile("good", enabled=False)})
    assert registry.states() == {"tool": "disabled"}
    assert plain_jail.started == []
    with pytest.raises(HandrailError):
        await registry.offer("tool")


async def test_a_hand_that_does_not_start_is_unavailable_and_says_why(world):
    registry = await world({"tool": hostile("broken"), "api": HTTP})
    assert registry.states() == {"api": "unpinned", "tool": "unavailable"}
    assert "No module named weather" in registry.describe("default")[1]["problem"]


async def test_a_tool_that_changes_in_mid_life_drifts_once_for_every_tenant_that_pinned_it(world, operator, tmp_path):
    tenants = ("default", "acme", "idle")
    registry = await world({"tool": hostile("changes", str(tmp_path / "changed"), tenants=tenants)})
    digest = (await registry.offer("tool")).digest
    for somebody in (operator, ACME):
        await registry.pin("tool", digest, somebody)
    await registry.run(call("tool", "echo", {"text": "x"}, digest, tenant="acme"))
    outcomes = [
        await asyncio.gather(
            registry.run(call("tool", "echo", {"text": "x"}, digest, tenant="acme")), return_exceptions=True
        )
        for _ in range(3)
    ]
    assert {outcome[0].reason for outcome in outcomes} == {Reason.HAND_DRIFTED}
    assert {outcome[0].failure for outcome in outcomes} == {HandFailure.NOT_EXECUTED}
    drift = [entry for entry in world.log.entries if entry.type is EntryType.HAND_DRIFTED]
    assert [(entry.tenant, entry.manifest_digest) for entry in drift] == [("default", digest), ("acme", digest)]
    assert registry.states() == {"tool": "drifted"}
    [change] = registry.describe_one("default", "tool")["diff"]
    assert change["path"] == "/actions/echo/description"


async def test_a_drift_that_could_not_be_recorded_still_refuses(world, operator, tmp_path):
    registry = await world({"tool": hostile("changes", str(tmp_path / "changed"))})
    digest = (await registry.offer("tool")).digest
    await registry.pin("tool", digest, operator)
    await registry.run(call("tool", "echo", {"text": "x"}, digest))
    world.log.down = True
    for _ in range(2):
        with pytest.raises(HandError) as caught:
            await registry.run(call("tool", "echo", {"text": "x"}, digest))
        assert caught.value.reason is Reason.HAND_DRIFTED
    assert registry.manifest("default", "tool") is None


async def test_a_call_decided_on_an_older_pin_is_refused(world, operator):
    registry = await world({"api": HTTP})
    await registry.pin("api", (await registry.offer("api")).digest, operator)
    with pytest.raises(HandError) as caught:
        await registry.run(call("api", "get", {}, "0" * 64))
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_DRIFTED, HandFailure.NOT_EXECUTED)


async def test_what_the_api_shows_of_a_hand(world):
    [shown] = (await world({"api": HTTP})).describe("default")
    assert set(shown) == {
        "id", "adapter", "state", "pinned_digest", "offered_digest", "region", "trust", "egress",
        "secrets", "load", "actions"
    }  # fmt: skip
    assert shown["load"] == {"circuit": "closed", "running": 0, "waiting": 0}
    assert shown["actions"][0]["args_schema"]["additionalProperties"] is False


async def test_whoever_pins_is_shown_what_the_digest_is_of(world, operator):
    registry = await world({"api": HTTP})
    shown = registry.describe_one("default", "api")
    assert sha256_canonical(shown["manifest"]) == shown["offered_digest"]
    gone = await world({"gone": HandSettings(adapter="mcp", command=("no-such-program-anywhere",))})
    assert "manifest" not in gone.describe_one("default", "gone")


async def test_a_bind_that_was_made_writable_runs_nothing_until_somebody_says_yes(world, operator, tmp_path):
    echo = hostile("good")
    read = HandSettings.model_validate({**echo.model_dump(), "binds": [{"source": tmp_path}]})
    first = await world({"tool": read})
    pinned = await first.offer("tool")
    await first.pin("tool", pinned.digest, operator)
    registry = await world({"tool": HandSettings.model_validate(
        {**echo.model_dump(), "binds": [{"source": tmp_path, "writable": True}]}
    )})  # fmt: skip
    assert registry.states() == {"tool": "drifted"}
    [change] = registry.describe_one("default", "tool")["diff"]
    place = str(tmp_path).replace("/", "~1")
    assert change == {"path": f"/jail/binds/{place}/writable", "pinned": False, "offered": True}
    with pytest.raises(HandError) as caught:
        await registry.run(call("tool", "echo", {"text": "x"}, pinned.digest))
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_DRIFTED, HandFailure.NOT_EXECUTED)


def test_an_adapter_nobody_installed_is_refused_at_start(plain_jail_free):
    with pytest.raises(SettingsError):
        Registry({"x": HandSettings(adapter="soap")}, plain_jail_free, None)


def test_a_third_partys_adapter_comes_by_entry_point(tmp_path, monkeypatch, plain_jail_free):
    package = tmp_path / "acme_hands-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-hands\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[handrail.adapters]\nacme = hand_adapters.http:HttpAdapter\nhttp = os:path\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry({"x": HTTP.model_copy(update={"adapter": "acme"})}, plain_jail_free, None)
    assert registry.describe("default")[0]["adapter"] == "acme"
    assert Registry({"x": HTTP}, plain_jail_free, None), "a built-in name cannot be taken over"


@pytest.fixture
def plain_jail_free():
    from tests.hands.testing_only_plain_jail import PlainJail

    return PlainJail()


def test_a_diff_tells_absence_from_null_and_true_from_one():
    assert differences({"a": None, "b": 1, "c": {"d/e": 1}}, {"b": True, "c": {"d/e": 2}, "f": None}) == [
        {"path": "/a", "pinned": None},
        {"path": "/b", "pinned": 1, "offered": True},
        {"path": "/c/d~1e", "pinned": 1, "offered": 2},
        {"path": "/f", "offered": None},
    ]
    assert len(differences({}, {str(number): number for number in range(1000)})) == 200


def test_every_built_in_adapter_loads_and_none_before_a_hand_is_declared() -> None:
    """A gateway without a database pays for no parser of SQL."""
    for point in BUILT_IN:
        assert adapter_class(point.name).__module__.startswith(f"hand_adapters.{point.name}")
    code = "import sys, gateway.app; print({'sqlglot', 'wasmtime', 'anthropic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
