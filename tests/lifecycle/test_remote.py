"""Bundles pulled from real Git remotes: what is good is kept and decides nothing, what is not leaves all as it was."""

import asyncio
import hashlib
import hmac
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from handrail import SigningKey
from pydantic import ValidationError
from starlette.responses import RedirectResponse
from structlog.testing import capture_logs

from gateway.errors import HandrailError
from gateway.model import Effect
from gateway.policy.remote import Remote
from gateway.policy.signed import SIGNED_MAX_BYTES
from gateway.reasons import Reason
from gateway.settings import RemoteSettings, Settings, SettingsError
from gateway.store.directory import NewPrincipal
from gateway.times import format_time
from gateway.web.asgi import create_app
from gateway.web.routes.remote import NOTICES_PER_MINUTE
from tests import services
from tests.lifecycle.git_server import TOKEN, GitServer, find_sshd, git_server, ssh_server
from tests.lifecycle.repository import Repository
from tests.lifecycle.town import ALLOW, ASK, KEYS, Town, flipped, open_town, refusal
from tests.policy.support import OPEN
from tests.until import until

GOOD = "handrail_policy_pull_good_timestamp_seconds"
NEVER = 86_400
"""Seconds between two pulls: a test pulls when it says so."""


@dataclass
class Village:
    """A gateway that pulls from a repository, and that repository."""

    town: Town
    remote: Repository
    home: Path

    async def pull(self) -> dict[str, Any]:
        return await self.town.gateway.pulling.pull()

    def publish(self, token: bytes, name: str = "policy.bundle", message: str = "Publish") -> str:
        (self.remote.path / name).write_bytes(token)
        return self.remote.commit(message=message)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.town.gateway.metrics.registry.get_sample_value(name, labels)


async def open_village(tmp_path: Path, url: str | None = None, **remote: Any) -> Village:
    """Start with people enrolled; opening the same place again is a restart."""
    home = tmp_path / "home"
    repository, published = Repository(tmp_path / "repository"), Repository(tmp_path / "served" / "remote")
    if not home.exists():
        town = await open_town(home, repository)
        published.commit({"README": "Policies are published here.\n"})
        await town.gateway.close()
    settings = {"url": url or f"file://{published.path}", "interval_seconds": NEVER, **remote}
    town = await open_town(home, repository, remote=settings)
    return Village(town, published, home)


@pytest.fixture
async def village(tmp_path: Path) -> AsyncIterator[Village]:
    opened = await open_village(tmp_path)
    yield opened
    await opened.town.gateway.close()


# --- what is good -----------------------------------------------------------------------------------------------------


async def test_a_pulled_bundle_is_kept_and_decides_only_once_two_people_say_so(village: Village) -> None:
    town = village.town
    before = await town.put_in_force(ALLOW)
    token = town.bundle(ASK)
    commit = village.publish(token)
    view = await village.pull()
    kept = await town.gateway.lifecycle.show(view["digest"], town.people["ann"])
    assert (view["commit"], view["problem"], view["rewritten"]) == (commit, None, None)
    assert (kept["signer"], kept["added_by"], kept["activations"]) == ("ann", "(pulled)", [])
    assert await town.gateway.lifecycle.file(view["digest"], town.people["ann"]) == token.decode()
    await town.gateway.policy.reload()
    assert (town.digest, (await town.decide()).effect) == (before, Effect.ALLOW)
    assert (await town.gateway.proposals.list(town.people["ann"]))["proposals"][0]["subject"] == before, "none is made"
    proposal = await town.propose(kept)
    assert await refusal(town.activate(proposal, by="ann")) in {Reason.PROPOSAL_SELF, Reason.AUTH_FORBIDDEN}
    await town.activate(proposal)
    assert (town.digest, (await town.decide()).effect) == (view["digest"], Effect.ASK)


