"""A change of keys comes on record, however long the log is away, and upkeep goes on whatever fails in it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from audit.errors import LogUnavailable
from audit.query import Filter
from gateway import service as service_module
from gateway.app import build
from gateway.entries import EntryType
from gateway.errors import Unavailable
from gateway.keyring import changes as key_changes
from gateway.keyring.changes import KeyChanges
from gateway.model import Role
from gateway.ports import Append, Purpose
from gateway.service import Gateway
from gateway.settings import Settings
from keys.rotation import KeyRecord
from tests.web.fake import testing_only_Gateway, testing_only_Keyset, testing_only_Log, token


async def test_a_change_that_the_log_misses_stands_is_told_and_is_recorded_later(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = token(Role.SECURITY_ADMIN)

    def rotate(purpose: Purpose) -> Sequence[KeyRecord]:
        gateway.log.broken = LogUnavailable("disk full")  # it looked well until the keys were changed
        return gateway.keyset.list()

    monkeypatch.setattr(gateway.keyset, "rotate", rotate)
    answer = await client.post("/v1/keys/step/rotate", headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["changed"]) == (503, "log.unavailable", 1)
    assert "disk full" not in answer.text
    assert gateway.log.appended == []
    again = await client.post("/v1/keys/k/revoke", headers=headers)
    assert again.status_code == 503
    assert "changed" not in again.json(), "nothing more changes while a change waits"
    assert gateway.keyset.changed == []
    gateway.log.broken = None
    await gateway.key_changes.settle()
    assert [entry.principal for entry in gateway.log.appended] == ["pseudonym-of-security_admin"]
    assert gateway.log.appended[0].facts["kid"] == "k"
    await gateway.key_changes.settle()
    assert len(gateway.log.appended) == 1, "once"


async def test_what_waits_is_recorded_before_what_comes_next(
    client: httpx2.AsyncClient, gateway: testing_only_Gateway
) -> None:
    gateway.key_changes.note(gateway.keyset.list(), "system", "system")
    assert (await client.post("/v1/keys/k/revoke", headers=token(Role.SECURITY_ADMIN))).status_code == 200
    principals = [entry.principal for entry in gateway.log.appended]
    assert principals == ["system", "pseudonym-of-security_admin"]


async def test_a_caller_that_leaves_in_mid_change_leaves_it_on_record() -> None:
    log, keyset = testing_only_Log(), testing_only_Keyset()
    changes = KeyChanges(log)  # type: ignore[arg-type]
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def slow(_: str) -> Sequence[KeyRecord]:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)
        return keyset.list()

    call = asyncio.create_task(changes.make(slow, "k", "default", "p"))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()
    await changes.close()
    assert [entry.principal for entry in log.appended] == ["p"]


async def test_the_gateways_own_changes_stop_before_more_wait_than_may(
    gateway_at_rest: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[float] = []
    monkeypatch.setattr(key_changes, "WAITING_MAX", 3)
    monkeypatch.setattr(gateway_at_rest.keyset, "tick", lambda: ticks.append(0) or gateway_at_rest.keyset.list()[:1])
    monkeypatch.setattr(gateway_at_rest.log, "append", _refusing)
    for _ in range(6):
        await gateway_at_rest._follow_keys()
    assert (len(ticks), gateway_at_rest.key_changes.waiting) == (3, 3)


async def _refusing(item: Append) -> Sequence[int]:
    raise LogUnavailable("away")


@pytest.fixture
async def gateway_at_rest(tmp_path: Path) -> Any:
    """A real gateway with an open log, whose upkeep runs only when asked."""
    gateway = build(Settings(home=tmp_path, server={"port": 0}))
    await gateway.prepare()
    yield gateway
    await gateway.close()


async def test_upkeep_brings_a_missed_change_into_the_real_log(
    gateway_at_rest: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = gateway_at_rest
    kid = next(record.kid for record in gateway.keyset.list() if record.purpose is Purpose.RECEIPT)

    def revoked() -> list[Any]:
        page = gateway.reader.query(Filter(type=EntryType.KEY_REVOKED))
        return list(page.entries)

    with monkeypatch.context() as away:

        def revoke(wanted: str) -> Sequence[KeyRecord]:
            away.setattr(gateway.log, "append", _refusing)
            return gateway.keyset.revoke(wanted)

        with pytest.raises(Unavailable):
            await gateway.key_changes.make(revoke, kid, "default", "p")
        await gateway._upkeep()
        assert revoked() == []
        assert next(record for record in gateway.keyset.list() if record.kid == kid).revoked_at is not None
    await gateway._upkeep()
    assert len(revoked()) == 1
    assert kid.encode() in revoked()[0].body


@pytest.mark.parametrize("error", [LogUnavailable("away"), RuntimeError("unforeseen")])
@pytest.mark.parametrize("failing", range(5))
async def test_a_part_of_upkeep_that_fails_keeps_no_other_from_its_turn(
    gateway_at_rest: Gateway, monkeypatch: pytest.MonkeyPatch, failing: int, error: Exception
) -> None:
    gateway, ran = gateway_at_rest, []

    def part(number: int) -> Callable[..., Awaitable[Any]]:
        async def run(*_: Any) -> None:
            ran.append(number)
            if number == failing:
                raise error

        return run

    def tick() -> Sequence[KeyRecord]:
        ran.append(2)
        if failing == 2:
            raise error
        return ()

    gateway.pipeline.stalled.add("ab")
    monkeypatch.setattr(type(gateway.approval_upkeep), "expire", part(0))
    monkeypatch.setattr(service_module, "recover", part(1))
    monkeypatch.setattr(gateway.keyset, "tick", tick)
    monkeypatch.setattr(gateway.key_changes, "settle", part(3))
    monkeypatch.setattr(gateway.log, "append", part(4))
    gateway.clock = lambda: 60.0
    await gateway._follow_keys()
    await gateway._upkeep()
    assert ran == [2, 0, 1, 3, 4]
