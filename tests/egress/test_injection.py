"""Secrets and step credentials that the proxy adds, and what comes back of them."""

from typing import Any

import pytest

from gateway.calls import Injections
from gateway.errors import Unavailable
from gateway.reach import SecretPlace, SecretUse
from gateway.reasons import Reason
from gateway.settings import EgressLimits, EgressSettings, HandSettings, SettingsError
from hand_adapters import annotate
from hand_adapters.egress import serving
from tests.egress.world import Host, World, get, opened, say, settings, status


def with_secret(world: World, host: Host, **changes: Any) -> HandSettings:
    secrets = {"token": {"targets": (f"https://{host.name}:{host.port}",)}}
    return settings(world.rule(host), secrets=secrets, **changes)


async def test_a_secret_takes_the_place_of_what_the_jail_put_there(world: World) -> None:
    host = await world.host()
    world.injected = {"X-Api-Key": "real"}
    async with opened(with_secret(world, host)) as (gate, port), serving(gate, world.call()):
        sent = get(host, "/v1/x", "x-api-key: forged", "X-API-KEY: forged too")
        assert status(await say(port, sent)) == 200
    assert host.header("x-api-key") == ["real"]
    assert world.asked_for == [("https", "api.example", host.port, "GET", "/v1/x")], "host, method and path"


@pytest.mark.parametrize(
    "header",
    [
        "x_api_key: forged",
        "X_Api-Key: forged",
        "x.api.key: forged",
        "X-Forwarded-Client-Cert: forged",
        "X_Forwarded_For: forged",
        "Proxy_Authorization: forged",
        "Transfer_Encoding: forged",
        "Content_Length: forged",
    ],
)
async def test_another_spelling_of_a_header_is_that_header(world: World, header: str) -> None:
    """CGI, WSGI and their kin know headers as variables, in which both are one; some take the last, some the first."""
    host = await world.host()
    world.injected = {"X-Api-Key": "real"}
    async with opened(with_secret(world, host)) as (gate, port), serving(gate, world.call()):
        assert status(await say(port, get(host, "/v1/x", header, "x_mine: 1"))) == 200
    assert b"forged" not in host.requests[0]
    assert host.header("x-api-key") == ["real"]
    assert host.header("x_mine") == ["1"]


async def test_a_request_that_fills_the_parameter_of_a_secret_is_refused(world: World) -> None:
    host = await world.host()

    async def inject(*_: Any) -> Injections:
        return Injections({}, {"key": "re al"})

    async with opened(with_secret(world, host)) as (gate, port), serving(gate, world.call(inject=inject)):
        for query in ("key=x", "a=b&key=", "%6bey=x", "a=b;key=x", "KEY=x", "key%5B0%5D=x"):
            answer = await say(port, get(host, f"/v1/x?{query}"))
            assert (status(answer), b"egress.parameter" in answer) == (400, True), query
        assert not host.requests
        assert status(await say(port, get(host, "/v1/x?a=b"))) == 200
        assert status(await say(port, get(host, "/v1/x"))) == 200
    assert [request.split(b" ")[1] for request in host.requests] == [b"/v1/x?a=b&key=re%20al", b"/v1/x?key=re%20al"]


async def test_where_a_secret_cannot_be_had_nothing_leaves(world: World) -> None:
    host = await world.host()

    async def inject(*_: Any) -> Injections:
        raise Unavailable(Reason.SECRET_UNAVAILABLE, "store is away")

    async with opened(with_secret(world, host)) as (gate, port), serving(gate, world.call(inject=inject)):
        answer = await say(port, get(host))
    assert (status(answer), b"egress.secret" in answer, b"store" in answer) == (502, True, False)
    assert host.connections == 0
    assert world.codes() == ["EGRREF"]