async def test_each_new_commit_is_on_record_once_however_often_it_is_pulled_and_over_a_restart(tmp_path: Path) -> None:
    village = await open_village(tmp_path)
    first = village.publish(village.town.bundle(ALLOW))
    for _ in range(3):
        view = await village.pull()
    second = village.publish(village.town.bundle(ASK))
    await village.pull()
    await village.town.gateway.close()
    again = await open_village(tmp_path)
    restarted = await again.pull()
    assert (restarted["commit"], view["commit"]) == (second, first)
    entries = again.town.entries("POLPUL")
    assert [entry["facts"]["commit"] for entry in entries] == [first, second]
    assert [entry["facts"]["moved"] for entry in entries] == ["forward", "forward"]
    assert entries[0]["facts"]["digest"] == view["digest"]
    assert format_time(again.metric(GOOD)) == restarted["good_at"]
    await again.town.gateway.close()


async def test_it_is_pulled_by_itself_on_the_interval_and_at_a_start(tmp_path: Path) -> None:
    village = await open_village(tmp_path)
    commit = village.publish(village.town.bundle(ALLOW))
    await village.town.gateway.close()
    again = await open_village(tmp_path)
    await until(lambda: again.town.gateway.pulling.view()["commit"] == commit)
    pulling = again.town.gateway.pulling
    assert pulling.settings is not None
    pulling.settings = pulling.settings.model_copy(update={"interval_seconds": 0.05})
    pulling.gap_seconds = 0.0
    pulling.notify()
    following = again.publish(again.town.bundle(ASK))
    await until(lambda: pulling.view()["commit"] == following)
    await again.town.gateway.close()


async def test_a_tag_is_pulled_in_place_of_a_branch(tmp_path: Path) -> None:
    village = await open_village(tmp_path, tag="released", path="out/policy.bundle")
    assert (await village.pull())["problem"]["code"] == "policy.source"
    (village.remote.path / "out").mkdir()
    commit = village.publish(village.town.bundle(ALLOW), "out/policy.bundle")
    village.remote.git("tag", "-a", "-m", "Release", "released")
    view = await village.pull()
    assert (view["commit"], view["ref"], view["problem"]) == (commit, "refs/tags/released", None)
    await village.town.gateway.close()


# --- what is refused --------------------------------------------------------------------------------------------------


def _plumbed(mode: str, object_id: str | None = None) -> Callable[[Village], None]:
    def publish(village: Village) -> None:
        commit = village.remote.plumb(mode, "policy.bundle", b"/etc/passwd", object_id)
        village.remote.git("reset", "-q", "--soft", commit)

    return publish


def _published(make: Callable[[Town], bytes]) -> Callable[[Village], None]:
    return lambda village: (village.publish(make(village.town)), None)[1]


def _flipped(town: Town) -> bytes:
    return flipped(town.bundle(ASK))


