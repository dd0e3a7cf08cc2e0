"""The proxy from inside of a real jail: common clients work unchanged, and there is no other way out."""

import asyncio
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.canonical import canonical
from hand_adapters.egress import EgressGate, serving
from hand_adapters.jail import Bind, Jail, JailError, JailSpec
from hand_adapters.mcp import McpAdapter
from hand_adapters.process import ProcessAdapter
from hand_adapters.python import PythonAdapter
from tests import services
from tests.egress.world import Host, World, settings
from tests.hands.hands_support import need
from tests.until import until

pytestmark = pytest.mark.jail
FETCHING = Path(__file__).with_name("fetching.py")
EGRESS_PAGE = Path(__file__).parents[2] / "docs" / "egress.md"
NODE = Path(__file__).parents[2] / ".tools/node/bin/node"
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp"}


async def run(jail: Jail, world: World, host: Host, *argv: str, **changes: Any) -> str:
    """What a program says that runs in a jail which may reach the host, for one call."""
    way_out = EgressGate("h", settings(world.rule(host)))
    async with serving(way_out, world.call()):
        ended = await jail.run(
            JailSpec(argv, env=ENVIRONMENT, gate=way_out, deadline_seconds=60, **changes), output_max_bytes=65_536
        )
    return ended.stdout.decode() + ended.stderr.decode()


