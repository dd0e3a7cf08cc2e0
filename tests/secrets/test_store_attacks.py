"""Stores under attack: by whoever can write to what they lie on, answer in their place, or be careless with them."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from starlette.responses import JSONResponse, RedirectResponse, Response

from gateway.errors import HandrailError, Refused, Unavailable
from gateway.keyring import services as key_services
from gateway.model import Principal, Role
from gateway.reasons import Conflict, Reason
from gateway.secrets.aws import AwsSecrets
from gateway.secrets.environment import EnvironmentSecrets
from gateway.secrets.sealed import LABEL, SealedSecrets
from gateway.secrets.threads import THREADS
from gateway.settings import SecretSettings, SecretStoreSettings
from keys.stores.master import MasterKey
from keys.stores.root import open_root, rewrap
from keys.stores.wrapping import Wrappers
from tests.canaries import Canaries, found_in, rows_of
from tests.dripping import dripping
from tests.patience import SECONDS
from tests.secrets import backends
from tests.secrets.backends import TOKEN, Backend

ADMIN = Principal("root", "default", "p-root", frozenset({Role.SECURITY_ADMIN}))
OTHER = Principal("root", "acme", "p-acme", frozenset({Role.SECURITY_ADMIN}))


async def reason(backend: Backend, name: str = "token", tenant: str = "default") -> Reason:
    with pytest.raises((Refused, Unavailable)) as caught:
        await backend.store.read(tenant, name)
    return caught.value.reason


# --- sealed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def rows(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    more = {} if request.param == "sqlite" else {"url": str(request.getfixturevalue("postgres_url"))}
    async with backends.sealed(tmp_path, **more) as backend:
        yield backend


def sealed(backend: Backend) -> tuple[SealedSecrets, Engine]:
    assert isinstance(backend.store, SealedSecrets)
    return backend.store, backend.more.log._engine


def change(engine: Engine, statement: str, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)


def row(engine: Engine, name: str) -> dict[str, object]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT * FROM secrets WHERE name = :name"), {"name": name})
        return dict(found.mappings().one())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE secrets SET name = 'mine' WHERE name = 'token'",
        "UPDATE secrets SET tenant = 'acme' WHERE name = 'token'",
        "UPDATE secrets SET version = 2 WHERE name = 'token'",
        "UPDATE secrets SET set_by = 'p-somebody' WHERE name = 'token'",
        "UPDATE secrets SET set_at = 1 WHERE name = 'token'",
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'other') WHERE name = 'token'",
        "UPDATE secrets SET sealed = 'AAAA' WHERE name = 'token'",
        "UPDATE secrets SET sealed = '' WHERE name = 'token'",
    ],
)
async def test_a_row_that_was_moved_relabelled_or_exchanged_gives_nothing(rows: Backend, statement: str) -> None:
    store, engine = sealed(rows)
    await store.set(ADMIN, "token", "the-first-value")
    await store.set(ADMIN, "other", "the-other-value")
    change(engine, statement)
    assert await reason(rows) in {Reason.SECRET_UNAVAILABLE, Reason.SECRET_MISSING}
    for tenant, name in (("default", "mine"), ("acme", "token")):
        assert await reason(rows, name, tenant) in {Reason.SECRET_UNAVAILABLE, Reason.SECRET_MISSING}


async def test_an_older_row_that_is_put_back_whole_gives_nothing(rows: Backend) -> None:
    store, engine = sealed(rows)
    await store.set(ADMIN, "token", "the-first-value")
    before = row(engine, "token")
    await store.rotate(ADMIN, "token", "the-second-value")
    change(engine, "UPDATE secrets SET version=:version, sealed=:sealed, set_by=:set_by, set_at=:set_at", **before)
    assert await reason(rows) is Reason.SECRET_UNAVAILABLE
    with pytest.raises(Unavailable):
        await store.known(ADMIN)
    await store.rotate(ADMIN, "token", "the-third-value")
    assert (await store.read("default", "token")).version == "3"


async def test_a_removed_secret_does_not_come_back(rows: Backend) -> None:
    store, engine = sealed(rows)
    await store.set(ADMIN, "token", "the-first-value")
    before = row(engine, "token")
    await store.remove(ADMIN, "token")
    assert await store.known(ADMIN) == []
    change(engine, "UPDATE secrets SET sealed=:sealed, set_by=:set_by, set_at=:set_at", **{
        name: before[name] for name in ("sealed", "set_by", "set_at")
    })  # fmt: skip
    assert await reason(rows) is Reason.SECRET_UNAVAILABLE
    assert (await store.set(ADMIN, "token", "the-second-value")).version == 2


async def test_a_row_that_is_gone_is_set_anew_and_goes_on_counting(rows: Backend) -> None:
    """As after a restore from a backup, which holds none."""
    store, engine = sealed(rows)
    await store.set(ADMIN, "token", "the-first-value")
    change(engine, "DELETE FROM secrets")
    assert await reason(rows) is Reason.SECRET_MISSING
    assert await store.known(ADMIN) == []
    with pytest.raises(Refused):
        await store.rotate(ADMIN, "token", "the-second-value")
    assert (await store.set(ADMIN, "token", "the-second-value")).version == 2
    assert (await store.read("default", "token")).value == "the-second-value"


async def test_whoever_reads_the_database_reads_no_value_and_no_former_one(rows: Backend, canaries: Canaries) -> None:
    store, engine = sealed(rows)
    await store.set(ADMIN, "token", canaries.plant("awkward"))
    await store.rotate(ADMIN, "token", canaries.plant())
    canaries.must_not_be_in("the database", rows_of(engine))


async def test_another_root_opens_nothing(rows: Backend) -> None:
    store, engine = sealed(rows)
    await store.set(ADMIN, "token", "the-first-value")
    foreign = SealedSecrets(engine, rows.more.log, bytes(32))
    with pytest.raises(Unavailable):
        await foreign.read("default", "token")


async def test_a_new_master_key_leaves_every_secret_readable(rows: Backend) -> None:
    store, engine = sealed(rows)
    await store.set(ADMIN, "token", "the-first-value")
    settings = rows.more.settings
    old, new = key_services.wrappers(settings).current, MasterKey(b"\x07" * 32)
    assert rewrap(settings.root_file, Wrappers(new, old)) is not None
    with pytest.raises(HandrailError):
        open_root(settings.root_file, Wrappers(old))
    root = open_root(settings.root_file, Wrappers(new))
    again = SealedSecrets(engine, rows.more.log, root.derive(LABEL))
    assert (await again.read("default", "token")).value == "the-first-value"


async def test_of_many_who_set_a_name_at_once_one_does(rows: Backend) -> None:
    store, _ = sealed(rows)
    tries = [store.set(ADMIN, "token", f"the-value-of-{number}") for number in range(8)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(one).__name__ for one in done].count("Known") == 1
    refused = {one.facts["problem"] for one in done if isinstance(one, Refused)}
    assert refused == {Conflict.SECRET_EXISTS}


async def test_of_many_who_rotate_at_once_each_has_a_version_of_its_own(rows: Backend) -> None:
    store, _ = sealed(rows)
    await store.set(ADMIN, "token", "the-first-value")
    tries = [store.rotate(ADMIN, "token", f"the-value-of-{number}") for number in range(4)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    versions = [one.version for one in done if not isinstance(one, BaseException)]
    busy = {one.facts["problem"] for one in done if isinstance(one, Refused)}
    assert sorted(versions) == list(range(2, 2 + len(versions)))
    assert versions
    assert busy <= {Conflict.SECRET_CHANGED}
    assert (await store.read("default", "token")).version == str(max(versions))


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.SECURITY_ADMIN}))
async def test_nobody_else_sees_or_changes_secrets(tmp_path: Path, role: Role) -> None:
    actor = Principal("somebody", "default", "p-some", frozenset({role}))
    async with backends.sealed(tmp_path) as backend:
        store, _ = sealed(backend)
        for asked in (
            store.known(actor),
            store.set(actor, "token", "the-first-value"),
            store.rotate(actor, "token", "the-first-value"),
            store.remove(actor, "token"),
        ):
            with pytest.raises(Refused) as caught:
                await asked
            assert caught.value.reason is Reason.AUTH_FORBIDDEN


async def test_a_tenant_s_admin_sees_the_tenant_s_alone(rows: Backend) -> None:
    store, _ = sealed(rows)
    await store.set(ADMIN, "token", "the-first-value")
    assert await store.known(OTHER) == []
    for asked in (store.rotate(OTHER, "token", "the-value-of-acme"), store.remove(OTHER, "token")):
        with pytest.raises(Refused) as caught:
            await asked
        assert caught.value.reason is Reason.REQUEST_NOT_FOUND


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def mount(tmp_path: Path) -> AsyncIterator[Backend]:
    async with backends.files(tmp_path) as backend:
        await backend.put("default", "token", "the-first-value")
        (tmp_path / "outside").write_text("a-file-of-somebody-else")
        (tmp_path / "outside").chmod(0o400)
        yield backend


@pytest.mark.parametrize("link", ["../outside", "..data/../../outside", "ABSOLUTE", "evil", "..data"])
async def test_a_link_that_leads_out_of_the_directory_is_followed_by_nobody(mount: Backend, link: str) -> None:
    directory: Path = mount.more
    (directory / "evil").symlink_to(link.replace("ABSOLUTE", str(directory.parent / "outside")))
    assert await reason(mount, "evil") in {Reason.SECRET_MISSING, Reason.SECRET_UNAVAILABLE}


async def test_a_directory_that_is_swapped_for_a_link_is_not_followed_either(mount: Backend) -> None:
    directory: Path = mount.more
    (directory.parent / "token").write_text("a-file-of-somebody-else")
    (directory / "..data").unlink()
    (directory / "..data").symlink_to("..")
    assert await reason(mount) is Reason.SECRET_MISSING


@pytest.mark.parametrize("mode", [0o444, 0o404, 0o460, 0o602, 0o777])
async def test_a_file_that_others_can_read_or_change_is_no_secret(mount: Backend, mode: int) -> None:
    (mount.more / "..data" / "token").chmod(mode)
    assert await reason(mount) is Reason.SECRET_MISSING


async def test_neither_a_pipe_nor_a_directory_is_waited_for(mount: Backend) -> None:
    os.mkfifo(mount.more / "pipe", 0o400)
    (mount.more / "inner").mkdir(mode=0o700)
    assert await reason(mount, "pipe") is Reason.SECRET_MISSING
    assert await reason(mount, "inner") is Reason.SECRET_MISSING


async def test_no_descriptor_is_left_open(mount: Backend) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        await mount.store.read("default", "token")
        await reason(mount, "nothing")
        await reason(mount, "..data")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# --- environment -----------------------------------------------------------------------------------------------------


async def test_a_variable_that_is_not_listed_is_not_read() -> None:
    store = EnvironmentSecrets({"token": "CRM_TOKEN"}, {"CRM_TOKEN": "the-first-value", "PATH": "/usr/bin:/bin"})
    for name in ("PATH", "path", "CRM_TOKEN"):
        with pytest.raises(Refused):
            await store.read("default", name)


@pytest.mark.parametrize("variables", [{}, {"token": "HANDRAIL_MASTER_KEY"}, {"token": "a-b"}, {"A": "X"}])
def test_the_gateway_s_own_variables_are_no_secrets_of_hands(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="variables"):
        SecretStoreSettings(kind="environment", variables=variables)


def test_the_sealed_store_has_no_second_of_its_name() -> None:
    with pytest.raises(ValueError, match="always there"):
        SecretSettings(stores={"sealed": {"kind": "files", "directory": "/x"}})


# --- vault -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Backend]:
    async with backends.vault(tmp_path) as backend:
        await backend.put("default", "token", "the-first-value")
        yield backend


GOOD = {"data": {"data": {"value": "the-first-value"}, "metadata": {"version": 1}}}
WRONG = {
    "not JSON": b"<html>",
    "twice": b'{"data": {}, "data": {}}',
    "a list": [],
    "version 1": {"data": {"value": "the-first-value"}},
    "no metadata": {"data": {"data": {"value": "the-first-value"}}},
    "version as text": {"data": {"data": {"value": "the-first-value"}, "metadata": {"version": "1"}}},
    "version as truth": {"data": {"data": {"value": "the-first-value"}, "metadata": {"version": True}}},
    "destroyed": {"data": {"data": {"value": "the-first-value"}, "metadata": {"version": 1, "destroyed": True}}},
    "a number": {"data": {"data": {"value": 12345678}, "metadata": {"version": 1}}},
    "another field": {"data": {"data": {"other": "the-first-value"}, "metadata": {"version": 1}}},
    "huge": b'{"data": "' + b"x" * 70_000 + b'"}',
}


@pytest.mark.parametrize("what", WRONG)
async def test_an_answer_that_is_no_secret_gives_none(vault: Backend, what: str) -> None:
    content = WRONG[what]
    fake, _ = vault.more
    fake.answer = lambda _: Response(content) if isinstance(content, bytes) else JSONResponse(content)
    assert await reason(vault) in {Reason.SECRET_UNAVAILABLE, Reason.SECRET_MISSING}
    fake.answer = lambda _: JSONResponse(GOOD)
    assert (await vault.store.read("default", "token")).value == "the-first-value", "or nothing above was refused"


async def test_a_redirect_takes_the_token_nowhere(vault: Backend) -> None:
    fake, _ = vault.more
    fake.answer = lambda _: RedirectResponse("/v1/kv/data/handrail/default/other", 307)
    assert await reason(vault) is Reason.SECRET_UNAVAILABLE
    assert len(fake.asked) == 1


async def test_a_token_that_is_taken_back_stops_and_one_that_is_renewed_goes_on(vault: Backend) -> None:
    fake, token = vault.more
    token.write_text("hvs.revoked\n")
    assert await reason(vault) is Reason.SECRET_UNAVAILABLE
    token.unlink()
    assert await reason(vault) is Reason.SECRET_UNAVAILABLE
    token.write_text(TOKEN)
    assert (await vault.store.read("default", "token")).value == "the-first-value"
    assert [found_in([TOKEN], str(one.url).encode()) for one in fake.asked] == [[], []]


async def test_an_aws_that_sends_a_byte_now_and_then_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read is in time, and the SDK bounds nothing else: the thread that reads would never be free again."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with dripping() as url:
        store = AwsSecrets.open(SecretStoreSettings(kind="aws", region="us-east-1", endpoint_url=url), 0.2)
        with pytest.raises(Unavailable) as refused:
            await store.read("default", "token")
        await store.close()
    assert refused.value.reason is Reason.SECRET_UNAVAILABLE
    assert "no whole answer in 0.2 s" in str(refused.value.detail)


async def test_a_mute_store_takes_no_thread_that_others_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow hand must not slow another: what looks through results, say, uses the threads that everybody shares."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    asked, answers = asyncio.Semaphore(0), asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.release()
        await answers.wait()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = AwsSecrets.open(SecretStoreSettings(kind="aws", region="us-east-1", endpoint_url=url), 60.0)
    reads = [asyncio.create_task(store.read("default", f"s{number}")) for number in range(THREADS + 2)]
    try:
        for _ in range(THREADS):
            await asked.acquire()
        async with asyncio.timeout(SECONDS):
            assert [await asyncio.to_thread(int, "1") for _ in range(20)] == [1] * 20
        assert not any(read.done() for read in reads)
    finally:
        answers.set()
        server.close()
        await asyncio.gather(*reads, return_exceptions=True)
        await store.close()
