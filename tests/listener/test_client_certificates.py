"""Callers that are known by a client certificate, over real TLS sockets against a real gateway."""

import asyncio
import json
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from handrail import AsyncClient, HandrailProblem
from sqlalchemy import select, update

from gateway.certificates import Certificate, NameKind
from gateway.store.tables import identity_links
from gateway.times import format_time
from tests.approvals.world import World, person, world
from tests.authority import Authority
from tests.identity.issuer import signed
from tests.identity.real import AUDIENCE
from tests.identity.town import FIRST, both
from tests.until import until

URI = "spiffe://example.org/bot"
ME = "/v1/me"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@asynccontextmanager
async def town(tmp_path: Path, authority: Authority, **settings: Any) -> AsyncIterator[World]:
    """A gateway that asks for certificates of the authority."""
    certificate, key = authority.issue("server", x509.DNSName("localhost"))
    believed = tmp_path / "clients.pem"
    if not believed.exists():
        shutil.copy(authority.certificate, believed)
    tls = {"certificate": certificate, "key": key, "client_ca": believed}
    server = {"tls": tls, **settings.pop("server", {})}
    verify = ssl.create_default_context(cafile=authority.certificate)
    async with world(tmp_path / "home", server=server, verify=verify, **settings) as here:
        yield here


def client(here: World, authority: Authority, files: tuple[Path, Path] | None, key: str | None = None) -> AsyncClient:
    shown = {} if files is None else {"client_cert": files[0], "client_key": files[1]}
    return AsyncClient(here.url, key, ca_file=authority.certificate, **shown)


def read(file: Path) -> Certificate:
    return Certificate.read_pem(file.read_text())


async def link(here: World, shown: Any, who: str = "bot") -> str:
    root = await person(here, "root")
    return (await here.gateway.directory.link_certificate(root, who, shown))["id"]


async def refusal(made: AsyncClient) -> str:
    with pytest.raises(HandrailProblem) as refused:
        await made.me()
    return refused.value.code


async def test_a_principal_is_known_by_its_certificate_and_by_no_other(tmp_path: Path, authority: Authority) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    async with town(tmp_path, authority) as here:
        async with client(here, authority, mine) as made:
            assert await refusal(made) == "auth.forbidden"
            link_id = await link(here, read(mine[0]))
            assert (await made.me())["id"] == "bot"
            async with client(here, authority, other) as stranger, client(here, authority, None) as nobody:
                assert await refusal(stranger) == "auth.forbidden"
                assert await refusal(nobody) == "auth.missing"
            await here.gateway.directory.unlink(await person(here, "root"), "bot", link_id)
            assert await refusal(made) == "auth.invalid", "on the same open connection"
        changed = [entry["facts"] for entry in here.entries("PRNCHG") if "link" in entry["facts"]]
        assert [(one["change"], one["link_kind"]) for one in changed] == [
            ("linked", "certificate"),
            ("link_revoked", "certificate"),
        ]
        said = json.dumps(here.entries("PRNCHG"))
        assert read(mine[0]).thumbprint not in said
        assert '"bot"' not in said


async def test_a_name_of_the_authority_is_a_principals_whichever_certificate_has_it(
    tmp_path: Path, authority: Authority
) -> None:
    first = authority.issue("first", x509.UniformResourceIdentifier(URI))
    second = authority.issue("second", x509.UniformResourceIdentifier(URI))
    async with town(tmp_path, authority) as here:
        await link(here, (NameKind.URI, URI))
        for files in (first, second):
            async with client(here, authority, files) as made:
                assert (await made.me())["id"] == "bot"
        # A certificate that is lost: it is barred by its thumbprint, and the others with the name go on.
        link_id = await link(here, read(first[0]))
        await here.gateway.directory.unlink(await person(here, "root"), "bot", link_id)
        async with client(here, authority, first) as lost, client(here, authority, second) as kept:
            assert await refusal(lost) == "auth.invalid"
            assert (await kept.me())["id"] == "bot"


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        (NameKind.DNS, "Agent.Example.ORG", x509.DNSName("agent.example.org")),
        (NameKind.EMAIL, "bot@example.org", x509.RFC822Name("bot@example.org")),
        (NameKind.SUBJECT, "CN=mine", x509.DNSName("x")),
    ],
)
async def test_other_names(
    tmp_path: Path, authority: Authority, kind: NameKind, value: str, name: x509.GeneralName
) -> None:
    mine = authority.issue("mine", name)
    async with town(tmp_path, authority) as here:
        await link(here, (kind, value))
        async with client(here, authority, mine) as made:
            assert (await made.me())["id"] == "bot"


