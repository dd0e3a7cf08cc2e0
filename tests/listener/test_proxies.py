"""Headers of proxies: what a declared one says is believed, and what a client says is not."""

from typing import Any

import pytest

from gateway.settings import ServerSettings
from gateway.web.context import CERTIFICATE, source_of
from gateway.web.proxies import HOPS_MAX, address, listener_problem, loopback
from tests.listener.proxied import PROXY, passed, server

OTHER = "203.0.113.9"
CLIENT = "198.51.100.7"


def test_certificates_are_said_by_declared_proxies_alone() -> None:
    with pytest.raises(ValueError, match="trusted_proxies"):
        ServerSettings(proxy_client_certificates=True)


FOR = "X-Forwarded-For"

CASES = {
    "one": (PROXY, [(FOR, CLIENT)], CLIENT),
    "the client's own word stands left of the proxy's": (PROXY, [(FOR, f"1.1.1.1, {CLIENT}")], CLIENT),
    "a chain of declared ones": (PROXY, [(FOR, f"1.1.1.1, {CLIENT}, 10.0.0.7,10.0.0.8")], CLIENT),
    "declared ones alone": (PROXY, [(FOR, "10.0.0.5, 10.0.0.6")], "10.0.0.5"),
    "a client that claims to be a proxy": (PROXY, [(FOR, f"10.0.0.9, {CLIENT}")], CLIENT),
    "two headers are one list": (PROXY, [(FOR, "1.1.1.1"), (FOR, CLIENT)], CLIENT),
    "no header": (PROXY, [], PROXY),
    "an empty one": (PROXY, [(FOR, "")], PROXY),
    "junk": (PROXY, [(FOR, f"{CLIENT}, <script>")], PROXY),
    "junk behind a proxy": (PROXY, [(FOR, "unknown, 10.0.0.2")], "10.0.0.2"),
    "nothing between commas": (PROXY, [(FOR, f"{CLIENT},,")], PROXY),
    "a port": (PROXY, [(FOR, f"{CLIENT}:4711")], CLIENT),
    "a port that is none": (PROXY, [(FOR, f"{CLIENT}:x")], PROXY),
    "IPv6 and a port": (PROXY, [(FOR, "[2001:db8::7]:4711")], "2001:db8::7"),
    "IPv6": (PROXY, [(FOR, "2001:db8::7")], "2001:db8::7"),
    "a scope": (PROXY, [(FOR, "fe80::1%eth0")], PROXY),
    "an IPv4 address as IPv6 has it": (PROXY, [(FOR, f"{CLIENT}, ::ffff:10.0.0.3")], CLIENT),
    "a proxy that connects so": (f"::ffff:{PROXY}", [(FOR, CLIENT)], CLIENT),
    "a proxy over IPv6": ("2001:db8::1", [(FOR, CLIENT)], CLIENT),
    "a leading zero": (PROXY, [(FOR, "10.0.0.010")], PROXY),
    "the other family": (PROXY, [("Forwarded", f"for={CLIENT}")], PROXY),
    "more hops than are looked at": (PROXY, [(FOR, ",".join([CLIENT] + ["10.0.0.2"] * HOPS_MAX))], "10.0.0.2"),
    "as many as are": (PROXY, [(FOR, ",".join([CLIENT] + ["10.0.0.2"] * (HOPS_MAX - 1)))], CLIENT),
    "an undeclared peer": (OTHER, [(FOR, CLIENT)], OTHER),
    "a neighbour of the declared": ("10.0.1.1", [(FOR, CLIENT)], "10.0.1.1"),
    "loopback, undeclared": ("127.0.0.1", [(FOR, CLIENT)], "127.0.0.1"),
}


@pytest.mark.parametrize(("peer", "headers", "client"), CASES.values(), ids=CASES)
async def test_the_rightmost_address_that_no_declared_proxy_has_is_the_client(
    peer: str, headers: list[tuple[str, str]], client: str
) -> None:
    assert (await passed(peer, *headers))["client"][0] == client


FORWARDED = {
    "one": (f"for={CLIENT}", CLIENT, "http"),
    "with a scheme": (f"for={CLIENT};proto=https;by=10.0.0.1", CLIENT, "https"),
    "quoted IPv6": ('for="[2001:db8::7]:4711"', "2001:db8::7", "http"),
    "capitals": (f"FOR={CLIENT};PROTO=HTTPS", CLIENT, "https"),
    "a chain": (f'for=1.1.1.1, for={CLIENT};proto=https, for="10.0.0.2:99";proto=http', CLIENT, "http"),
    "hidden": (f"for={CLIENT}, for=_hidden", PROXY, "http"),
    "unknown": (f"for={CLIENT}, for=unknown", PROXY, "http"),
    "twice in one": (f"for={CLIENT};for=1.1.1.1", PROXY, "http"),
    "a comma in quotes": (f'for={CLIENT};host="a, for=1.1.1.1"', CLIENT, "http"),
    "quotes left open": (f'for={CLIENT};host="a, for=1.1.1.1', PROXY, "http"),
    "an escaped quote": (f'for={CLIENT};host="a\\", for=1.1.1.1"', CLIENT, "http"),
    "no for": ("proto=https", PROXY, "https"),
    "junk": ("%%%", PROXY, "http"),
    "empty": ("", PROXY, "http"),
}


