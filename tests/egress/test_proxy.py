"""What a jail can have sent by the proxy, and what not: attacks on each rule, over real sockets and real TLS."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.calls import unrecorded
from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.settings import EgressLimits
from hand_adapters.contract import HandError
from hand_adapters.egress import EgressGate, serving
from tests.egress.world import World, get, opened, say, settings, status
from tests.until import until


async def test_the_proxy_speaks_tls_for_a_jail_that_does_not(world: World) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        answer = await say(port, get(host, "/v1/x?q=a%20b", "X-Mine: 1"))
    assert status(answer) == 200
    assert answer.endswith(b"5\r\nhello\r\n0\r\n\r\n")
    assert host.requests[0].startswith(b"GET /v1/x?q=a%20b HTTP/1.1\r\nHost: " + f"{host.name}:{host.port}".encode())
    assert host.header("x-mine") == ["1"]
    assert host.header("accept-encoding") == ["identity"]


async def tunnelled(world: World, gate: Any, port: int, host: Any, *requests: bytes, **tls: Any) -> bytes:
    """What comes of requests within TLS with the proxy, as a client that believes the jail's authority speaks it."""
    context = ssl.create_default_context(cadata=Path(gate.binds[0].source).read_text())
    context.set_alpn_protocols(["h2", "http/1.1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {host.name}:{host.port} HTTP/1.1\r\nHost: {host.name}:{host.port}\r\n\r\n".encode())
    begun = await reader.readuntil(b"\r\n\r\n")
    if status(begun) != 200:
        writer.close()
        return begun + await reader.read()
    await writer.start_tls(context, server_hostname=tls.get("name", host.name))
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1", "HTTP/2 is not offered"
    for request in requests:
        writer.write(request)
    await writer.drain()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


def within(host: Any, path: str = "/v1/x", *headers: str, where: str | None = None) -> bytes:
    named = where or f"{host.name}:{host.port}"
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {named}", *headers, "Connection: close", "", ""]).encode()


async def test_tls_of_the_jail_ends_at_the_proxy_and_requests_are_judged(world: World) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        assert status(await tunnelled(world, gate, port, host, within(host))) == 200
        assert status(await tunnelled(world, gate, port, host, within(host, "/admin"))) == 403
        assert status(await tunnelled(world, gate, port, host, within(host, where="other.example"))) == 400
        assert status(await tunnelled(world, gate, port, host, within(host, "http://other.example/v1/x"))) == 400
    assert [code for code, *_ in world.records] == ["EGRCON", "EGRREF", "EGRREF", "EGRREF", "EGREND"]
    assert world.causes() == ["path", "malformed", "malformed"]
    assert world.records[0][1]["how"] == "terminated"
    assert len(host.requests) == 1


async def test_a_greeting_for_another_host_than_the_tunnels_is_refused(world: World) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await tunnelled(world, gate, port, host, within(host), name="other.example")
        await until(lambda: world.causes() == ["greeting"])
    assert not host.requests


async def test_plain_http_in_a_tunnel_is_judged_as_any_other(world: World) -> None:
    host = await world.host()
    begin = f"CONNECT {host.name}:{host.port} HTTP/1.1\r\n\r\n".encode()
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        for path, expected in (("/v1/x", 200), ("/admin", 403)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begin)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(within(host, path))
            assert status(await reader.read()) == expected
            writer.close()


@pytest.mark.parametrize(
    ("request_line", "cause"),
    [
        ("GET https://evil.example/v1/x", "host"),
        ("GET http://api.example.evil.example:{port}/v1/x", "host"),
        ("GET http://127.0.0.1:{port}/v1/x", "host"),
        ("GET http://api.example:1/v1/x", "host"),
        ("GET http://API.EXAMPLE:{port}/v2/x", "path"),
        ("GET http://api.example:{port}/v1", "path"),
        ("DELETE http://api.example:{port}/v1/x", "method"),
        ("GET http://api.example:{port}/v1/../admin", "malformed"),
        ("GET http://api.example:{port}/v1/%2e%2e/admin", "malformed"),
        ("GET http://api.example:{port}//v1/x", "malformed"),
        ("GET http://user@api.example:{port}/v1/x", "malformed"),
        ("GET http://api.example:{port}?/v1/x", "malformed"),
        ("GET ftp://api.example:{port}/v1/x", "malformed"),
        ("GET /v1/x", "malformed"),
        ("OPTIONS *", "malformed"),
        ("CONNECT evil.example:443", "host"),
        ("CONNECT api.example", "malformed"),
        ("CONNECT http://api.example:{port}/", "malformed"),
    ],
)
async def test_what_no_rule_names_is_refused_and_on_record(world: World, request_line: str, cause: str) -> None:
    host = await world.host()
    line = request_line.format(port=host.port)
    where = line.split(" ")[1].partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
    where = where or line.split(" ")[1]
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        answer = await say(port, f"{line} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
    assert status(answer) in {400, 403}
    assert f'"egress.{cause}"'.encode() in answer
    assert world.causes() == [cause]
    assert host.connections == 0
    named = world.records[0][1]["host"]
    known = cause in {"path", "method"} or ":1/" in line
    assert named == ("api.example" if known else "other"), "no word of the jail's in clear"


@pytest.mark.parametrize("host_header", ["", "Host: evil.example\r\n", "Host: {where}\r\nHost: {where}\r\n"])
async def test_the_host_header_is_one_and_the_targets_own(world: World, host_header: str) -> None:
    host = await world.host()
    where = f"{host.name}:{host.port}"
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        sent = f"GET http://{where}/v1/x HTTP/1.1\r\n{host_header.format(where=where)}\r\n"
        assert status(await say(port, sent.encode())) == 400
    assert host.connections == 0


async def test_a_second_request_cannot_hide_in_the_first_ones_body(world: World) -> None:
    host = await world.host()
    where = f"{host.name}:{host.port}"
    hidden = b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    head = f"POST http://{where}/v1/x HTTP/1.1\r\nHost: {where}\r\n"
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        framed = f"{head}Content-Length: {len(hidden)}\r\nConnection: close\r\n\r\n".encode() + hidden
        assert status(await say(port, framed)) == 200
        assert host.bodies == [hidden]
        chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"0\r\n\r\n" + hidden
        answer = await say(port, chunked)
        assert (status(answer), answer.count(b"HTTP/1.1 "), answer.count(b"egress.host")) == (200, 2, 1)
        trailing = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"1\r\na\r\n0\r\nX-Trailer: 1\r\n\r\n"
        assert status(await say(port, trailing)) == 400
        short = f"{head}Content-Length: 9\r\n\r\nabc".encode()
        assert status(await say(port, short)) == 400
    assert len(host.requests) == 2
    assert host.header("transfer-encoding") == []


async def test_a_body_in_chunks_is_sent_on_in_one_frame(world: World) -> None:
    host = await world.host()
    where = f"{host.name}:{host.port}"
    head = (
        f"POST http://{where}/v1/x HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        assert status(await say(port, head.encode(), b"3\r\nab", b"c\r\n2\r\nde\r\n0\r\n", b"\r\n")) == 200
    assert host.bodies == [b"abcde"]
    assert host.header("content-length") == ["5"]


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(world: World) -> None:
    host = await world.host()
    head = get(host, "/v1/x", "Content-Length: 3", "Expect: 100-continue", method="POST")
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert status(await reader.read()) == 200
        writer.close()
    assert host.header("expect") == []


async def test_what_speaks_of_one_connection_or_of_who_the_jail_is_goes_nowhere(world: World) -> None:
    host = await world.host()
    sent = [
        "Authorization: Bearer of-another", "Cookie: session=of-another", "Proxy-Authorization: Basic eDp5",
        "DPoP: forged", "Keep-Alive: timeout=5", "TE: trailers", "Via: 1.1 me", "Forwarded: for=10.0.0.1",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-For: 10.0.0.1", "Accept-Encoding: gzip", "X-Named: 1", "Connection: x-named", "X-Kept: 1",
    ]  # fmt: skip
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        assert status(await say(port, get(host, "/v1/x", *sent))) == 200
    names = {line.split(b":")[0].lower() for line in host.requests[0].split(b"\r\n")[1:] if line}
    assert names == {b"host", b"accept", b"accept-encoding", b"user-agent", b"x-kept"}
    assert host.header("accept-encoding") == ["identity"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
async def test_a_host_that_does_not_answer_as_http_is_unreachable(world: World, answer: bytes) -> None:
    host = await world.host()
    host.answer = lambda _: answer
    host.meanwhile = None

    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        if not answer:
            world.servers[-1].close()
            await world.servers[-1].wait_closed()
        received = await say(port, get(host))
    assert status(received) == 502
    assert b"egress.unreachable" in received
    assert world.codes("unreachable") == ["EGRREF"]


async def test_a_redirect_is_the_jails_to_follow_and_is_judged_anew(world: World) -> None:
    host, other = await world.host(), await world.host("other.example")
    host.answer = (
        f"HTTP/1.1 302 Found\r\nLocation: https://other.example:{other.port}/v1/x\r\nContent-Length: 0\r\n\r\n".encode()
    )
    world.injected = {"Authorization": "Bearer secret"}
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        answer = await say(port, get(host))
        assert status(answer) == 302
        assert b"Location: https://other.example" in answer
        assert status(await say(port, get(other))) == 403
    assert other.connections == 0
    assert [asked[1] for asked in world.asked_for] == ["api.example"], "the secret was asked for its own host alone"


async def test_a_name_that_answers_differently_the_second_time_is_dialled_as_it_was_judged(world: World) -> None:
    """DNS rebinding: a name that may be public alone, and says so first."""
    host = await world.host(tls=False)
    rule = world.rule(host, private_network=False, ca_file=None)
    for answers in (["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["0.0.0.0"]):
        world.names["api.example"] = list(answers)
        async with opened(settings(rule)) as (gate, port), serving(gate, world.call()):
            assert status(await say(port, get(host))) == 502
    assert host.connections == 0
    metadata = world.rule(host)
    world.names["api.example"] = ["169.254.169.254"]
    async with opened(settings(metadata)) as (gate, port), serving(gate, world.call()):
        assert status(await say(port, get(host))) == 502, "never, whatever the operator says"
    world.names["api.example"] = ["127.0.0.1", "169.254.169.254"]
    world.names.asked.clear()
    plain = world.rule(host, scheme="http", ca_file=None)
    async with opened(settings(plain)) as (gate, port), serving(gate, world.call()):
        assert status(await say(port, get(host))) == 200
    assert world.names.asked == ["api.example"], "asked once: the address that was judged is the one that is dialled"


async def test_a_certificate_that_is_not_the_hosts_is_not_believed(world: World) -> None:
    host = await world.host()
    world.names["second.example"] = ["127.0.0.1"]
    impostor = world.rule(host, host="second.example")
    unknown = world.rule(host, ca_file=None)
    async with opened(settings(impostor)) as (gate, port), serving(gate, world.call()):
        raw = get(host).replace(b"api.example", b"second.example")
        assert status(await say(port, raw)) == 502
    async with opened(settings(unknown)) as (gate, port), serving(gate, world.call()):
        assert status(await say(port, get(host))) == 502
    assert not host.requests


# --- the step --------------------------------------------------------------------------------------------------------


async def test_between_steps_nothing_is_let_through(world: World) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, port):
        assert status(await say(port, get(host))) == 403
        async with serving(gate, world.call()):
            assert status(await say(port, get(host))) == 200
        answer = await say(port, get(host))
        assert b"egress.between_steps" in answer
        assert len(host.requests) == 1
        async with serving(gate, world.call()):
            pass
    refusals = [facts for code, facts, _ in world.records if code == "EGRREF"]
    assert [facts["count"] for facts in refusals] == [1, 1], "told by the step that came next"
    assert {facts["cause"] for facts in refusals} == {"between_steps"}


async def test_what_a_step_began_ends_with_it(world: World) -> None:
    host = await world.host()
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        entered.set()
        await leave.wait()

    host.meanwhile = hold
    async with opened(settings(world.rule(host))) as (gate, port):
        async with serving(gate, world.call()):
            idle = await asyncio.open_connection("127.0.0.1", port)
            busy = asyncio.create_task(say(port, get(host), end=False))
            await entered.wait()
        assert await busy == b"", "cut off in mid-request"
        leave.set()
        async with serving(gate, world.call()):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await idle[0].readexactly(1)  # nobody is at the other end any more
        idle[1].close()
    assert len(host.requests) == 1


async def test_a_connection_kept_open_serves_several_requests_and_each_is_judged(world: World) -> None:
    host = await world.host()
    kept = get(host).replace(b"Connection: close\r\n", b"")
    bad = get(host, "/admin")
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        answer = await say(port, kept + kept + bad)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b"HTTP/1.1 403") == 1
    assert host.connections == 1
    assert [code for code, *_ in world.records] == ["EGRCON", "EGRCON", "EGRREF", "EGREND"]


async def test_two_steps_at_once_are_refused(world: World) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, _), serving(gate, world.call()):
        with pytest.raises(RuntimeError):
            gate.begin(world.call())


@pytest.mark.parametrize(
    ("hosts", "expected"), [(None, 200), (("api.example",), 200), (("other.example",), 403), ((), 403)]
)
async def test_the_decision_narrows_what_the_manifest_lets(
    world: World, hosts: tuple[str, ...] | None, expected: int
) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call(egress_hosts=hosts)):
        assert status(await say(port, get(host))) == expected
        connected = await tunnelled(world, gate, port, host, within(host))
        assert status(connected) == expected
    assert bool(host.requests) == (expected == 200)
    assert set(world.causes()) == (set() if expected == 200 else {"decision"})


async def test_a_decision_cannot_widen_the_manifest(world: World) -> None:
    host, other = await world.host(), await world.host("other.example")
    declared, call = settings(world.rule(host)), world.call(egress_hosts=("other.example",))
    async with opened(declared) as (gate, port), serving(gate, call):
        assert status(await say(port, get(other))) == 403
    assert other.connections == 0


# --- the record ------------------------------------------------------------------------------------------------------


async def test_a_connection_is_on_record_before_its_first_byte_leaves(world: World) -> None:
    host = await world.host()
    seen = []

    async def look() -> None:
        seen.append(list(world.codes()))

    host.meanwhile = look
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        await say(port, get(host, "/v1/people/jo@example.org?x=1"))
    assert seen == [["EGRCON"]]
    _, facts, personal = world.records[0]
    assert facts == {
        "scheme": "https", "host": "api.example", "port": host.port, "method": "GET", "path": "/v1/**",
        "how": "originated",
    }  # fmt: skip
    assert b"jo@example.org?x=1" in personal, "committed to"
    assert world.records[1][:2] == (
        "EGREND",
        {"connections": 1, "failed": 0, "refused": 0, "sent_bytes": 0, "received_bytes": 5},
    )


async def test_a_log_that_takes_nothing_stops_every_connection_and_the_step(world: World) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, port):
        statuses = []

        async def asking() -> None:
            async with serving(gate, world.call()):
                for world.full in (True, False):
                    statuses.append(status(await say(port, get(host))))

        with pytest.raises(HandError) as caught:
            await asking()
        assert caught.value.reason is Reason.LOG_UNAVAILABLE
        assert statuses == [503, 503], "a gap in the record does not close by itself"
        assert host.connections == 0
        async with serving(gate, world.call()):
            assert status(await say(port, get(host))) == 200


async def test_a_call_that_nobody_records_reaches_nothing(world: World) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, port):
        gate.begin(world.call(record=unrecorded))
        assert status(await say(port, get(host))) == 503
        with pytest.raises(Unavailable):
            await gate.end()
    assert host.connections == 0


