"""A real nginx, configured as the page says, ends TLS in front of a real gateway and says clients' certificates."""

import asyncio
import base64
import random
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509

from gateway.certificates import Certificate, NameKind
from gateway.errors import Malformed
from gateway.web.context import CERTIFICATE
from gateway.web.proxies import certificate
from tests.approvals.world import World, person, world
from tests.authority import Authority
from tests.listener.proxied import PROXY, passed, server
from tests.meta.tree import ROOT
from tests.ports import free_port
from tests.services import require
from tests.until import until

PAGE = (ROOT / "docs" / "tls.md").read_text(encoding="utf-8")
URI = "spiffe://example.org/bot"
ME = "/v1/me"


def configuration(directory: Path, port: int, gateway: int) -> str:
    """The page's block, with a test's ports and files, in the frame that nginx wants."""
    [block] = re.findall(r"^```nginx\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    block = block.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl").replace(
        "127.0.0.1:8080", f"127.0.0.1:{gateway}"
    )
    paths = "".join(
        f"{name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"daemon off; pid {directory}/pid; error_log stderr; events {{}} http {{ access_log off; {paths} {block} }}"


@asynccontextmanager
async def town(tmp_path: Path, authority: Authority, **changed: Any) -> AsyncIterator[tuple[World, str]]:
    """A gateway and the URL of nginx in front of it."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    require(Path(program).exists(), "nginx", "Install it: apt-get install nginx-light")
    directory = tmp_path / "nginx"
    directory.mkdir()
    shutil.copy(ROOT / "deploy" / "nginx" / "client-cert.conf", directory)
    shutil.copy(authority.certificate, directory / "ca.pem")
    for file, name in zip(authority.issue("front", x509.DNSName("localhost")), ("tls.crt", "tls.key"), strict=True):
        shutil.copy(file, directory / name)
    port = free_port()
    url = f"https://localhost:{port}"
    settings = {"trusted_proxies": ["127.0.0.1"], "proxy_client_certificates": True, "public_url": url, **changed}
    async with world(tmp_path / "home", server=settings) as here:
        gateway = int((tmp_path / "home" / "gateway.port").read_text())
        (directory / "nginx.conf").write_text(configuration(directory, port, gateway))
        with subprocess.Popen(
            [program, "-p", str(directory), "-c", "nginx.conf"], stderr=subprocess.DEVNULL
        ) as process:
            try:
                await until(lambda: reachable(port))
                yield here, url
            finally:
                process.terminate()
                process.wait(30)


async def reachable(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def client(authority: Authority, files: tuple[Path, Path] | None = None) -> httpx2.AsyncClient:
    context = ssl.create_default_context(cafile=authority.certificate)
    if files is not None:
        context.load_cert_chain(*files)
    return httpx2.AsyncClient(verify=context)


said = Authority.header_of


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


async def test_nginx_says_who_calls_and_a_client_does_not(tmp_path: Path, authority: Authority) -> None:
    mine = authority.issue("mine", x509.UniformResourceIdentifier(URI))
    other = authority.issue("other")
    async with town(tmp_path, authority) as (here, url):
        root = await person(here, "root")
        await here.gateway.directory.link_certificate(root, "bot", (NameKind.URI, URI))
        async with client(authority, mine) as http:
            answer = await http.get(url + ME)
            assert answer.json().get("id") == "bot", answer.text
        spoofed = {"client-cert": said(mine[0])}
        for files, code in ((None, "auth.missing"), (other, "auth.forbidden")):
            async with client(authority, files) as http:
                for headers in ({}, spoofed, {"Client_Cert": said(mine[0])}):
                    assert (await http.get(url + ME, headers=headers)).json()["code"] == code


async def test_a_long_certificate_comes_through_whole(tmp_path: Path, authority: Authority) -> None:
    names = [x509.DNSName(f"host{number:02d}.{'x' * 60}.example.org") for number in range(15)]
    mine = authority.issue("mine", *names)
    assert len(mine[0].read_text().splitlines()) > 25
    async with town(tmp_path, authority) as (here, url):
        shown = Certificate.read_pem(mine[0].read_text())
        await here.gateway.directory.link_certificate(await person(here, "root"), "bot", shown)
        async with client(authority, mine) as http:
            assert (await http.get(url + ME)).json()["id"] == "bot"


async def test_a_proxy_that_was_not_said_to_say_certificates_says_none(tmp_path: Path, authority: Authority) -> None:
    mine = authority.issue("mine", x509.UniformResourceIdentifier(URI))
    async with town(tmp_path, authority, proxy_client_certificates=False) as (here, url):
        await here.gateway.directory.link_certificate(await person(here, "root"), "bot", (NameKind.URI, URI))
        async with client(authority, mine) as http:
            assert (await http.get(url + ME)).json()["code"] == "auth.missing"


JUNK = {
    "none": [],
    "two": [b":AA==:", b":AA==:"],
    "a list": [b":AA==:, :AA==:"],
    "no colons": [b"AA=="],
    "empty": [b""],
    "empty bytes": [b"::"],
    "url encoded PEM": [b"-----BEGIN%20CERTIFICATE-----"],
    "base64url": [b":A-_=:"],
    "wrong padding": [b":AAAAA:"],
    "parameters": [b":AA==:;a=1"],
    "no certificate": [b":AAAA:"],
    "long": [b":" + b"A" * 40_000 + b":"],
}


@pytest.mark.parametrize("values", JUNK.values(), ids=JUNK)
def test_what_is_not_one_certificate_is_refused(values: Sequence[bytes]) -> None:
    with pytest.raises(Malformed):
        certificate(values)


@pytest.mark.filterwarnings("ignore")
def test_a_certificate_with_changed_bytes_is_another_or_none(authority: Authority) -> None:
    file = authority.issue("mine", x509.UniformResourceIdentifier(URI))[0]
    whole = base64.b64decode(said(file).strip(":"))
    chance = random.Random(8705)
    for _ in range(20_000):
        der = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            der[chance.randrange(len(der))] = chance.randrange(256)
        try:
            read = Certificate.read(bytes(der))
        except Malformed:
            continue
        assert (read.thumbprint == Certificate.read(whole).thumbprint) is (bytes(der) == whole)


def test_something_behind_a_certificate_is_refused(authority: Authority) -> None:
    file = authority.issue("mine")[0]
    assert certificate([said(file).encode()]) == Certificate.read_pem(file.read_text())
    der = base64.b64decode(said(file).strip(":"))
    with pytest.raises(Malformed):
        certificate([b":" + base64.b64encode(der + b"x") + b":"])


@pytest.mark.parametrize(
    ("peer", "settings", "header", "outcome"),
    [
        (PROXY, {"proxy_client_certificates": True}, True, "believed"),
        (PROXY, {"proxy_client_certificates": True}, False, "none"),
        (PROXY, {}, True, "none"),
        ("203.0.113.9", {"proxy_client_certificates": True}, True, "none"),
        ("127.0.0.1", {"proxy_client_certificates": True}, True, "none"),
    ],
)
async def test_client_cert_is_believed_of_a_declared_proxy_that_says_it(
    authority: Authority, peer: str, settings: Mapping[str, Any], header: bool, outcome: str
) -> None:
    file = authority.issue("mine")[0]
    headers = [("Client-Cert", said(file))] if header else []
    found = await passed(peer, *headers, settings=server(**settings))
    expected = Certificate.read_pem(file.read_text()) if outcome == "believed" else None
    assert found.get(CERTIFICATE) == expected


async def test_two_certificates_refuse_the_request(authority: Authority) -> None:
    file = authority.issue("mine")[0]
    twice = [("Client-Cert", said(file)), ("Client-Cert", said(file))]
    found = await passed(PROXY, *twice, settings=server(proxy_client_certificates=True))
    assert found["sent"][0]["status"] in {400, 422}