BAD: dict[str, tuple[Callable[[Village], None], str]] = {
    "no such file": (lambda village: None, "policy.source"),
    "a symbolic link": (_plumbed("120000"), "policy.source"),
    "a submodule": (_plumbed("160000", "a" * 40), "policy.source"),
    "too large": (_published(lambda _: b"x" * (SIGNED_MAX_BYTES + 1)), "policy.source"),
    "a pointer to a large file": (
        _published(lambda _: b"version https://git-lfs.github.com/spec/v1\nsize 1\n"),
        "verify.malformed",
    ),
    "unsigned": (_published(lambda town: town.bundle(ASK).rpartition(b".")[0] + b"."), "verify.malformed"),
    "another signature": (_published(_flipped), "verify.signature"),
    "signed by a stranger": (_published(lambda town: town.bundle(ASK, signer="nobody")), "verify.unknown_key"),
    "signed by an agent": (_published(lambda town: town.bundle(ASK, signer="bot")), "verify.unknown_key"),
    "broken Rego": (
        _published(lambda town: town.bundle({"handrail/main.rego": "package handrail\n\ndecisions := {\n"})),
        "policy.bundle",
    ),
    "allows the unknown": (
        _published(lambda town: town.bundle({"handrail/main.rego": OPEN.replace('"deny"', '"allow"')})),
        "policy.bundle",
    ),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_remote_leaves_the_active_bundle_and_is_loud_once(village: Village, what: str) -> None:
    town = village.town
    active = await town.put_in_force(ALLOW)
    await village.pull()
    publish, code = BAD[what]
    already = len(town.entries("POLPLF"))  # the repository began without any bundle
    publish(village)
    with capture_logs() as logs:
        for _ in range(3):
            view = await village.pull()
    assert view["problem"]["code"] == code
    assert (town.digest, (await town.decide()).policy_digest) == (active, active)
    assert (await town.gateway.ready())["policy"] == "ok"
    assert town.gateway.notices() == {"policy_remote": code}
    entries = town.entries("POLPLF")
    assert len(entries) == (already if what == "no such file" else already + 1)
    assert entries[-1]["reasons"] == [code]
    assert entries[-1]["facts"]["commit"] == view["problem"]["commit"] == village.remote.git("rev-parse", "HEAD")
    assert len([line for line in logs if line["event"] == "the policy remote brings nothing"]) <= 1
    assert (village.metric("handrail_policy_pulls_total", outcome="refused") or 0) >= 3
    bundles = (await town.gateway.lifecycle.list(town.people["ann"]))["bundles"]
    assert [one["digest"] for one in bundles] == [active]
    village.remote.git("rm", "-rfq", "--cached", ".")
    good = village.publish(town.bundle(ASK))
    view = await village.pull()
    assert (view["commit"], view["problem"], town.gateway.notices()) == (good, None, {})


async def test_an_interval_looks_again_only_where_another_look_can_change_something(village: Village) -> None:
    town, pulling = village.town, village.town.gateway.pulling
    assert pulling.mirror is not None
    counts = []
    for token in (
        town.bundle(ALLOW),
        town.bundle({"handrail/main.rego": "package handrail\n\nx := {\n"}),
        _flipped(town),
    ):
        village.publish(token)
        await village.pull()
        before = sum(village.metric("handrail_policy_pulls_total", outcome=name) or 0 for name in ("good", "refused"))
        good_at = village.metric(GOOD) or 0
        for _ in range(3):
            await pulling._pull(pulling.mirror, anew=False)
        after = sum(village.metric("handrail_policy_pulls_total", outcome=name) or 0 for name in ("good", "refused"))
        counts.append((after - before, (village.metric(GOOD) or 0) > good_at))
    assert counts == [(0, True), (0, False), (3, False)], "the key of a signature may be enrolled meanwhile"


async def test_a_commit_is_taken_once_its_signer_is_enrolled(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    town = village.town
    town.gateway.pulling.gap_seconds = 0.0
    key = SigningKey(bytes([14]) * 32)
    monkeypatch.setitem(KEYS, "lee", key)
    commit = village.publish(town.bundle(ASK, by="lee"))
    assert (await village.pull())["problem"]["code"] == "verify.unknown_key"
    lee = NewPrincipal("lee", ["author"], approval_jwk=dict(key.public.public_jwk()))
    await town.gateway.directory.add_principal(town.people["sec"], lee)
    town.gateway.pulling.notify()
    await until(lambda: town.gateway.pulling.view()["commit"] == commit)


async def test_a_repository_that_would_have_git_run_something_is_refused(village: Village) -> None:
    """The names that made recursive clones run programs (CVE-2018-17456, CVE-2018-11235)."""
    village.publish(village.town.bundle(ALLOW))
    before = await village.pull()
    marker = village.home / "ran"
    text = f'[submodule "x"]\n\tpath = x\n\turl = "-u$(touch {marker})"\n'
    village.remote.commit({".gitmodules": text, ".gitattributes": f"* filter=f\n# touch {marker}\n"})
    view = await village.pull()
    assert view["problem"]["code"] == "policy.source"
    assert view["digest"] == before["digest"]
    assert not marker.exists()


# --- a history that does not go forward -------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", ["back", "aside"])
async def test_a_branch_that_was_forced_is_noticed_and_told(village: Village, moved: str) -> None:
    town = village.town
    first = village.publish(town.bundle(ALLOW))
    old = await village.pull()
    second = village.publish(town.bundle(ASK))
    await village.pull()
    if moved == "back":
        village.remote.git("reset", "-q", "--hard", first)
    else:
        village.remote.git("commit", "-q", "--amend", "-m", "Rewritten")
    now = village.remote.git("rev-parse", "HEAD")
    with capture_logs() as logs:
        view = await village.pull()
        await village.pull()
    assert view["rewritten"] == {"moved": moved, "before": second, "commit": now}
    assert [line["moved"] for line in logs if line["event"] == "the policy remote's history was rewritten"] == [moved]
    entry = town.entries("POLPUL")[-1]
    assert (entry["facts"]["moved"], entry["facts"]["before"], entry["facts"]["commit"]) == (moved, second, now)
    if moved == "back":
        assert view["digest"] == old["digest"], "an older bundle is a candidate again, and decides nothing"
    assert town.digest == ""


async def test_a_copy_that_was_thrown_away_does_not_make_a_rewritten_history_look_new(tmp_path: Path) -> None:
    village = await open_village(tmp_path)
    village.publish(village.town.bundle(ALLOW))
    await village.pull()
    before = village.publish(village.town.bundle(ASK))
    await village.pull()
    await village.town.gateway.close()
    for repository in (village.home / "policy-remote").glob("*/repository"):
        shutil.rmtree(repository)
    village.remote.git("reset", "-q", "--hard", "HEAD^")
    again = await open_village(tmp_path)
    assert (await again.pull())["rewritten"]["before"] == before
    await again.town.gateway.close()


# --- remotes that cannot be reached -----------------------------------------------------------------------------------


async def test_a_remote_that_is_gone_is_told_once_and_taken_up_again(village: Village) -> None:
    commit = village.publish(village.town.bundle(ALLOW))
    good = await village.pull()
    elsewhere = village.remote.path.rename(village.remote.path.with_name("elsewhere"))
    for _ in range(3):
        view = await village.pull()
    assert (view["problem"]["code"], view["problem"]["commit"]) == ("policy.source", None)
    assert (view["good_at"], view["digest"]) == (good["good_at"], good["digest"])
    failed = [entry for entry in village.town.entries("POLPLF") if not entry["facts"]["commit"]]
    assert len(failed) == 1
    assert village.metric("handrail_policy_pulls_total", outcome="failed") == 3
    elsewhere.rename(village.remote.path)
    view = await village.pull()
    assert (view["problem"], view["commit"]) == (None, commit)


@asynccontextmanager
async def served(tmp_path: Path, token: str = TOKEN, **remote: Any) -> AsyncIterator[tuple[Village, GitServer]]:
    """A village whose remote is behind https."""
    root = tmp_path / "served"
    async with git_server(root, tmp_path / "authority") as server:
        file = tmp_path / "token"
        file.write_text(f"{token}\n")
        settings = {"token_file": file, "ca_file": server.ca_file, **remote}
        village = await open_village(tmp_path, server.url(root / "remote" / ".git"), **settings)
        try:
            await village.pull()  # after the one at the start; nothing is published yet
            yield village, server
        finally:
            if server.stuck is not None:
                server.stuck.set()
            await village.town.gateway.close()


async def test_a_real_git_server_over_https_gets_the_token_and_nobody_else_sees_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (village, server):
        commit = village.publish(village.town.bundle(ALLOW))
        with capture_logs() as logs:
            view = await village.pull()
        assert (view["commit"], view["problem"]) == (commit, None)
        assert all(given.startswith("Basic ") for given in server.asked)
        settings = village.town.gateway.pulling.settings
        assert settings is not None
        opened = Remote.open(settings)
        assert TOKEN not in repr(opened)
        assert not any(TOKEN in option for option in opened.options())
        stored = [file.read_bytes() for file in (village.home / "policy-remote").rglob("*") if file.is_file()]
        assert not any(TOKEN.encode() in raw for raw in stored)
        assert TOKEN not in str(logs)
        assert TOKEN not in json.dumps(view)


@pytest.mark.parametrize("how", ["a wrong token", "an unknown authority", "a redirect", "no git there"])
async def test_a_server_that_cannot_be_believed_is_refused_without_a_question(tmp_path: Path, how: str) -> None:
    async with served(tmp_path, "wrong" if how == "a wrong token" else TOKEN) as (village, server):
        village.publish(village.town.bundle(ALLOW))
        if how == "an unknown authority":
            mirror = village.town.gateway.pulling.mirror
            assert mirror is not None
            settings = mirror._remote.settings.model_copy(update={"ca_file": None})
            mirror._remote = Remote(settings, TOKEN)
        elif how == "a redirect":
            server.instead = lambda _request: RedirectResponse(f"https://localhost:{server.port}/remote/.git")
        elif how == "no git there":
            server.instead = lambda _request: RedirectResponse("/", 404)
        asked = len(server.asked)
        view = await village.pull()
        assert view["problem"]["code"] == "policy.source"
        assert view["commit"] is None
        if how == "a redirect":
            assert len(server.asked) == asked + 1, "it is not followed"
        if how == "an unknown authority":
            assert len(server.asked) == asked, "nothing is sent to it"


async def test_a_server_that_never_answers_ends_the_pull_at_its_deadline(tmp_path: Path) -> None:
    async with served(tmp_path, timeout_seconds=1) as (village, server):
        server.stuck = asyncio.Event()
        view = await village.pull()
        assert (view["problem"]["code"], "longer than 1 s" in view["problem"]["detail"]) == ("policy.source", True)


async def test_a_pull_that_hangs_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"https://127.0.0.1:{deaf.getsockname()[1]}/x"
        village = await open_village(tmp_path, url, timeout_seconds=600)
        connection, _ = await asyncio.get_running_loop().run_in_executor(None, deaf.accept)
        with connection:
            await village.town.gateway.close()
            connection.settimeout(60)
            while connection.recv(65_536):
                """Whatever was sent before; then the end, because Git was ended."""


async def test_a_repository_that_is_too_large_is_refused_and_thrown_away(tmp_path: Path) -> None:
    village = await open_village(tmp_path, size_max_bytes=1_048_576)
    village.publish(village.town.bundle(ALLOW))
    good = await village.pull()
    (village.remote.path / "large").write_bytes(os.urandom(3_000_000))
    village.remote.commit()
    view = await village.pull()
    assert view["problem"]["code"] == "policy.source"
    assert "larger than 1048576 bytes" in view["problem"]["detail"]
    assert view["digest"] == good["digest"]
    kept = sum(file.stat().st_size for file in (village.home / "policy-remote").rglob("*") if file.is_file())
    assert kept <= 2 * 1_048_576
    await village.town.gateway.close()


async def test_over_ssh_the_known_host_is_believed_and_no_other(tmp_path: Path) -> None:
    program = find_sshd()
    if program is None:
        services.missing("sshd", "Install openssh-server.")
    async with ssh_server(program, tmp_path / "ssh") as server:
        village = await open_village(
            tmp_path,
            server.url(tmp_path / "served" / "remote"),
            ssh_key_file=server.key_file,
            known_hosts_file=server.known_hosts_file,
        )
        commit = village.publish(village.town.bundle(ALLOW))
        view = await village.pull()
        assert (view["problem"], view["commit"]) == (None, commit)
        server.known_hosts_file.write_text("")
        view = await village.pull()
        assert view["problem"]["code"] == "policy.source"
        assert "Host key verification failed" in view["problem"]["detail"]
        assert server.known_hosts_file.read_text() == "", "nothing is learnt"
        await village.town.gateway.close()


# --- notices of the server --------------------------------------------------------------------------------------------


SECRET = "notify-secret"


@asynccontextmanager
async def noticing(tmp_path: Path, secret: str | None = SECRET) -> AsyncIterator[tuple[Village, httpx2.AsyncClient]]:
    remote = {}
    if secret is not None:
        file = tmp_path / "secret"
        file.write_text(f"{secret}\n")
        remote["notify_secret_file"] = file
    village = await open_village(tmp_path, **remote)
    village.town.gateway.pulling.gap_seconds = 0.0
    transport = httpx2.ASGITransport(create_app(village.town.gateway))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield village, http
    await village.town.gateway.close()


def github(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"x-hub-signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


@pytest.mark.parametrize("server", ["github", "gitlab"])
async def test_a_notice_has_it_pulled_and_a_replayed_one_does_no_harm(tmp_path: Path, server: str) -> None:
    async with noticing(tmp_path) as (village, http):
        await village.pull()
        commit = village.publish(village.town.bundle(ALLOW))
        body = b'{"ref": "refs/heads/evil", "repository": {"url": "https://evil.example"}}'
        headers = github(body) if server == "github" else {"x-gitlab-token": SECRET}
        for _ in range(10):
            answer = await http.post("/v1/policy/remote/notify", content=body, headers=headers)
            assert (answer.status_code, answer.json()) == (202, {"noticed": True})
        await until(lambda: village.town.gateway.pulling.view()["commit"] == commit)
        assert len(village.town.entries("POLPUL")) == 1


NOTICES: dict[str, list[tuple[str, str]]] = {
    "no signature": [],
    "another secret": list(github(b"{}", "other").items()),
    "of another body": list(github(b"{ }").items()),
    "an empty signature": [("x-hub-signature-256", "")],
    "SHA-1": [("x-hub-signature", "sha1=" + "0" * 40)],
    "a wrong token": [("x-gitlab-token", "notify-secre")],
    "both": [*github(b"{}").items(), ("x-gitlab-token", SECRET)],
    "two signatures": [*github(b"{}").items(), *github(b"{}").items()],
    "letters that are none": [("x-gitlab-token", "\u00e9")],
}


@pytest.mark.parametrize("what", NOTICES)
async def test_a_notice_without_the_secret_pulls_nothing(tmp_path: Path, what: str) -> None:
    async with noticing(tmp_path) as (village, http):
        headers = [(name.encode(), value.encode("latin-1")) for name, value in NOTICES[what]]
        answer = await http.post("/v1/policy/remote/notify", content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "verify.signature")
        assert not village.town.gateway.pulling._notified.is_set()


async def test_notices_are_throttled_by_source_before_their_body_is_read(tmp_path: Path) -> None:
    async with noticing(tmp_path) as (_, http):
        for _ in range(NOTICES_PER_MINUTE):
            await http.post("/v1/policy/remote/notify", content=b"{}")
        answer = await http.post("/v1/policy/remote/notify", content=b"{}", headers=github(b"{}"))
        assert (answer.status_code, answer.json()["code"]) == (429, "limit.notices")


async def test_without_a_secret_the_route_is_closed(tmp_path: Path) -> None:
    async with noticing(tmp_path, None) as (_, http):
        answer = await http.post("/v1/policy/remote/notify", content=b"{}", headers=github(b"{}"))
        assert (answer.status_code, answer.json()["code"]) == (404, "policy.no_remote")


async def test_without_a_remote_there_is_nothing_to_see_or_pull(town: Town) -> None:
    assert await refusal(town.gateway.pulling.pull()) is Reason.POLICY_NO_REMOTE
    with pytest.raises(HandrailError):
        town.gateway.pulling.view()


# --- settings ---------------------------------------------------------------------------------------------------------


WRONG: dict[str, dict[str, Any]] = {
    "plain http": {"url": "http://git.example/x"},
    "git's own protocol": {"url": "git://git.example/x"},
    "a program": {"url": "ext::sh -c touch"},
    "an option": {"url": "--upload-pack=touch"},
    "a password": {"url": "https://git:secret@git.example/x"},
    "a name in https": {"url": "https://git@git.example/x"},
    "a file elsewhere": {"url": "file://host/x"},
    "ssh without its files": {"url": "ssh://git@git.example/x"},
    "a token over ssh": {
        "url": "ssh://git@git.example/x",
        "token_file": "t",
        "ssh_key_file": "k",
        "known_hosts_file": "h",
    },
    "branch and tag": {"branch": "main", "tag": "v1"},
    "an option as a branch": {"branch": "-x"},
    "a branch that leads out": {"branch": "a/../b"},
    "a refspec": {"branch": "main:refs/x"},
    "a path that leads out": {"path": "../policy.bundle"},
    "a path from the root": {"path": "/policy.bundle"},
}


@pytest.mark.parametrize("what", WRONG)
def test_settings_that_git_could_be_tricked_by_are_refused(what: str) -> None:
    with pytest.raises(ValidationError):
        RemoteSettings(**{"url": "https://git.example/x", **WRONG[what]})


def test_a_remote_needs_the_signed_source_and_files_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="source = 'signed'"):
        Settings(home=tmp_path, policy={"remote": {"url": "https://git.example/x"}})
    for name in ("token_file", "ca_file"):
        settings = RemoteSettings(url="https://git.example/x", **{name: tmp_path / "absent"})
        with pytest.raises(SettingsError, match=name):
            Remote.open(settings)