async def test_a_jail_cannot_fill_the_log(world: World) -> None:
    host = await world.host()
    limits = EgressLimits(requests=3)
    async with opened(settings(world.rule(host), egress_limits=limits)) as (gate, port), serving(gate, world.call()):
        for number in range(30):
            await say(port, f"GET http://h{number}.example/ HTTP/1.1\r\nHost: h{number}.example\r\n\r\n".encode())
        for _ in range(10):
            await say(port, get(host))
    assert world.codes().count("EGRCON") == 3
    refused = [facts for code, facts, _ in world.records if code == "EGRREF"]
    assert [(facts["cause"], facts["count"]) for facts in refused] == [
        ("host", 1), ("requests", 1), ("host", 29), ("requests", 6),
    ]  # fmt: skip


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_requests_come_no_faster_than_they_may(world: World) -> None:
    host = await world.host()
    limits = EgressLimits(requests_per_second=0.001)
    async with opened(settings(world.rule(host), egress_limits=limits)) as (gate, port), serving(gate, world.call()):
        assert status(await say(port, get(host))) == 200
        answer = await say(port, get(host))
    assert status(answer) == 429
    assert b"Retry-After: 1" in answer
    assert len(host.requests) == 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_no_more_bytes_leave_than_may(world: World, chunked: bool) -> None:
    host = await world.host()
    limits = EgressLimits(sent_bytes=10)
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 6"
    body = b"6\r\nabcdef\r\n0\r\n\r\n" if chunked else b"abcdef"
    async with opened(settings(world.rule(host), egress_limits=limits)) as (gate, port), serving(gate, world.call()):
        raw = get(host, "/v1/x", framing, method="POST") + body
        assert status(await say(port, raw)) == 200
        assert status(await say(port, raw)) == 413
    assert host.bodies == [b"abcdef"], "nothing of the second left"


