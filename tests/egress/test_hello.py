"""A connection that is not looked into goes to the host that its greeting names in clear, and to no other."""

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_adapters.egress.causes import Cause, Denied
from hand_adapters.egress.hello import HELLO_MAX_BYTES, RECORDS_MAX, server_name


def greeting(name: str | None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What OpenSSL says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def made(*extensions: tuple[int, bytes], tail: bytes = b"") -> bytes:
    """A greeting with these extensions."""
    listed = b"".join(struct.pack("!HH", kind, len(body)) + body for kind, body in extensions)
    body = (
        b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + struct.pack("!H", len(listed)) + listed
    )
    body += tail
    message = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


def named(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    """The extension ``server_name``."""
    listed = b"".join(struct.pack("!BH", kind, len(name)) + name for name in names)
    return 0, struct.pack("!H", len(listed)) + listed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_that_openssl_says_is_read(version: ssl.TLSVersion) -> None:
    assert server_name(greeting("API.example", version=version)) == "api.example"


def test_a_greeting_in_pieces_is_waited_for() -> None:
    whole = greeting("api.example")
    for size in range(len(whole)):
        assert server_name(whole[:size]) is None
    body = whole[5:]
    assert server_name(records(body, -(-len(body) // RECORDS_MAX))) == "api.example"


def records(body: bytes, size: int) -> bytes:
    """A greeting in records of at most ``size`` bytes."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(piece)) + piece for piece in pieces)


def test_a_greeting_in_crumbs_is_refused_before_it_is_whole() -> None:
    """Each byte that comes has all of it read again."""
    crumbs = records(greeting("api.example")[5:], 1)
    with pytest.raises(Denied) as caught:
        server_name(crumbs[: 6 * RECORDS_MAX])
    assert caught.value.cause is Cause.GREETING


@pytest.mark.parametrize(
    "data",
    [
        greeting(None),
        greeting("127.0.0.1"),
        made(),
        made((1, b"")),
        made(named()),
        made(named(b"a.example", b"b.example")),
        made(named(b"a.example"), named(b"b.example")),
        made(named(b"a.example", kind=1)),
        made((0, struct.pack("!HBH", 40, 0, 37) + b"a.example")),
        made((0, named(b"a.example")[1] + b"x")),
        made(named(b"a.example"), (0xFE0D, b"\x00" * 20)),
        made(named(b"a.example"), (0xFFCE, b"")),
        made(named(b"a.example"), tail=b"x"),
        made(named(b"a.exa\xffmple")),
        made(named(b"a.example\x00.evil.example")),
        made(named(b"a.example.")),
        made(named(b"")),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x80\x2e\x01\x03\x01" + bytes(40),
        b"\x16\x02\x00\x00\x05" + bytes(5),
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x15\x03\x01\x00\x02\x01\x00",
        (b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xff" + bytes(HELLO_MAX_BYTES))[:HELLO_MAX_BYTES],
    ],
)
def test_no_name_several_or_a_hidden_one_is_refused(data: bytes) -> None:
    with pytest.raises(Denied) as caught:
        server_name(data)
    assert caught.value.cause is Cause.GREETING


@given(st.binary(max_size=400), st.integers(0, 400))
def test_whatever_comes_is_read_or_refused(noise: bytes, at: int) -> None:
    whole = bytearray(greeting("api.example"))
    whole[at : at + len(noise)] = noise
    try:
        found = server_name(bytes(whole))
    except Denied:
        return
    assert found is None or (found in bytes(whole).decode("latin-1").lower())