PYTHON = "import sys; url = sys.argv[1]\n"
CLIENTS = {
    "curl": ("curl", "-sS"),
    "requests": ("python", "-c", PYTHON + "import requests; print(requests.get(url).text)"),
    "urllib": ("python", "-c", PYTHON + "import urllib.request as u; print(u.urlopen(url).read().decode())"),
    "httpx": ("python", "-c", PYTHON + "import httpx2; print(httpx2.get(url).text)"),
    "aiohttp": (
        "python",
        "-c",
        PYTHON
        + "import aiohttp, asyncio\n"
        + "async def main():\n"
        + "    async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as answer:\n"
        + "        print(await answer.text())\n"
        + "asyncio.run(main())",
    ),
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_common_clients_work_as_they_are(jail: Jail, world: World, client: str, scheme: str) -> None:
    host = await world.host()
    argv = CLIENTS[client]
    if client == "curl":
        argv = (need("curl"), *argv[1:])
    said = await run(jail, world, host, *argv, f"{scheme}://{host.name}:{host.port}/v1/x")
    assert said.strip() == "hello"
    assert world.records[0][1]["how"] == ("terminated" if scheme == "https" else "originated")


TUNNEL = """
const http = require('http'), tls = require('tls'), url = new URL(process.argv[1]);
const proxy = new URL(process.env.HTTPS_PROXY);
const headers = {Host: url.host};
const begin = http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: url.host, headers});
begin.on('connect', (answer, socket) => {
  const secure = tls.connect({socket, servername: url.hostname}, () => {
    secure.write(`GET ${url.pathname} HTTP/1.1\\r\\nHost: ${url.host}\\r\\nConnection: close\\r\\n\\r\\n`);
  });
  secure.on('data', piece => process.stdout.write(piece));
  secure.on('error', error => console.log(error.message));
});
begin.end();
"""


async def test_node_believes_the_jails_authority(jail: Jail, world: World) -> None:
    host = await world.host()
    said = await run(jail, world, host, need("node"), "-e", TUNNEL, f"https://{host.name}:{host.port}/v1/x")
    assert "hello" in said


BY_FETCH = """
fetch(process.argv[1]).then(
  async answer => console.log(answer.status, await answer.text()),
  error => console.log('held', error.cause?.code ?? error.message),
);
"""


def modern_node() -> str:
    """A Node whose fetch obeys the variables of proxies: the system's, or the one that make tools installs."""
    found = next((path for path in (shutil.which("node"), str(NODE)) if path and _major(path) >= 24), None)
    services.require(found, "Node 24", "make tools installs it.")
    return str(found)


def _major(node: str) -> int:
    if not Path(node).exists():
        return 0
    told = subprocess.run([node, "-p", "process.versions.node"], capture_output=True, text=True, check=True)
    return int(told.stdout.split(".")[0])


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_fetch_of_a_modern_node_works_as_it_is(jail: Jail, world: World, scheme: str) -> None:
    host = await world.host()
    url = f"{scheme}://{host.name}:{host.port}"
    assert await run(jail, world, host, modern_node(), "-e", BY_FETCH, f"{url}/v1/x") == "200 hello\n"
    assert (await run(jail, world, host, modern_node(), "-e", BY_FETCH, f"{url}/v2/x")).startswith("403 ")
    assert len(host.requests) == 1


async def test_the_fetch_of_a_node_that_knows_no_proxy_reaches_nothing(jail: Jail, world: World) -> None:
    host = await world.host()
    url = f"https://{host.name}:{host.port}/v1/x"
    said = await run(jail, world, host, modern_node(), "--no-use-env-proxy", "-e", BY_FETCH, url)
    assert said.startswith("held "), said
    assert host.requests == []


PAGE = b"<html><head><title>t</title></head><body><article><h1>News</h1><p>One sentence.</p></article></body></html>"


async def test_the_fetch_server_reads_a_page_through_the_proxy_and_obeys_it(jail: Jail, world: World) -> None:
    """``mcp-server-fetch`` as docs/egress.md declares it: robots.txt, redirects, and hosts that nobody named."""
    need("mcp-server-fetch")

    def answered(head: bytes) -> bytes:
        path = head.split(b" ")[1]
        if path == b"/robots.txt":
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        if path == b"/guide/elsewhere":
            place = b"https://other.example/v1/x"
            return b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % place
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE)

    host = await world.host()
    host.answer = answered
    other = await world.host("other.example")
    shown = tomllib.loads(re.findall(r"```toml\n(.*?)```", EGRESS_PAGE.read_text(), re.DOTALL)[1])["hands"]["pages"]
    [rule] = shown.pop("egress")
    declared = settings(world.rule(host, paths=rule["paths"], methods=("GET",)), **shown)
    adapter = McpAdapter("h", declared, jail)
    try:
        manifest = await adapter.manifest()
        assert list(manifest.actions) == ["fetch"]

        async def fetch(url: str) -> tuple[bool, str]:
            args = {"url": url}
            done = await adapter.run(
                world.call(args=args, args_bytes=canonical(args), manifest_digest=manifest.digest, deadline_seconds=60)
            )
            return done.is_error, done.content[0]["text"]

        url = f"https://{host.name}:{host.port}"
        failed, text = await fetch(f"{url}/guide/news")
        assert not failed, text
        assert "One sentence." in text
        assert [head.split(b" ")[1] for head in host.requests] == [b"/robots.txt", b"/guide/news"]
        for place in ("/v2/news", "/guide/elsewhere"):
            failed, text = await fetch(f"{url}{place}")
            assert failed, text
        failed, _ = await fetch(f"https://{other.name}:{other.port}/v1/x")
        assert failed
        failed, _ = await fetch("http://169.254.169.254/latest/meta-data/")
        assert failed
        assert other.requests == []
        assert set(world.causes()) == {"path", "host"}
    finally:
        await adapter.close()


SOCKETS = """
import fcntl, json, socket
found = {}
def attempt(name, *arguments):
    try:
        socket.socket(*arguments).close()
        found[name] = "made"
    except OSError as error:
        found[name] = error.errno
attempt("tcp", socket.AF_INET, socket.SOCK_STREAM)
attempt("tcp by number", socket.AF_INET, socket.SOCK_STREAM, 6)
attempt("udp", socket.AF_INET, socket.SOCK_DGRAM)
attempt("raw", socket.AF_INET, socket.SOCK_RAW, 1)
attempt("mptcp", socket.AF_INET, socket.SOCK_STREAM, 262)
attempt("sctp", socket.AF_INET, socket.SOCK_STREAM, 132)
attempt("tcp6", socket.AF_INET6, socket.SOCK_STREAM)
attempt("netlink", socket.AF_NETLINK, socket.SOCK_RAW)
attempt("packet", socket.AF_PACKET, socket.SOCK_RAW)
attempt("vsock", socket.AF_VSOCK, socket.SOCK_STREAM)
for where in ("169.254.169.254", "10.0.0.1", "127.0.0.2", "192.0.2.1"):
    try:
        socket.create_connection((where, 80), 2).close()
        found[where] = "connected"
    except OSError as error:
        found[where] = "held"
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as handle:
    for name, number in (("flags", 0x8914), ("address", 0x8916), ("route", 0x890B)):
        try:
            fcntl.ioctl(handle, number, bytes(120))
            found[name] = "done"
        except OSError as error:
            found[name] = "held" if error.errno == 25 else error.errno
found["interfaces"] = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
print(json.dumps(found))
"""


