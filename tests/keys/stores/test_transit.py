"""What Transit adds to the contract: keys that cannot leave it, outages that pass, and servers that lie."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.ports import Purpose, Typ
from gateway.settings import KeySettings
from keys.errors import KeyUnavailable, SealBroken
from keys.keyset import Keyset
from keys.rotation import KeyState
from keys.stores.file import FileKeyStore
from keys.stores.halves import ByPurpose
from keys.stores.master import MasterKey
from keys.stores.transit.api import Transit
from keys.stores.transit.halves import TransitHalves
from keys.stores.transit.http import Http
from keys.stores.transit.login import TokenFile
from tests.keys.stores.front import Front, Passing, front
from tests.keys.stores.openbao import Engine
from tests.openbao import Answered

ROOT = MasterKey(bytes(range(32)))
PATIENT_SECONDS = 30.0


def store_of(engine: Engine, directory: Path, url: str | None = None) -> FileKeyStore:
    """A store whose checkpoint keys are made in the engine, reached directly or by way of ``url``."""
    ca_file = engine.bao.ca_file if url is None else None
    http = Http(url or engine.bao.url, ca_file, PATIENT_SECONDS)
    halves = TransitHalves(Transit(http, TokenFile(engine.token_file)), engine.mount, "handrail")
    return FileKeyStore(directory, ROOT, ByPurpose({Purpose.CHECKPOINT: halves}, [halves]))


@pytest.fixture
def store(engine: Engine, tmp_path: Path) -> FileKeyStore:
    return store_of(engine, tmp_path / "keys")


@pytest.fixture
def relay(engine: Engine) -> Iterator[Front]:
    with front(engine.bao) as relay:
        yield relay


@pytest.fixture
def watched(engine: Engine, relay: Front, tmp_path: Path) -> FileKeyStore:
    """The store, with somebody between it and its server."""
    return store_of(engine, tmp_path / "keys", relay.url)


def create(store: FileKeyStore, purpose: Purpose = Purpose.CHECKPOINT) -> Any:
    with store.lock():
        return store.create(purpose, 1.0)


def name_of(store: FileKeyStore, kid: str) -> str:
    _, kept = store._unseal(kid, store._medium.read(kid))
    assert kept is not None
    return kept[1].rpartition("/")[2]


def signed(store: FileKeyStore) -> bytes:
    [key] = store.load()
    assert key.sign is not None
    return key.sign(b"m")


def on_path(part: str, act: Callable[[Passing], None]) -> Callable[[Passing], None]:
    """``act``, on requests to such a path alone."""
    return lambda passing: act(passing) if part in passing.path else None


# --- where keys are --------------------------------------------------------------------------------------------------


def test_the_private_half_cannot_leave_transit(store: FileKeyStore, engine: Engine) -> None:
    name = name_of(store, create(store).record.kid)
    for path in (f"export/signing-key/{name}", f"backup/{name}"):
        with pytest.raises(Answered) as refusal:
            engine.bao.call("GET", f"{engine.mount}/{path}")
        assert refusal.value.status in {400, 500}


def test_only_the_named_purposes_are_made_there_and_under_the_prefix(store: FileKeyStore, engine: Engine) -> None:
    Keyset(store, KeySettings()).ensure()
    made = [name for name in engine.names() if name != "data-root"]
    assert len(made) == 2  # the log's active key and its next one
    assert all(name.startswith("handrail-checkpoint-") for name in made)


def test_rotation_is_a_new_name_and_the_old_one_is_destroyed_when_it_is_done(
    store: FileKeyStore, engine: Engine
) -> None:
    keyset = Keyset(store, KeySettings())
    keyset.ensure(1.0)
    before = set(engine.names())
    keyset.rotate(Purpose.CHECKPOINT, 10_000.0)
    assert before < set(engine.names())
    keyset.tick(1_000_000.0)
    assert len(engine.names()) == len(before)
    assert len(keyset.sign_raw(Purpose.CHECKPOINT, b"m")) == 64


def test_a_revoked_key_is_gone_from_transit_too(store: FileKeyStore, engine: Engine) -> None:
    made = create(store)
    with store.lock():
        store.update(replace(made.record, state=KeyState.REVOKED))
    assert engine.names() == ["data-root"]
    with pytest.raises(KeyUnavailable):
        made.sign(b"m")


def test_a_key_is_used_where_it_was_made_after_the_mount_is_another(
    store: FileKeyStore, engine: Engine, tmp_path: Path
) -> None:
    create(store)
    moved = store_of(replace(engine, mount="elsewhere"), tmp_path / "keys")
    assert len(signed(moved)) == 64


# --- outages ---------------------------------------------------------------------------------------------------------


def test_a_sealed_server_is_unavailable_until_it_is_open_again(store: FileKeyStore, engine: Engine) -> None:
    made = create(store)
    engine.bao.seal()
    try:
        for act in (lambda: made.sign(b"m"), lambda: signed(store), lambda: create(store)):
            with pytest.raises(KeyUnavailable, match="503") as refusal:
                act()
            assert not isinstance(refusal.value, SealBroken)
        [late] = store.load()
    finally:
        engine.bao.unseal()
    assert late.sign is not None
    assert late.sign(b"m") == made.sign(b"m") == signed(store)


def test_a_revocation_is_in_force_during_an_outage_and_completed_after_it(store: FileKeyStore, engine: Engine) -> None:
    keyset = Keyset(store, KeySettings())
    keyset.ensure()
    in_transit, elsewhere = (str(keyset.active_jwk(one)["kid"]) for one in (Purpose.CHECKPOINT, Purpose.STEP))
    name = name_of(store, in_transit)
    engine.bao.seal()
    try:
        for kid in (elsewhere, in_transit):
            assert keyset.revoke(kid)
            assert kid not in {key["kid"] for key in keyset.jwks()["keys"]}
        assert keyset.sign(Purpose.STEP, Typ.STEP, b"{}")
    finally:
        engine.bao.unseal()
    assert name in engine.names()
    with store.lock():  # whoever takes the lock next completes what was begun
        pass
    assert name not in engine.names()
    assert len(keyset.sign_raw(Purpose.CHECKPOINT, b"m")) == 64


def test_an_expired_token_is_unavailable_until_another_is_in_the_file(store: FileKeyStore, engine: Engine) -> None:
    made = create(store)
    engine.bao.call("POST", "auth/token/revoke", {"token": engine.token_file.read_text().strip()})
    with pytest.raises(KeyUnavailable, match="403"):
        made.sign(b"m")
    engine.write_token(engine.token())
    assert len(made.sign(b"m")) == 64


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff", b"a\nb", b"x" * 20_000])
def test_a_token_file_that_holds_no_token_sends_nothing(
    watched: FileKeyStore, relay: Front, engine: Engine, content: bytes
) -> None:
    made = create(watched)
    relay.seen.clear()
    engine.token_file.write_bytes(content)
    with pytest.raises(KeyUnavailable, match=r"one line|larger than 16384 bytes") as refusal:
        made.sign(b"m")
    assert not content.strip() or content.decode("ascii", "replace") not in refusal.value.detail
    assert relay.seen == []


def test_a_right_that_is_missing_is_unavailable(store: FileKeyStore, engine: Engine) -> None:
    made = create(store)
    engine.write_token(engine.token(engine.policy('path "MOUNT/keys/*" { capabilities = ["read"] }')))
    with pytest.raises(KeyUnavailable, match="403"):
        made.sign(b"m")
    [key] = store.load()
    assert key.record == made.record


def test_an_engine_that_is_not_mounted_is_not_taken_for_one_that_destroyed_its_keys(
    store: FileKeyStore, engine: Engine
) -> None:
    made = create(store)
    engine.bao.call("POST", "sys/remount", {"from": engine.mount, "to": f"{engine.mount}-away"})
    done = replace(made.record, state=KeyState.REVOKED)
    with store.lock():
        store.update(done)
    engine.bao.call("POST", "sys/remount", {"from": f"{engine.mount}-away", "to": engine.mount})
    assert len(engine.names()) == 2
    with store.lock():
        pass
    assert engine.names() == ["data-root"]


# --- what somebody with rights in Transit can do ---------------------------------------------------------------------


def test_a_key_that_is_rotated_there_goes_on_signing_by_its_first_version(store: FileKeyStore, engine: Engine) -> None:
    made = create(store)
    before = made.sign(b"m")
    engine.bao.call("POST", f"{engine.mount}/keys/{name_of(store, made.record.kid)}/rotate")
    assert made.sign(b"m") == before == signed(store)


def test_a_version_that_is_not_to_be_used_is_unavailable_until_it_is(store: FileKeyStore, engine: Engine) -> None:
    made = create(store)
    name = name_of(store, made.record.kid)
    engine.bao.call("POST", f"{engine.mount}/keys/{name}/rotate")
    engine.config(name, min_decryption_version=2, min_encryption_version=2)
    for act in (lambda: made.sign(b"m"), lambda: signed(store)):
        with pytest.raises(KeyUnavailable) as refusal:
            act()
        assert not isinstance(refusal.value, SealBroken)
    engine.config(name, min_encryption_version=0)
    engine.config(name, min_decryption_version=1)
    assert made.sign(b"m") == signed(store)


@pytest.mark.parametrize("setting", ["exportable", "allow_plaintext_backup"])
def test_a_key_that_was_let_out_is_refused(store: FileKeyStore, engine: Engine, setting: str) -> None:
    engine.config(name_of(store, create(store).record.kid), **{setting: True})
    with pytest.raises(SealBroken, match="can leave"):
        store.load()


def replaced(engine: Engine, name: str, **settings: Any) -> None:
    engine.config(name, deletion_allowed=True)
    engine.bao.call("DELETE", f"{engine.mount}/keys/{name}")
    if settings:
        engine.key(name, **settings)


def test_a_key_that_was_deleted_is_unavailable(store: FileKeyStore, engine: Engine) -> None:
    made = create(store)
    replaced(engine, name_of(store, made.record.kid))
    with pytest.raises(KeyUnavailable, match="not there"):
        signed(store)
    with pytest.raises(KeyUnavailable, match="not found"):
        made.sign(b"m")


def test_another_key_under_the_same_name_is_found(store: FileKeyStore, engine: Engine) -> None:
    made = create(store)
    replaced(engine, name_of(store, made.record.kid), type="ed25519")
    with pytest.raises(SealBroken, match="halves do not match"):
        store.load()
    with pytest.raises(KeyUnavailable, match="not this key's"):
        made.sign(b"m")


@pytest.mark.parametrize("settings", [{"type": "ecdsa-p256"}, {"type": "ed25519", "derived": True}])
def test_another_kind_of_key_is_refused(store: FileKeyStore, engine: Engine, settings: dict[str, Any]) -> None:
    replaced(engine, name_of(store, create(store).record.kid), **settings)
    with pytest.raises(SealBroken, match="not an Ed25519 key"):
        store.load()


# --- servers that lie ------------------------------------------------------------------------------------------------


def test_a_signature_by_another_key_does_not_leave(watched: FileKeyStore, relay: Front, engine: Engine) -> None:
    made, other = create(watched), name_of(watched, create(watched).record.kid)
    relay.before = on_path("/sign/", lambda passing: setattr(passing, "path", f"/v1/{engine.mount}/sign/{other}"))
    with pytest.raises(KeyUnavailable, match="not this key's"):
        made.sign(b"m")


def test_a_signature_of_another_message_does_not_leave(watched: FileKeyStore, relay: Front) -> None:
    made = create(watched)
    another = base64.b64encode(b"another").decode()
    relay.before = on_path("/sign/", lambda passing: passing.body.update(input=another))
    with pytest.raises(KeyUnavailable, match="not this key's"):
        made.sign(b"m")


def test_a_signature_by_another_version_does_not_leave(watched: FileKeyStore, relay: Front, engine: Engine) -> None:
    made = create(watched)
    engine.bao.call("POST", f"{engine.mount}/keys/{name_of(watched, made.record.kid)}/rotate")
    relay.before = on_path("/sign/", lambda passing: passing.body.update(key_version=2))
    with pytest.raises(KeyUnavailable, match="version 1"):
        made.sign(b"m")


def test_a_key_that_is_made_otherwise_than_asked_is_destroyed_and_refused(
    watched: FileKeyStore, relay: Front, engine: Engine
) -> None:
    for changed in ({"exportable": True}, {"type": "ecdsa-p256"}, {"allow_plaintext_backup": True}):
        making = "/keys/handrail-checkpoint-"
        relay.before = on_path(
            making, lambda passing, changed=changed: passing.body.update(changed) if "type" in passing.body else None
        )
        with pytest.raises(KeyUnavailable):
            create(watched)
        assert engine.names() == ["data-root"]
        assert watched.load() == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": {"signature": 1}},
        {"data": {"signature": ""}},
        {"data": {"signature": "vault:v1:"}},
        {"data": {"signature": "vault:v1:!!!"}},
        {"data": {"signature": f"vault:v1:{'A' * 88}"}},
        {"data": {"signature": f"vault:v1:{'A' * 60_000}"}},
    ],
)
def test_what_is_no_signature_is_refused(watched: FileKeyStore, relay: Front, answer: dict[str, Any]) -> None:
    made = create(watched)
    relay.after = on_path("/sign/", lambda passing: setattr(passing, "answer", answer))
    with pytest.raises(KeyUnavailable):
        made.sign(b"m")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b"\xff" * 9,
        b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n" + b'{"a":1,"a":1} ',
        b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 4_000_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 4_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 500_000,
    ],
    ids=[
        "nothing",
        "no-http",
        "cut",
        "two-lengths",
        "two-answers",
        "upgrade",
        "no-json",
        "twice",
        "huge",
        "head",
        "chunks",
    ],
)
def test_what_is_no_answer_is_refused(watched: FileKeyStore, relay: Front, raw: bytes) -> None:
    made = create(watched)
    relay.after = on_path("/sign/", lambda passing: setattr(passing, "raw", raw))
    with pytest.raises(KeyUnavailable):
        made.sign(b"m")


def test_a_redirect_is_not_followed_and_takes_no_token_along(
    watched: FileKeyStore, relay: Front, engine: Engine
) -> None:
    made = create(watched)
    with front(engine.bao) as elsewhere:

        def redirect(passing: Passing) -> None:
            passing.status, passing.headers = 307, {"Location": f"{elsewhere.url}{passing.path}"}

        relay.after = on_path("/sign/", redirect)
        with pytest.raises(KeyUnavailable, match="redirects"):
            made.sign(b"m")
        assert elsewhere.seen == []


def test_a_word_of_the_server_in_an_error_is_bounded_and_printable(watched: FileKeyStore, relay: Front) -> None:
    made = create(watched)

    def rude(passing: Passing) -> None:
        passing.status, passing.answer = 400, {"errors": ["\x1b[2J\u202e" + "x" * 10_000]}

    relay.after = on_path("/sign/", rude)
    with pytest.raises(KeyUnavailable) as refusal:
        made.sign(b"m")
    assert refusal.value.detail.isprintable()
    assert len(refusal.value.detail) < 400


def test_no_token_is_in_a_repr_or_an_error(watched: FileKeyStore, relay: Front, engine: Engine) -> None:
    made = create(watched)
    token = engine.token_file.read_text().strip()
    assert relay.tokens.count(token) == len(relay.tokens)
    relay.after = lambda passing: setattr(passing, "status", 403)
    with pytest.raises(KeyUnavailable) as refusal:
        made.sign(b"m")
    shown = refusal.value.detail + repr(TokenFile(engine.token_file)) + repr(made)
    assert token not in shown


def test_many_signatures_share_few_connections(store: FileKeyStore) -> None:
    made = create(store)
    for number in range(20):
        made.sign(b"%d" % number)
    transit = store._halves.named("transit")._transit  # type: ignore[attr-defined]
    assert len(transit._http._idle) == 1
    transit.close()
    assert len(made.sign(b"m")) == 64