async def test_a_certificate_with_names_of_two_principals_is_nobodys(tmp_path: Path, authority: Authority) -> None:
    both = authority.issue("both", x509.UniformResourceIdentifier(URI), x509.DNSName("dee.example.org"))
    async with town(tmp_path, authority) as here:
        await link(here, (NameKind.URI, URI))
        await link(here, (NameKind.DNS, "dee.example.org"), "dee")
        async with client(here, authority, both) as made:
            assert await refusal(made) == "auth.invalid"


async def test_a_name_under_another_authority_gets_no_connection(tmp_path: Path, authority: Authority) -> None:
    foreign = Authority(tmp_path / "foreign")
    files = foreign.issue("mine", x509.UniformResourceIdentifier(URI))
    async with town(tmp_path, authority) as here:
        await link(here, (NameKind.URI, URI))
        context = ssl.create_default_context(cafile=authority.certificate)
        context.load_cert_chain(*files)
        async with httpx2.AsyncClient(verify=context) as http:
            with pytest.raises(httpx2.TransportError):
                await http.get(here.url + ME)


async def test_a_certificate_that_is_over_gets_no_connection(tmp_path: Path, authority: Authority) -> None:
    over = authority.issue("over", x509.UniformResourceIdentifier(URI), days=(-2, -1))
    async with town(tmp_path, authority) as here:
        await link(here, (NameKind.URI, URI))
        context = ssl.create_default_context(cafile=authority.certificate)
        context.load_cert_chain(*over)
        async with httpx2.AsyncClient(verify=context) as http:
            with pytest.raises(httpx2.TransportError):
                await http.get(here.url + ME)