@pytest.mark.parametrize("searches", [False, True])
async def test_no_more_bytes_come_in_than_may(world: World, searches: bool) -> None:
    host = await world.host()
    host.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    limits = EgressLimits(received_bytes=1_000_000)
    secrets = {"token": {"targets": (f"https://api.example:{host.port}",)}} if searches else {}
    declared = settings(world.rule(host), egress_limits=limits, secrets=secrets)
    async with opened(declared) as (gate, port), serving(gate, world.call()):
        answer = await say(port, get(host))
    assert len(answer) < 1_200_000
    assert not answer.endswith(b"0\r\n\r\n"), "what was cut does not look whole"
    assert world.causes() == ["received"]


async def test_a_jail_holds_no_more_connections_than_it_may(world: World) -> None:
    host = await world.host()
    limits = EgressLimits(connections=2)
    async with opened(settings(world.rule(host), egress_limits=limits)) as (gate, port), serving(gate, world.call()):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in held:
            writer.write(b"GET ")
        assert status(await say(port, get(host))) == 429
        for _, writer in held:
            writer.close()
        await until(lambda: len(gate._connections) == 0)
        assert status(await say(port, get(host))) == 200
    assert "connections" in world.causes()


async def test_a_flood_of_connections_takes_no_more_of_the_gateway_than_a_jail_may_hold(world: World) -> None:
    host = await world.host()
    limits = EgressLimits(connections=2)
    async with opened(settings(world.rule(host), egress_limits=limits)) as (gate, port), serving(gate, world.call()):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        await until(lambda: len(gate._connections) == 10)
        for _, writer in held:
            writer.transport.abort()
        await until(lambda: not gate._connections)
        assert status(await say(port, get(host))) == 200