@pytest.mark.parametrize(("value", "client", "scheme"), FORWARDED.values(), ids=FORWARDED)
async def test_forwarded_is_read_where_it_is_configured(value: str, client: str, scheme: str) -> None:
    settings = server(proxy_headers="forwarded")
    found = await passed(PROXY, ("Forwarded", value), (FOR, "1.1.1.1"), settings=settings)
    assert (found["client"][0], found["scheme"]) == (client, scheme)


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ([("X-Forwarded-Proto", "https")], "https"),
        ([("X-Forwarded-Proto", "HTTPS ")], "https"),
        ([("X-Forwarded-Proto", "https,http")], "http"),
        ([("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "https")], "http"),
        ([("X-Forwarded-Proto", "javascript")], "http"),
        ([], "http"),
    ],
)
async def test_one_scheme_is_believed(headers: list[tuple[str, str]], scheme: str) -> None:
    assert (await passed(PROXY, *headers))["scheme"] == scheme
    assert (await passed("127.0.0.1", *headers))["scheme"] == "http"


async def test_a_flood_through_a_proxy_has_as_many_sources_as_it_has_clients() -> None:
    sources = {source_of(await passed(PROXY, (FOR, f"203.0.113.{host}"))) for host in range(5)}
    assert len(sources) == 5
    spoofed = {source_of(await passed(OTHER, (FOR, f"203.0.113.{host}"))) for host in range(5)}
    assert spoofed == {OTHER}


async def test_without_declared_proxies_nothing_is_believed() -> None:
    found = await passed(PROXY, (FOR, CLIENT), ("X-Forwarded-Proto", "https"), settings=ServerSettings())
    assert (found["client"][0], found["scheme"]) == (PROXY, "http")


@pytest.mark.parametrize(
    ("peer", "path", "tls", "let_in"),
    [
        (OTHER, "/v1/plans", False, False),
        (OTHER, "/login", False, False),
        (OTHER, "/v1/steps/0123/result", False, False),
        (OTHER, "/v1/policy/remote/notify", False, False),
        (OTHER, "/healthz", False, True),
        (OTHER, "/log/tile/0/000", False, True),
        (OTHER, "/v1/plans", True, True),
        (PROXY, "/v1/plans", False, True),
        ("127.0.0.1", "/v1/plans", False, True),
        (None, "/v1/plans", False, True),
        ("testclient", "/v1/plans", False, False),
    ],
)
async def test_who_comes_past_the_proxy_in_clear_is_refused(peer: str, path: str, tls: bool, let_in: bool) -> None:
    pair = {"certificate": "a", "key": "b"} if tls else None
    found = await passed(peer, settings=server(host="0.0.0.0", tls=pair), path=path)
    if let_in:
        assert "sent" not in found
    else:
        assert found["sent"][0]["status"] == 403
        assert b"request.insecure" in found["sent"][1]["body"]


async def test_a_proxys_own_certificate_is_not_its_clients() -> None:
    found = await passed(PROXY, (FOR, CLIENT), **{CERTIFICATE: "the proxy's"})
    assert CERTIFICATE not in found
    assert (await passed(OTHER, **{CERTIFICATE: "a client's"}))[CERTIFICATE] == "a client's"


@pytest.mark.parametrize(
    ("host", "settings", "refused"),
    [
        ("127.0.0.1", {}, False),
        ("127.9.9.9", {}, False),
        ("::1", {}, False),
        ("::ffff:127.0.0.1", {}, False),
        ("localhost", {}, False),
        ("0.0.0.0", {}, True),
        ("::", {}, True),
        ("192.0.2.1", {}, True),
        ("db.lan", {}, True),
        ("localhost.evil.example", {}, True),
        ("", {}, True),
        ("0.0.0.0", {"public_url": "https://gateway.example"}, True),
        ("0.0.0.0", {"trusted_proxies": ["10.0.0.1"]}, False),
        ("0.0.0.0", {"tls": {"certificate": "a", "key": "b"}}, False),
    ],
)
def test_a_listener_beyond_loopback_takes_tls_or_a_proxy(host: str, settings: dict[str, Any], refused: bool) -> None:
    problem = listener_problem(ServerSettings.model_validate({"host": host, **settings}))
    assert (problem is not None) is refused
    assert not refused or not loopback(host)


@pytest.mark.parametrize("text", ["", " ", "1.2.3", "1.2.3.4.5", "0x7f.1", "[::1", "::1]", "[::1]x", "1.2.3.4:", "a:1"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert address(text) is None


@pytest.mark.parametrize("network", ["10.0.0.1/24", "proxy.lan", "10.0.0.0/33", "", "0.0.0.0/0", "::/0"])
def test_a_network_that_is_none_is_refused_at_the_start(network: str) -> None:
    with pytest.raises(ValueError, match="trusted_proxies"):
        ServerSettings.model_validate({"trusted_proxies": [network]})
