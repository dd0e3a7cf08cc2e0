"""What every store of secrets must do, each against what it is: rows, variables, files, a server."""

import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import Refused, Unavailable
from gateway.reasons import Reason
from tests.secrets import backends
from tests.secrets.backends import Backend

KINDS = ["sealed", "sealed postgresql", "environment", "files", "vault", "openbao", "aws"]


@pytest.fixture(
    params=[pytest.param(kind, marks=[pytest.mark.postgres] if "postgresql" in kind else []) for kind in KINDS]
)
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Backend]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    kind, _, postgresql = request.param.partition(" ")
    more = {"url": str(request.getfixturevalue("postgres_url"))} if postgresql else {}
    async with getattr(backends, kind)(tmp_path, **more) as opened:
        yield opened


async def reason(backend: Backend, tenant: str, name: str) -> Reason:
    with pytest.raises((Refused, Unavailable)) as caught:
        await backend.store.read(tenant, name)
    assert caught.value.detail
    return caught.value.reason


async def test_a_store_gives_what_was_put_and_says_another_version_after_a_change(backend: Backend) -> None:
    await backend.put("default", "token", "the-first-value")
    first = await backend.store.read("default", "token")
    assert first.value == "the-first-value"
    assert await backend.store.read("default", "token") == first
    await backend.put("default", "token", "the-second-value")
    second = await backend.store.read("default", "token")
    assert second.value == "the-second-value"
    if backend.away is not None:
        assert second.version != first.version, "only an environment has no versions"


async def test_a_name_belongs_to_its_tenant(backend: Backend) -> None:
    await backend.put("acme", "token", "the-value-of-acme")
    await backend.put("acme.token", "x", "the-value-of-another")
    assert await reason(backend, "default", "token") is Reason.SECRET_MISSING
    assert await reason(backend, "acme.token", "token") is Reason.SECRET_MISSING
    assert (await backend.store.read("acme", "token")).value == "the-value-of-acme"


async def test_what_is_not_there_or_no_longer_there_is_missing(backend: Backend) -> None:
    assert await reason(backend, "default", "token") is Reason.SECRET_MISSING
    await backend.put("default", "token", "the-first-value")
    await backend.drop("default", "token")
    assert await reason(backend, "default", "token") is Reason.SECRET_MISSING


@pytest.mark.parametrize(
    "value",
    ["short", "two lines\nin the value", "header\r\nInjected: yes", "nul\0in-the-value", "x" * 8193, "ünfit-value"],
)
async def test_what_no_header_can_carry_is_given_to_nobody(backend: Backend, value: str) -> None:
    try:
        await backend.put("default", "token", value)
    except (Refused, ValueError):
        return  # the sealed store does not take it, and no environment holds it
    assert await reason(backend, "default", "token") is Reason.SECRET_MISSING


async def test_one_line_break_at_the_end_is_no_part_of_the_value(backend: Backend) -> None:
    try:
        await backend.put("default", "token", "the-first-value\n")
    except Refused:
        return  # the sealed store takes values as they are sent
    assert (await backend.store.read("default", "token")).value == "the-first-value"


async def test_a_store_that_is_away_is_no_store_without_the_secret(backend: Backend) -> None:
    if backend.away is None:
        assert await reason(backend, "default", "other") is Reason.SECRET_MISSING, "it is part of the process"
        return
    await backend.put("default", "token", "the-first-value")
    await backend.away()
    found = await reason(backend, "default", "token")
    assert found in {Reason.SECRET_UNAVAILABLE, Reason.SECRET_MISSING}
    if found is Reason.SECRET_MISSING:
        pytest.fail("a store that cannot be asked said that there is none")


async def test_a_value_is_neither_shown_nor_serialised(backend: Backend) -> None:
    await backend.put("default", "token", "the-first-value")
    found = await backend.store.read("default", "token")
    assert "the-first-value" not in f"{found!r} {found} {vars(type(found))}"
    with pytest.raises(TypeError):
        pickle.dumps(found)