async def test_the_other_listener_serves_the_same(world: World) -> None:
    """The unix socket: for clients that speak over one."""
    host = await world.host()
    gate = EgressGate("h", settings(world.rule(host)))
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(f"\0handrail-test-{id(gate)}")
    unix.listen()
    unix.setblocking(False)
    gate.open([unix])
    async with serving(gate, world.call()):
        reader, writer = await asyncio.open_unix_connection(f"\0handrail-test-{id(gate)}")
        writer.write(get(host))
        assert status(await reader.read()) == 200
        writer.close()
    gate.close()


async def test_a_host_that_sends_hop_by_hop_headers_does_not_steer_the_jails_connection(world: World) -> None:
    host = await world.host()
    host.answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=9\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
        b'Alt-Svc: h3=":443"\r\nSet-Cookie: a=b\r\nX-Kept: 1\r\n\r\nhello'
    )
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        answer = (await say(port, get(host))).lower()
    assert b"x-kept: 1" in answer
    assert b"set-cookie: a=b" in answer, "no secret was sent, so none is in it"
    for gone in (b"keep-alive", b"x-hop", b"alt-svc", b"content-length"):
        assert gone not in answer


async def test_head_and_empty_answers_have_no_body(world: World) -> None:
    host = await world.host()
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        host.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        assert (await say(port, get(host, method="HEAD"))).endswith(b"\r\n\r\n")
        host.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        answer = await say(port, get(host))
        assert status(answer) == 204
        assert b"chunked" not in answer


@pytest.mark.parametrize("within_tunnel", [False, True])
async def test_whoever_hangs_up_before_the_answer_is_on_record(world: World, within_tunnel: bool) -> None:
    """A jail that looks for what it may reach does not hide it so."""
    host = await world.host()
    tunnel = f"CONNECT {host.name}:{host.port} HTTP/1.1\r\n\r\n".encode()
    gate = EgressGate("h", settings(world.rule(host)))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")  # an abstract name of the kernel's choice
    listener.listen(8)
    listener.setblocking(False)
    gate.open([listener])
    try:
        async with serving(gate, world.call()):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, listener.getsockname())
            if within_tunnel:
                await loop.sock_sendall(client, tunnel)
                assert (await loop.sock_recv(client, 200)).startswith(b"HTTP/1.1 200")
                await loop.sock_sendall(client, within(host, "/admin"))
            else:
                await loop.sock_sendall(client, get(host, "/admin"))
            client.close()
            await until(lambda: not gate._connections and world.causes() == ["path"])
    finally:
        gate.close()
    assert not host.requests
