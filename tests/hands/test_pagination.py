"""Answers in pages: every way to find the next one, and answers that would have the gateway go somewhere else."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from gateway.calls import HandResult, Injections
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings
from hand_adapters.contract import HandError
from hand_adapters.http import HttpAdapter
from hand_adapters.http.pages import next_link
from hand_adapters.schemas import Checker
from tests.hands.hands_support import call

ANY = {"type": "object", "additionalProperties": True}
PAGE = {
    "type": "object",
    "properties": {"data": {"type": "array", "items": {"$ref": "#/$defs/item"}}},
    "required": ["data"],
    "$defs": {"item": {"type": "integer"}},
}
LINK = {"by": "link"}
CURSOR = {"by": "cursor", "parameter": "after", "cursor": "/meta/next"}
COUNTED = {"by": "page", "parameter": "page", "items": "/data"}
OFFSET = {"by": "offset", "parameter": "offset", "items": "/data"}
Handler = Callable[[web.Request], Awaitable[web.Response]]


@pytest.fixture
async def paged():
    """``await paged(handler, pagination)`` -> ``run(args, **call changes)``, and the paths that were asked for."""
    cleanup = []

    async def make(handler: Handler, pagination: dict[str, Any], **more: Any) -> SimpleNamespace:
        seen: list[str] = []

        async def noting(request: web.Request) -> web.Response:
            seen.append(request.path_qs)
            return await handler(request)

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", noting)
        runner = web.AppRunner(application)
        await runner.setup()
        cleanup.append(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        action = {"method": "GET", "path": "/items", "args_schema": ANY, "result_schema": PAGE, "side_effects": "none"}
        values = {"base_url": f"{url}/v1", "private_network": True, **more}
        settings = HandSettings(adapter="http", actions={"list": {**action, "pagination": pagination}}, **values)
        HttpAdapter.validate("api", settings)
        adapter = HttpAdapter("api", settings, None)
        cleanup.append(adapter.close)
        manifest = await adapter.manifest()

        async def run(args: dict[str, Any] | None = None, **changes: Any) -> HandResult:
            return await adapter.run(call("api", "list", args or {}, manifest.digest, **changes))

        return SimpleNamespace(run=run, seen=seen, url=url, manifest=manifest)

    yield make
    for close in reversed(cleanup):
        await close()


async def refused(awaitable: Awaitable[Any]) -> tuple[Reason, HandFailure]:
    with pytest.raises(HandError) as caught:
        await awaitable
    return caught.value.reason, caught.value.failure


PROTOCOL = (Reason.HAND_PROTOCOL, HandFailure.EXECUTED)


async def test_links_are_followed_to_the_last_page(paged) -> None:
    async def answer(request: web.Request) -> web.Response:
        page = int(request.query.get("page", "1"))
        links = f'<{request.url.with_query({"page": str(page + 1)})}>; rel="next"' if page < 3 else ""
        return web.json_response({"data": [page]}, headers={"Link": f'</v1/items>; rel="first", {links}'.strip(", ")})

    api = await paged(answer, LINK)
    result = await api.run({"q": "a b"})
    assert result.structured == {"pages": [{"data": [1]}, {"data": [2]}, {"data": [3]}], "complete": True}
    assert api.seen == ["/v1/items?q=a%20b", "/v1/items?page=2", "/v1/items?page=3"]
    assert not Checker(api.manifest.actions["list"].result_schema).problems(result.structured)
    assert Checker(api.manifest.actions["list"].result_schema).problems({"pages": [{"data": ["x"]}], "complete": True})


async def test_a_cursor_is_put_into_its_parameter(paged) -> None:
    cursors = {None: "a&b=c", "a&b=c": 7, "7": None}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"data": [], "meta": {"next": cursors[request.query.get("after")]}})

    api = await paged(answer, CURSOR)
    assert (await api.run({"q": "x"})).structured["complete"] is True
    assert api.seen == ["/v1/items?q=x", "/v1/items?q=x&after=a%26b%3Dc", "/v1/items?q=x&after=7"]


@pytest.mark.parametrize(
    ("pagination", "args", "asked"),
    [
        (COUNTED, {}, ["", "?page=2", "?page=3"]),
        (COUNTED | {"first": 0}, {}, ["", "?page=1", "?page=2"]),
        (COUNTED, {"page": 5}, ["?page=5", "?page=6", "?page=7"]),
        (OFFSET, {}, ["", "?offset=2", "?offset=4"]),
        (OFFSET, {"offset": 10}, ["?offset=10", "?offset=12", "?offset=14"]),
    ],
)
async def test_pages_and_offsets_are_counted_until_one_is_empty(paged, pagination, args, asked) -> None:
    left = [[1, 2], [3, 4], []]

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"data": left.pop(0)})

    api = await paged(answer, pagination)
    assert (await api.run(args)).structured == {
        "pages": [{"data": [1, 2]}, {"data": [3, 4]}, {"data": []}],
        "complete": True,
    }
    assert api.seen == [f"/v1/items{query}" for query in asked]


async def test_pages_end_at_the_declared_number_and_the_result_says_so(paged) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"data": [1]})

    api = await paged(answer, COUNTED | {"pages_max": 4})
    result = await api.run()
    assert (len(result.structured["pages"]), result.structured["complete"]) == (4, False)
    assert len(api.seen) == 4


ELSEWHERE = {
    "another host": "https://evil.example/v1/items?page=2",
    "another scheme": "https://127.0.0.1:{port}/v1/items?page=2",
    "another port": "http://127.0.0.1:1/v1/items",
    "no scheme": "//evil.example/v1/items",
    "a host behind a name": "http://127.0.0.1:{port}@evil.example/v1/items",
    "a name and a password": "http://a:b@127.0.0.1:{port}/v1/items",
    "above the base": "/admin",
    "beside the base": "/v1evil/items",
    "a climb": "/v1/../admin",
    "a hidden climb": "/v1/%2e%2e/admin",
    "a hidden slash": "/v1/a%2f..%2f..%2fadmin",
    "a backslash": "/v1/..\\admin",
    "a file": "file:///etc/passwd",
    "cloud metadata": "http://169.254.169.254/v1/items",
    "a line break": "/v1/items?a=\t2",
    "no URL": "http://[::1/v1",
}


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_no_link_leads_the_gateway_somewhere_else(paged, name: str) -> None:
    given: list[tuple[str, str, int, str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        target = ELSEWHERE[name].format(port=request.url.port)
        return web.json_response({"data": [1]}, headers={"Link": f'<{target}>; rel="next"'})

    async def inject(scheme: str, host: str, port: int, method: str, path: str) -> Injections:
        given.append((scheme, host, port, method, path))
        return Injections(headers={"X-Key": "the secret"})

    api = await paged(answer, LINK)
    assert await refused(api.run(inject=inject)) == PROTOCOL
    assert api.seen == ["/v1/items"]
    assert [(method, path) for *_, method, path in given] == [("GET", "/v1/items")], "no other request was to be sent"


async def test_each_page_is_given_credential_proof_and_secrets_of_its_own(paged) -> None:
    proofs: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        proofs.append(request.headers.get("DPoP"))
        key = request.query.getall("key")
        more = {"Link": f'</v1/items?page=2&key={key[0]}&x=a+b%FF>; rel="next"'} if len(proofs) == 1 else {}
        return web.json_response({"data": [len(key)]}, headers=more)

    async def inject(scheme: str, host: str, port: int, method: str, path: str) -> Injections:
        return Injections(query={"key": "s3cret"})

    secrets = {"k": {"place": "query", "parameter": "key"}}
    api = await paged(answer, LINK, secrets=secrets)
    result = await api.run(inject=inject)
    assert [page["data"] for page in result.structured["pages"]] == [[1], [1]]
    assert api.seen == ["/v1/items?key=s3cret", "/v1/items?page=2&x=a%20b%FF&key=s3cret"]
    assert proofs == [f"proof GET {api.url}/v1/items", f"proof GET {api.url}/v1/items?page=2&x=a%20b%FF"]


async def test_a_page_that_fails_is_the_result(paged) -> None:
    async def answer(request: web.Request) -> web.Response:
        if "page" in request.query:
            return web.json_response({"error": "gone"}, status=410)
        return web.json_response({"data": [1]})

    result = await (await paged(answer, COUNTED)).run()
    assert (result.is_error, result.structured) == (True, {"status": 410})


async def test_all_pages_together_stay_within_the_bytes_of_one_result(paged) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"data": [1], "filler": "x" * 300})

    api = await paged(answer, COUNTED | {"pages_max": 100})
    expected = (Reason.HAND_RESULT_TOO_LARGE, HandFailure.EXECUTED)
    assert await refused(api.run(result_max_bytes=1000)) == expected
    assert len(api.seen) == 4


async def test_pages_that_go_in_a_circle_end(paged) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"data": [1]}, headers={"Link": '</v1/items>; rel="next"'})

    api = await paged(answer, LINK)
    assert await refused(api.run()) == PROTOCOL
    assert api.seen == ["/v1/items"]


@pytest.mark.parametrize(
    ("pagination", "document"),
    [
        (COUNTED, {"items": [1]}),
        (COUNTED, {"data": {"a": 1}}),
        (COUNTED, []),
        (CURSOR, {"meta": {"next": {"a": 1}}}),
        (CURSOR, {"meta": {"next": True}}),
        (CURSOR, {"meta": {"next": "x" * 5000}}),
        (CURSOR, {"meta": {"next": 1.5}}),
    ],
)
async def test_an_answer_that_is_not_as_declared_is_refused(paged, pagination, document) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(document)

    assert await refused((await paged(answer, pagination)).run()) == PROTOCOL


async def test_a_page_that_is_no_json_is_refused(paged) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="a page")

    assert await refused((await paged(answer, COUNTED)).run()) == PROTOCOL


async def test_a_secret_that_is_gone_after_the_first_page_does_not_undo_it(paged) -> None:
    asked: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"data": [1]})

    async def inject(scheme: str, host: str, port: int, method: str, path: str) -> Injections:
        asked.append(port)
        if len(asked) > 1:
            raise HandError(Reason.SECRET_MISSING, HandFailure.NOT_EXECUTED, "gone")
        return Injections()

    api = await paged(answer, COUNTED)
    assert await refused(api.run(inject=inject)) == (Reason.SECRET_MISSING, HandFailure.EXECUTED)


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("", None),
        ('</a>; rel="next"', "/a"),
        ("</a>;rel=next", "/a"),
        ('</a>; rel="prev", </b>; rel="next"', "/b"),
        ('</a>; title="x, rel=\\"next\\""; rel=prev, </b?c=1,2>; REL="last NEXT"', "/b?c=1,2"),
        ('</a>; rel="prev"; rel="next"', None),
        ("</a>; next", None),
        ("</a>, </b>; rel=next,", "/b"),
        ("<>; rel=next", ""),
    ],
)
def test_a_link_header_is_read_as_the_standard_says(header: str, target: str | None) -> None:
    assert next_link(header) == target


@pytest.mark.parametrize(
    "header",
    ["/a; rel=next", "</a", '</a>; rel="next', "</a> rel=next", "</a>; rel=next, </b>; rel=next", "<" * 9000],
)
def test_a_link_header_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(HandError) as caught:
        next_link(header)
    assert (caught.value.reason, caught.value.failure) == PROTOCOL