async def test_a_certificate_that_runs_out_on_an_open_connection_is_over(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = authority.issue("mine")
    async with town(tmp_path, authority) as here, client(here, authority, mine) as made:
        await link(here, read(mine[0]))
        assert (await made.me())["id"] == "bot"
        later = time.time() + 7200
        monkeypatch.setattr("gateway.web.authentication.time.time", lambda: later)
        assert await refusal(made) == "auth.expired"


async def test_an_authority_that_is_taken_away_ends_its_certificates_on_open_connections_too(
    tmp_path: Path, authority: Authority
) -> None:
    mine, foreign = authority.issue("mine"), Authority(tmp_path / "foreign")
    theirs = foreign.issue("theirs")
    async with town(tmp_path, authority) as here, client(here, authority, mine) as made:
        await link(here, read(mine[0]))
        await link(here, read(theirs[0]), "dee")
        assert (await made.me())["id"] == "bot"
        shutil.copy(foreign.certificate, tmp_path / "clients.pem")

        async def refused() -> bool:
            try:
                await made.me()
            except HandrailProblem as problem:
                return problem.code == "auth.missing"
            return False

        await until(refused)
        context = ssl.create_default_context(cafile=authority.certificate)
        context.load_cert_chain(*theirs)
        async with httpx2.AsyncClient(verify=context) as http:
            assert (await http.get(here.url + ME)).json()["id"] == "dee"


async def test_tls_12_cannot_carry_a_certificate(tmp_path: Path, authority: Authority) -> None:
    async with town(tmp_path, authority) as here:
        context = ssl.create_default_context(cafile=authority.certificate)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with httpx2.AsyncClient(verify=context) as http:
            with pytest.raises(httpx2.TransportError):
                await http.get(here.url + "/healthz")


async def test_an_api_key_says_more_than_a_certificate(tmp_path: Path, authority: Authority) -> None:
    mine = authority.issue("mine")
    async with town(tmp_path, authority) as here:
        await link(here, read(mine[0]))
        async with client(here, authority, mine, here.keys["dee"]) as made:
            assert (await made.me())["id"] == "dee"
        async with client(here, authority, mine, "hr_" + "0" * 16 + "_" + "A" * 43) as made:
            assert await refusal(made) == "auth.invalid", "a wrong key is not made good by a certificate"


async def test_a_client_cert_header_of_a_client_is_nothing(tmp_path: Path, authority: Authority) -> None:
    mine = authority.issue("mine")
    header = {"client-cert": Authority.header_of(mine[0])}
    for server in ({}, {"trusted_proxies": ["192.0.2.1"], "proxy_client_certificates": True}):
        async with town(tmp_path, authority, server=server) as here:
            if not server:
                await link(here, read(mine[0]))
            answer = await here.http.get(ME, headers=header)
            assert answer.json()["code"] == "auth.missing"


async def test_a_row_that_was_put_into_the_database_is_nobodys(tmp_path: Path, authority: Authority) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    async with town(tmp_path, authority) as here:
        await link(here, read(mine[0]))
        with here.gateway.engine.begin() as connection:
            root = (await person(here, "root")).pseudonym
            connection.execute(update(identity_links).values(pseudonym=root))
        here.gateway.directory.forget()
        async with client(here, authority, mine) as made:
            assert await refusal(made) == "auth.invalid"
        with here.gateway.engine.connect() as connection:
            assert connection.execute(select(identity_links.c.expires_at)).scalar() == read(mine[0]).ends_at
        async with client(here, authority, other) as made:
            assert await refusal(made) == "auth.forbidden"


async def test_a_certificate_is_linked_once_and_for_ever_and_by_security_admins_alone(
    tmp_path: Path, authority: Authority
) -> None:
    mine = authority.issue("mine")
    body = {"certificate": mine[0].read_text()}
    async with town(tmp_path, authority) as here:

        async def add(who: str, as_: str = "root", body: dict[str, str] = body) -> httpx2.Response:
            return await here.http.post(f"/v1/principals/{who}/certificates", json=body, headers=here.bearer(as_))

        assert (await add("bot", as_="dee")).json()["code"] == "auth.forbidden"
        assert (await add("bot")).status_code == 201
        taken = await add("dee")
        assert (taken.status_code, taken.json()["problem"]) == (409, "link.taken")
        assert (await add("nobody", body={"kind": "uri", "value": URI})).status_code == 404
        over = authority.issue("over", days=(-2, -1))[0].read_text()
        for wrong in (
            {},
            {"certificate": over},
            {"certificate": body["certificate"] * 2},
            {"certificate": "x"},
            {"certificate": mine[1].read_text()},
            {"kind": "uri"},
            {"value": URI},
            {"kind": "x5t#S256", "value": "A" * 43},
            {"kind": "dns", "value": "*.example.org"},
            {"kind": "uri", "value": "example.org/agent"},
            {"kind": "subject", "value": "no name"},
            {"kind": "uri", "value": "a\nb"},
            {**body, "kind": "uri", "value": URI},
        ):
            assert (await add("dee", body=wrong)).status_code in {400, 422}, wrong
        listed = await here.http.get("/v1/principals/bot/links", headers=here.bearer("root"))
        [shown] = listed.json()["links"]
        assert (shown["kind"], shown["source"]) == ("certificate", "x5t#S256")
        assert shown["expires_at"] == format_time(read(mine[0]).ends_at)


async def test_certificates_are_of_one_tenant(tmp_path: Path, authority: Authority) -> None:
    mine = authority.issue("mine")
    async with town(tmp_path, authority, server={"client_certificate_tenant": "other"}) as here:
        body = {"certificate": mine[0].read_text()}
        answer = await here.http.post("/v1/principals/bot/certificates", json=body, headers=here.bearer("root"))
        assert answer.status_code == 404
        async with client(here, authority, mine) as made:
            assert await refusal(made) == "auth.forbidden"


async def test_a_self_signed_certificate_is_its_own_authority(tmp_path: Path, authority: Authority) -> None:
    alone = Authority(tmp_path / "alone")
    key = tmp_path / "alone.key"
    key.touch(0o600)
    key.write_bytes(alone.private_key)
    (tmp_path / "clients.pem").write_bytes(authority.certificate.read_bytes() + alone.certificate.read_bytes())
    async with town(tmp_path, authority) as here:
        await link(here, read(alone.certificate))
        async with client(here, authority, (alone.certificate, key)) as made:
            assert (await made.me())["id"] == "bot"


@pytest.mark.parametrize("required", [False, True])
async def test_a_token_that_is_bound_to_a_certificate_goes_with_it_alone(
    tmp_path: Path, authority: Authority, required: bool
) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    certificate, key = authority.issue("server", x509.DNSName("localhost"))
    tls = {"certificate": certificate, "key": key, "client_ca": authority.certificate}
    verify = ssl.create_default_context(cafile=authority.certificate)
    async with both(tmp_path / "home", server={"tls": tls}, verify=verify, require_bound=required) as (here, provider):
        await here.gateway.directory.link_subject(await person(here, "root"), "dee", "company", "ada")
        now = time.time()
        body = {"iss": provider.issuer, "aud": AUDIENCE, "sub": "ada", "client_id": "app", "iat": now, "exp": now + 300}
        free = signed(body, FIRST, kid="first")
        bound = signed({**body, "cnf": {"x5t#S256": read(mine[0]).thumbprint}}, FIRST, kid="first")
        async with client(here, authority, mine, bound) as made:
            assert (await made.me())["id"] == "dee"
        for files in (other, None):
            async with client(here, authority, files, bound) as thief:
                assert await refusal(thief) == "auth.invalid"
        async with client(here, authority, mine, free) as made:
            if required:
                assert await refusal(made) == "auth.invalid"
            else:
                assert (await made.me())["id"] == "dee"


async def test_many_at_once(tmp_path: Path, authority: Authority) -> None:
    pairs = [authority.issue(f"c{number}") for number in range(4)]
    async with town(tmp_path, authority) as here:
        for files, who in zip(pairs, ["bot", "bob", "cy", "dee"], strict=True):
            await link(here, read(files[0]), who)

        async def who(files: tuple[Path, Path]) -> list[str]:
            async with client(here, authority, files) as made:
                return [(await made.me())["id"] for _ in range(10)]

        found = await asyncio.gather(*map(who, pairs))
        assert found == [[name] * 10 for name in ["bot", "bob", "cy", "dee"]]


async def test_readiness_and_metrics_tell_of_files_that_cannot_be_used(tmp_path: Path, authority: Authority) -> None:
    async with town(tmp_path, authority) as here:
        value = here.gateway.metrics.registry.get_sample_value
        tls = here.gateway.tls
        assert tls is not None
        assert value("handrail_tls_certificate_expiry_timestamp_seconds") == tls.certificate.ends_at
        assert value("handrail_tls_certificate_problem") == 0

        async def notice() -> str | None:
            return (await here.http.get("/readyz")).json()["notices"].get("tls")

        assert await notice() is None
        pair = here.gateway.settings.server.tls
        assert pair is not None
        kept = pair.certificate.read_bytes()
        pair.certificate.write_bytes(kept[:100])
        assert await until(notice) == "tls.certificate"
        assert value("handrail_tls_certificate_problem") == 1
        pair.certificate.write_bytes(kept)

        async def well() -> bool:
            return await notice() is None

        await until(well)