async def test_nothing_but_the_proxy_is_there(jail: Jail, world: World) -> None:
    host = await world.host()
    found = json.loads(await run(jail, world, host, "/usr/bin/python3", "-I", "-S", "-c", SOCKETS))
    assert found.pop("tcp") == found.pop("tcp by number") == "made"
    assert found.pop("interfaces") == ["lo"]
    assert set(found.values()) == {97, "held"}, found


async def test_nobody_else_reaches_a_jails_proxy(jail: Jail, world: World) -> None:
    """Not the host, and not another jail: the listeners are in the one jail's network namespace."""
    host = await world.host()
    way_out = EgressGate("h", settings(world.rule(host)))
    other = EgressGate("h", settings(world.rule(host)))
    waiting = await jail.start(JailSpec(("/usr/bin/sleep", "60"), gate=way_out))
    assert not any(listener.get_inheritable() for listener in way_out._listeners), "no program of the gateway's"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", EgressGate.port)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(f"\0{EgressGate.name}")
    ask = f"https://{host.name}:{host.port}/v1/x"
    async with serving(way_out, world.call()):
        ended = await jail.run(JailSpec((need("curl"), "-sS", ask), env=ENVIRONMENT, gate=other, deadline_seconds=30))
    assert b"hello" not in ended.stdout, "its own gate serves no step"
    assert host.connections == 0
    await waiting.kill()


async def test_a_jail_without_a_gate_has_no_network_and_no_word_of_one(jail: Jail) -> None:
    code = "import os, socket\nprint(sorted(os.environ))\nsocket.socket(socket.AF_INET, socket.SOCK_STREAM)"
    ended = await jail.run(JailSpec(("/usr/bin/python3", "-I", "-S", "-c", code), env={"A": "b"}))
    assert b"['A', 'PWD']" in ended.stdout.replace(b"'LC_CTYPE', ", b"")
    assert b"Address family not supported" in ended.stderr


async def test_the_authoritys_key_is_in_no_file_and_not_in_the_jail(jail: Jail, world: World) -> None:
    host = await world.host()
    way_out = EgressGate("h", settings(world.rule(host)))
    directory = way_out.binds[0].source.parent
    script = "cat /run/handrail/egress.pem; ls /run/handrail; env; echo x > /run/handrail/egress.pem"
    async with serving(way_out, world.call()):
        ended = await jail.run(JailSpec(("/bin/sh", "-c", script), env=ENVIRONMENT, gate=way_out))
        way_out._authority.context(host.name)
    assert b"BEGIN CERTIFICATE" in ended.stdout
    assert b"PRIVATE" not in ended.stdout
    assert b"Read-only" in ended.stderr or b"denied" in ended.stderr
    await until(lambda: not directory.exists())


async def test_a_profile_without_sockets_takes_no_gate(jail: Jail, world: World) -> None:
    host = await world.host()
    way_out = EgressGate("h", settings(world.rule(host)))
    with pytest.raises(JailError, match="no sockets"):
        await jail.start(JailSpec(("/usr/bin/sleep", "60"), profile="strict", gate=way_out))
    assert not way_out.binds[0].source.exists(), "closed with the start that failed"