async def test_what_a_host_says_of_a_secret_does_not_reach_the_jail(world: World) -> None:
    host = await world.host()
    world.injected, world.searched = {"Authorization": "Bearer hush-hush"}, {"hush-hush": "[secret]"}
    body = b'{"you": "hush-hush", "n": "\xc3\xa9\xff"}'
    host.answer = (
        b"HTTP/1.1 200 OK\r\nX-Echo: hush-hush\r\nX-Fine: 1\r\nSet-Cookie: session=1\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    async with opened(with_secret(world, host)) as (gate, port), serving(gate, world.call()):
        answer = await say(port, get(host))
    head, _, said = answer.partition(b"\r\n\r\n")
    assert said == b'{"you": "[secret]", "n": "\xc3\xa9\xff"}', "and the other bytes are as they were"
    assert b"hush" not in answer
    assert b"X-Fine: 1" in head
    assert b"X-Echo" not in head
    assert b"Set-Cookie" not in head, "a session that was opened with a secret stands for it"
    assert f"Content-Length: {len(said)}".encode() in head


async def test_a_jail_cannot_have_an_echo_in_halves(world: World) -> None:
    host = await world.host()
    async with opened(with_secret(world, host)) as (gate, port), serving(gate, world.call()):
        await say(port, get(host, "/v1/x", "Range: bytes=0-3", 'If-Range: "a"'))
    assert host.header("range") == host.header("if-range") == []
    async with opened(settings(world.rule(host))) as (gate, port), serving(gate, world.call()):
        await say(port, get(host, "/v1/x", "Range: bytes=0-3"))
    assert host.header("range") == ["bytes=0-3"], "without secrets there is nothing to search for"


@pytest.mark.parametrize("coding", ["gzip", "br", "x-own"])
async def test_an_answer_that_cannot_be_read_is_not_given(world: World, coding: str) -> None:
    host = await world.host()
    world.injected = {"Authorization": "Bearer hush-hush"}
    host.answer = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: 5\r\n\r\nhello".encode()
    async with opened(with_secret(world, host)) as (gate, port), serving(gate, world.call()):
        answer = await say(port, get(host))
    assert (status(answer), b"egress.unsearchable" in answer, b"hello" in answer) == (502, True, False)


async def test_an_answer_that_is_too_long_to_be_searched_is_not_given(world: World) -> None:
    host = await world.host()
    host.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    declared = with_secret(world, host, egress_limits=EgressLimits(searched_bytes=1024))
    async with opened(declared) as (gate, port), serving(gate, world.call()):
        answer = await say(port, get(host))
    assert (status(answer), b"egress.unsearchable" in answer, b"xxx" in answer) == (502, True, False)


async def test_that_an_echo_cannot_be_put_on_record_withholds_the_answer(world: World) -> None:
    host = await world.host()

    async def search(_: str) -> str:
        raise Unavailable(Reason.LOG_UNAVAILABLE, "disk full")

    async with opened(with_secret(world, host)) as (gate, port), serving(gate, world.call(search=search)):
        answer = await say(port, get(host))
    assert (status(answer), b"hello" in answer) == (503, False)


async def test_a_host_that_checks_step_credentials_gets_one_and_a_proof_of_each_request(world: World) -> None:
    host = await world.host()
    declared = settings(world.rule(host, credential=True))
    async with opened(declared) as (gate, port), serving(gate, world.call()):
        sent = get(host, "/v1/x?a=b", "Authorization: DPoP forged", "DPoP: forged", method="POST")
        assert status(await say(port, sent)) == 200
    assert host.header("authorization") == ["DPoP secret-step-credential"]
    assert host.header("dpop") == [f"proof POST https://api.example:{host.port}/v1/x?a=b"]


async def test_a_secret_in_its_place_displaces_the_step_credential(world: World) -> None:
    host = await world.host()
    world.injected = {"Authorization": "Bearer real"}
    secrets = {"token": {"targets": (f"https://{host.name}:{host.port}",)}}
    declared = settings(world.rule(host, credential=True), secrets=secrets)
    async with opened(declared) as (gate, port), serving(gate, world.call()):
        assert status(await say(port, get(host))) == 200
    assert host.header("authorization") == ["Bearer real"]
    assert host.header("dpop") == []


def test_a_secret_that_is_bound_to_methods_and_paths_fits_no_other_request() -> None:
    use = SecretUse("t", "sealed", SecretPlace.BEARER, ("https://a.example:443",), methods=("GET",), paths=("/v1/**",))
    assert use.fits("https://a.example:443", "GET", "/v1/x")
    for origin, method, path in (
        ("https://b.example:443", "GET", "/v1/x"),
        ("http://a.example:443", "GET", "/v1/x"),
        ("https://a.example:443", "POST", "/v1/x"),
        ("https://a.example:443", "GET", "/v2/x"),
        ("https://a.example:443", "", ""),
    ):
        assert not use.fits(origin, method, path)
    assert SecretUse.from_document(use.document()) == use
    free = SecretUse("t", "sealed", SecretPlace.BEARER, ("https://a.example:443",))
    assert free.fits("https://a.example:443", "", "")
    assert "methods" not in free.document(), "what was pinned before keeps its digest"


RULE = {"host": "api.example", "paths": ("/v1/**",)}


@pytest.mark.parametrize(
    ("rules", "secrets", "words"),
    [
        ([RULE], {"t": {"targets": ("https://other.example",)}}, "no rule of egress"),
        ([RULE], {"t": {"targets": ("http://api.example",)}}, "no rule of egress"),
        ([{"host": "api.example", "blind": True}], {"t": {"targets": ("https://api.example",)}}, "no rule of egress"),
        ([RULE], {"t": {}}, "name its targets"),
        ([RULE, {"host": "api.example", "blind": True}], {}, "is blind in one rule"),
        ([{**RULE, "host": "169.254.169.254"}], {}, "does not dial"),
        ([{**RULE, "host": "127.0.0.1"}], {}, "does not dial"),
    ],
)  # fmt: skip
def test_a_declaration_that_could_not_be_kept_stops_the_start(
    rules: list[dict[str, Any]], secrets: dict[str, Any], words: str
) -> None:
    declared = settings(*(EgressSettings(**rule) for rule in rules), secrets=secrets)
    with pytest.raises(SettingsError) as caught:
        annotate.manifest("h", declared, ())
    assert words in caught.value.detail


@pytest.mark.parametrize(
    "rule",
    [
        {"host": "api.example"},
        {"host": "API.example", "paths": ("/",)},
        {"host": "*.example", "paths": ("/",)},
        {"host": "api.example:443", "paths": ("/",)},
        {"host": "https://api.example", "paths": ("/",)},
        {"host": "", "paths": ("/",)},
        {"host": "a.example", "paths": ("v1",)},
        {"host": "a.example", "paths": ("/../x",)},
        {"host": "a.example", "paths": ("/a//b",)},
        {"host": "a.example", "paths": ("/**/a",)},
        {"host": "a.example", "paths": ("/a%2e",)},
        {"host": "a.example", "paths": ("/a?b",)},
        {"host": "a.example", "paths": ("/",), "methods": ("CONNECT",)},
        {"host": "a.example", "paths": ("/",), "methods": ()},
        {"host": "a.example", "paths": ("/",), "scheme": "http"},
        {"host": "a.example", "blind": True, "paths": ("/",)},
        {"host": "a.example", "blind": True, "methods": ("GET",)},
        {"host": "a.example", "blind": True, "credential": True},
        {"host": "a.example", "blind": True, "scheme": "http", "private_network": True},
        {"host": "93.184.216.34", "blind": True},
    ],
)
def test_a_rule_that_says_two_things_or_none_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"paths|host|methods|blind|http"):
        EgressSettings(**rule)


def test_what_a_jail_may_reach_is_part_of_what_is_pinned() -> None:
    digests = set()
    for changes in ({}, {"methods": ("GET",)}, {"paths": ("/**",)}, {"port": 8443}, {"credential": True},
                    {"private_network": True}, {"host": "b.example"}):  # fmt: skip
        made = annotate.manifest("h", settings(EgressSettings(**{**RULE, **changes})), ())
        digests.add(made.digest)
        assert type(made).from_document(made.document()) == made
    assert len(digests) == 7
    assert annotate.manifest("h", settings(), ()).document().keys().isdisjoint({"egress"})


@pytest.mark.parametrize("adapter", ["http", "remote"])
def test_only_a_hand_that_runs_in_a_jail_names_what_its_jail_reaches(adapter: str) -> None:
    with pytest.raises(ValueError, match="egress"):
        HandSettings(adapter=adapter, base_url="https://a.example", egress=(EgressSettings(**RULE),))
