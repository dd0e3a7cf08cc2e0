"""The data root under a key of Transit: changes from and to the master key, and what a wrong or changed key opens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keys.errors import KeyUnavailable, SealBroken
from keys.stores.master import MasterKey
from keys.stores.root import make_root, open_root, rewrap
from keys.stores.transit.api import Transit
from keys.stores.transit.http import Http
from keys.stores.transit.login import TokenFile
from keys.stores.transit.wrapping import TransitWrapper
from keys.stores.wrapping import Wrappers
from tests.keys.stores.front import Front, front
from tests.keys.stores.openbao import Engine

MASTER = MasterKey(bytes(range(32)))


def wrapper(engine: Engine, name: str = "data-root", url: str | None = None) -> TransitWrapper:
    http = Http(url or engine.bao.url, engine.bao.ca_file if url is None else None, 30.0)
    return TransitWrapper(Transit(http, TokenFile(engine.token_file)), engine.mount, name)


@pytest.fixture
def file(engine: Engine, tmp_path: Path) -> Path:
    make_root(tmp_path / "root.key", wrapper(engine))
    return tmp_path / "root.key"


@pytest.fixture
def relay(engine: Engine) -> Iterator[Front]:
    with front(engine.bao) as relay:
        yield relay


def test_a_root_survives_a_restart_and_holds_nothing_that_opens_it(engine: Engine, file: Path) -> None:
    root = open_root(file, Wrappers(wrapper(engine)))
    assert open_root(file, Wrappers(wrapper(engine))).derive("x") == root.derive("x")
    assert json.loads(file.read_text())["by"] == "transit"
    assert root._secret not in file.read_bytes()
    with pytest.raises(SealBroken, match="wrapped by transit"):
        open_root(file, Wrappers(MASTER))


def test_a_root_goes_to_transit_and_back_and_is_the_same(engine: Engine, tmp_path: Path) -> None:
    file, transit = tmp_path / "root.key", wrapper(engine)
    before = make_root(file, MASTER)
    there = rewrap(file, Wrappers(transit, MASTER))
    assert there is not None
    assert (there.id, there.generation) == (before.id, 2)
    with pytest.raises(SealBroken):
        open_root(file, Wrappers(MASTER))
    assert open_root(file, Wrappers(transit)).derive("x") == before.derive("x")
    assert rewrap(file, Wrappers(transit, MASTER)) is None
    back = rewrap(file, Wrappers(MASTER, transit))
    assert back is not None
    assert back.generation == 3
    assert open_root(file, Wrappers(MASTER)).derive("x") == before.derive("x")


def test_a_root_goes_from_one_key_of_transit_to_another(engine: Engine, file: Path) -> None:
    engine.bao.call("POST", f"{engine.mount}/keys/data-root/rotate")  # so that versions differ too
    rewrap(file, Wrappers(wrapper(engine)))
    before = open_root(file, Wrappers(wrapper(engine)))
    engine.key("second", type="aes256-gcm96")
    engine.write_token(engine.bao.root)
    second = wrapper(engine, "second")
    for wrappers in (Wrappers(second, wrapper(engine)), Wrappers(wrapper(engine), second)):
        assert open_root(file, wrappers).derive("x") == before.derive("x")
    assert rewrap(file, Wrappers(second, wrapper(engine))) is not None
    with pytest.raises(SealBroken):
        open_root(file, Wrappers(wrapper(engine)))
    assert open_root(file, Wrappers(second)).derive("x") == before.derive("x")


def test_a_new_version_of_the_key_takes_effect_by_a_rewrap(engine: Engine, file: Path) -> None:
    """After which the old version can be forbidden, as after any change of the key."""
    only, before = Wrappers(wrapper(engine)), open_root(file, Wrappers(wrapper(engine)))
    assert rewrap(file, only) is None
    engine.bao.call("POST", f"{engine.mount}/keys/data-root/rotate")
    kept = file.read_bytes()
    assert rewrap(file, only) is not None
    engine.config("data-root", min_decryption_version=2)
    assert open_root(file, only).derive("x") == before.derive("x")
    file.write_bytes(kept)
    with pytest.raises(SealBroken, match="does not open it"):
        open_root(file, only)


@pytest.mark.parametrize("member", ["id", "generation"])
def test_a_wrapping_is_bound_to_the_name_and_number_of_the_root(engine: Engine, file: Path, member: str) -> None:
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, member: {"id": "0" * 16, "generation": 2}[member]}))
    with pytest.raises(SealBroken, match="does not open it"):
        open_root(file, Wrappers(wrapper(engine)))


def test_the_wrapping_of_another_root_is_not_taken(engine: Engine, file: Path, tmp_path: Path) -> None:
    make_root(tmp_path / "other.key", wrapper(engine))
    other = json.loads((tmp_path / "other.key").read_text())
    file.write_text(json.dumps({**json.loads(file.read_text()), "wrapped": other["wrapped"]}))
    with pytest.raises(SealBroken, match="does not open it"):
        open_root(file, Wrappers(wrapper(engine)))


@pytest.mark.parametrize(
    "wrapped", ["", "vault:v1:", "vault:v0:AAAA", "vault:v1:AAAA\n", "v1:AAAA", "vault:v1:../../x"]
)
def test_what_transit_never_wrote_is_not_sent_there(engine: Engine, relay: Front, wrapped: str) -> None:
    with pytest.raises(SealBroken, match="unreadable"):
        wrapper(engine, url=relay.url).unwrap(wrapped, {})
    assert relay.seen == []


def test_an_outage_is_no_broken_seal(engine: Engine, file: Path) -> None:
    engine.bao.seal()
    try:
        with pytest.raises(KeyUnavailable, match="503") as refusal:
            open_root(file, Wrappers(wrapper(engine), MASTER))
    finally:
        engine.bao.unseal()
    assert not isinstance(refusal.value, SealBroken)
    open_root(file, Wrappers(wrapper(engine)))


def test_a_key_that_is_not_there_is_not_made_by_wrapping(engine: Engine, tmp_path: Path) -> None:
    """Transit makes a key that it is asked to encrypt by; a misspelt one would wrap the root."""
    engine.write_token(engine.bao.root)
    with pytest.raises(KeyUnavailable, match="not there"):
        make_root(tmp_path / "root.key", wrapper(engine, "dataroot"))
    assert engine.names() == ["data-root"]
    assert not (tmp_path / "root.key").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"type": "aes256-gcm96", "exportable": True}, "can leave"),
        ({"type": "aes256-gcm96", "allow_plaintext_backup": True}, "can leave"),
        ({"type": "aes256-gcm96", "derived": True}, "has to be"),
        ({"type": "rsa-2048"}, "has to be"),
        ({"type": "ed25519"}, "has to be"),
    ],
)
def test_a_key_that_does_not_guard_the_root_is_refused(
    engine: Engine, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    engine.key("second", **settings)
    engine.write_token(engine.bao.root)
    with pytest.raises(KeyUnavailable, match=said):
        make_root(tmp_path / "root.key", wrapper(engine, "second"))


@pytest.mark.parametrize("plaintext", [None, 1, "", "!", "AAAA", "A" * 43 + "="])
def test_a_server_that_opens_it_to_something_else_opens_nothing(
    engine: Engine, relay: Front, file: Path, plaintext: object
) -> None:
    """Except to 32 other bytes, which no row and no key of the home holds under."""
    relay.after = lambda passing: passing.answer.update(data={"plaintext": plaintext})
    through = Wrappers(wrapper(engine, url=relay.url))
    if plaintext == "A" * 43 + "=":
        assert open_root(file, through).derive("x") != open_root(file, Wrappers(wrapper(engine))).derive("x")
        return
    with pytest.raises(KeyUnavailable):
        open_root(file, through)


@pytest.mark.parametrize("ciphertext", [None, 1, "", "x", "vault:v1:" + "A" * 5000])
def test_what_is_no_ciphertext_is_not_written(engine: Engine, relay: Front, tmp_path: Path, ciphertext: object) -> None:
    def change(passing: Any) -> None:
        if "/encrypt/" in passing.path:
            passing.answer = {"data": {"ciphertext": ciphertext}}

    relay.after = change
    with pytest.raises(KeyUnavailable, match="no ciphertext"):
        make_root(tmp_path / "root.key", wrapper(engine, url=relay.url))
    assert not (tmp_path / "root.key").exists()
