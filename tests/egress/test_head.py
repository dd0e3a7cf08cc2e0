"""Requests that two readers could take for different ones are no requests."""

from posixpath import normpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.reach import path_matches
from hand_adapters.egress.causes import Cause, Denied
from hand_adapters.egress.head import authority, chunk_size, parse, split

START = b"POST http://a.example/v1 HTTP/1.1\r\nHost: a.example\r\n"


def refused(raw: bytes) -> bool:
    with pytest.raises(Denied) as caught:
        parse(raw)
    return caught.value.cause is Cause.MALFORMED


def test_a_plain_request_is_read_as_it_is() -> None:
    head = parse(START + b"X-A:  b \r\nContent-Length: 3\r\n\r\n")
    assert (head.method, head.target, head.length) == ("POST", "http://a.example/v1", 3)
    assert head.all("x-a") == ["b"]
    assert parse(START + b"Transfer-Encoding: chunked\r\n\r\n").length is None


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 9999999999999999\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X-A: b\r\n folded: c\r\n",
        b"X-A: b\r\n\tfolded\r\n",
        b"X-A: b\nX-B: c\r\n",
        b"X-A: b\rX-B: c\r\n",
        b"X-A: b\x00c\r\n",
        b"X-A: \xc3\xa9\r\n",
        b": b\r\n",
        b"no colon\r\n",
        b"X(A): b\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: close, Upgrade\r\n",
        b"Trailer: X-A\r\n",
        b"Expect: something\r\n",
        b"X-HTTP-Method-Override: DELETE\r\n",
        b"X_HTTP_Method_Override: DELETE\r\n",
        b"X.HTTP-Method_Override: DELETE\r\n",
        b"X-Original-URL: /admin\r\n",
        b"X_Original_URL: /admin\r\n",
        b"X-Rewrite-URL: /admin\r\n",
        b"X: y\r\n" * 101,
        b"X: " + b"y" * 17_000 + b"\r\n",
    ],
)  # fmt: skip
def test_smuggling_folding_overriding_and_flooding_are_refused(lines: bytes) -> None:
    assert refused(START + lines + b"\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://a.example/ HTTP/1.0",
        b"GET http://a.example/ HTTP/2.0",
        b"GET http://a.example/",
        b"GET  http://a.example/ HTTP/1.1",
        b"GET\thttp://a.example/ HTTP/1.1",
        b"get http://a.example/ HTTP/1.1",
        b"TRACE http://a.example/ HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"GET http://a.example/ HTTP/1.1 ",
        b" GET http://a.example/ HTTP/1.1",
        b"GET http://a.example/\xff HTTP/1.1",
        b"GET http://a.example/" + b"a" * 9000 + b" HTTP/1.1",
        b"",
    ],
)
def test_a_first_line_that_is_not_plain_is_refused(line: bytes) -> None:
    assert refused(line + b"\r\nHost: a.example\r\n\r\n")


def test_a_body_where_none_belongs_is_refused() -> None:
    for method in (b"GET", b"HEAD", b"CONNECT"):
        assert refused(method + b" http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\n")
        assert refused(method + b" http://a.example/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_only_connect_may_be_of_the_older_protocol() -> None:
    assert parse(b"CONNECT a.example:443 HTTP/1.0\r\n\r\n").method == "CONNECT"


@pytest.mark.parametrize(
    "target",
    [
        "", "*", "v1", "http://a.example/", "//evil.example/v1", "/v1//x", "/v1/../admin", "/v1/./x", "/v1/..", "/.",
        "/v1/%2e%2e/admin", "/v1/%2E./x", "/v1/%2f..%2fadmin", "/v1%2Fadmin", "/v1%5cadmin", "/v1\\admin", "/v1;x=1",
        "/v1/..;/admin", "/v1%3bx", "/v1/%252e%252e/x", "/v1/%25", "/v1/%", "/v1/%zz", "/v1/%0d%0ax", "/v1/%00",
        "/v1/%7f", "/v1/%41", "/v1#x", "/v1%23x", "/v1%3fx", "/v1/x?a=<", "/v1/x?a=#b", "/v1/x?%", "/v1/\u00e9",
        "/v1/%c0%ae%c0%ae/admin", "/v1/..%c0%afadmin", "/v1/%e0%80%afadmin", "/v1/%ff",
    ],
)  # fmt: skip
def test_a_path_with_a_second_spelling_is_refused(target: str) -> None:
    with pytest.raises(Denied) as caught:
        split(target)
    assert caught.value.cause is Cause.MALFORMED


@pytest.mark.parametrize("target", ["/", "/v1/", "/v1/a%20b", "/v1/%C3%A9", "/v1/a:b@c?x=/../&y=%2e;z", "/v1/x?"])
def test_a_path_with_one_spelling_is_taken(target: str) -> None:
    path, query = split(target)
    assert target in {path + "?" + query, path}


@given(st.text(alphabet="/.%25eEfF;\\ab*?", max_size=24))
def test_no_path_that_is_taken_leaves_where_it_seems_to_be(tail: str) -> None:
    """Whatever is taken stays below /v1 under any number of unescapings and normalisations."""
    try:
        path, _ = split("/v1/" + tail)
    except Denied:
        return
    seen = path
    for _ in range(4):
        seen = unquote(seen)
        assert normpath(seen.replace("\\", "/")).startswith("/v1")
        assert "//" not in seen


@pytest.mark.parametrize(
    "text",
    [
        "", ":443", "a.example:", "a.example:0", "a.example:65536", "a.example:443:443", "user@a.example:443", "a b:1",
        "a.example:0443443", "a.example:+1", "[::1", "::1", "[::1]443", "[a.example]:443", "a.example/:443", "a_:1:2",
        "a.example\u3002:443", ".a.example:443", "a.example.:443", "-:1",
    ],
)  # fmt: skip
def test_an_authority_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Denied):
        authority(text, None)


def test_an_authority_is_compared_in_lower_case() -> None:
    assert authority("API.Example:8443", None) == ("api.example", 8443)
    assert authority("api.example", 443) == ("api.example", 443)
    assert authority("[2001:DB8::1]:443", None) == ("2001:db8::1", 443)


@pytest.mark.parametrize("line", [b"", b"3;x=y", b"0x3", b" 3", b"3 ", b"-1", b"g", b"123456789", b"3\n"])
def test_a_chunk_with_more_than_its_size_is_refused(line: bytes) -> None:
    with pytest.raises(Denied):
        chunk_size(line)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/v1/x", "/v1/x", True),
        ("/v1/x", "/v1/x/", False),
        ("/v1/x", "/v1/X", False),
        ("/v1/*", "/v1/a", True),
        ("/v1/*", "/v1/", False),
        ("/v1/*", "/v1/a/b", False),
        ("/v1/*/c", "/v1/a/c", True),
        ("/v1/*/c", "/v1/a/b/c", False),
        ("/v1/**", "/v1/", True),
        ("/v1/**", "/v1/a/b", True),
        ("/v1/**", "/v1", False),
        ("/v1/**", "/v10/a", False),
        ("/**", "/", True),
        ("/**", "/anything", True),
        ("/v1/a*", "/v1/ab", False),
    ],
)
def test_a_pattern_names_whole_segments(pattern: str, path: str, fits: bool) -> None:
    assert path_matches(pattern, path) is fits