async def test_a_program_that_never_begins_closes_its_gate(jail: Jail, world: World) -> None:
    host = await world.host()
    way_out = EgressGate("h", settings(world.rule(host)))
    missing = Bind(FETCHING, "/proc/x")
    with pytest.raises(JailError):
        await jail.start(JailSpec(("/usr/bin/sleep", "60"), binds=(missing,), gate=way_out))
    assert not way_out.binds[0].source.exists()


def test_a_receipt_tells_a_jail_with_a_way_out_from_one_without(jail: Jail) -> None:
    assert jail.profile_sha256("default", gated=True) != jail.profile_sha256("default")


# --- a warm server ---------------------------------------------------------------------------------------------------


async def test_a_warm_server_reaches_its_hosts_during_its_own_steps_alone(jail: Jail, world: World) -> None:
    host = await world.host()
    binds = ({"source": str(FETCHING.parent), "target": "/server"},)
    declared = settings(world.rule(host), command=("python", "/server/fetching.py"), binds=binds)
    adapter = McpAdapter("h", declared, jail)
    manifest = await adapter.manifest()
    assert [rule.host for rule in manifest.egress] == ["api.example"]

    async def fetch(how: str, url: str, **changes: Any) -> str:
        call = world.call(args={"how": how, "url": url}, manifest_digest=manifest.digest, **changes)
        return str((await adapter.run(call)).content[0]["text"])

    url = f"https://{host.name}:{host.port}/v1/x"
    assert await fetch("urllib", url) == "200 hello"
    assert (await fetch("requests", url)).startswith("200 hello")
    assert (await fetch("urllib", url.replace("/v1/", "/v2/"))).startswith("403")
    assert (await fetch("urllib", url, egress_hosts=())).count("hello") == 0
    assert (await fetch("direct", "192.0.2.1")).startswith("held")

    assert await fetch("background", f"http://{host.name}:{host.port}/v1/background") == "started"
    way_out = next(iter(adapter._sessions._serving.values()))._way_out
    assert way_out is not None
    for _ in range(2):  # it asks all the time, during the steps too: these two it may use
        seen, sent = way_out._between, len(host.requests)
        await until(lambda seen=seen: way_out._between >= seen + 3)
        assert len(host.requests) == sent, "nothing between the steps"
        assert await fetch("urllib", url) == "200 hello"
        assert "between_steps" in world.causes(), "and the next step tells of it"
    await adapter.close()
    assert not way_out.binds[0].source.exists()


# --- the other adapters that run code --------------------------------------------------------------------------------

FETCH = """
import urllib.error, urllib.request

def fetch(url: str) -> str:
    try:
        return urllib.request.urlopen(url, timeout=10).read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
"""


@pytest.mark.parametrize("adapter", ["process", "python"])
async def test_every_adapter_that_runs_code_lets_out_what_its_hand_names(
    jail: Jail, world: World, tmp_path: Path, adapter: str
) -> None:
    host = await world.host()
    args_schema = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}
    if adapter == "process":
        kind: dict[str, Any] = {"adapter": "process", "command": None}
        action = {"argv": (need("curl"), "-sS", "{url}"), "args_schema": args_schema, "stdout": "text"}
        made: type[Any] = ProcessAdapter
    else:
        source = tmp_path / "tool.py"
        source.write_text(FETCH)
        kind = {"adapter": "python", "command": None, "python": {"source": str(source)}}
        action = {"function": "tool:fetch", "args_schema": args_schema}
        made = PythonAdapter
    declared = settings(world.rule(host), **kind, actions={"fetch": action})
    made.validate("h", declared)
    hand = made("h", declared, jail)
    manifest = await hand.manifest()
    assert [rule.host for rule in manifest.egress] == ["api.example"]

    async def fetch(path: str, **changes: Any) -> str:
        args = {"url": f"https://{host.name}:{host.port}{path}"}
        return str(await hand.run(world.call(args=args, manifest_digest=manifest.digest, **changes)))

    assert "hello" in await fetch("/v1/x")
    assert "hello" not in await fetch("/v2/x")
    assert "hello" not in await fetch("/v1/x", egress_hosts=())
    assert [code for code in world.codes() if code == "EGRCON"] == ["EGRCON"]
    assert len(host.requests) == 1
    await hand.close()
