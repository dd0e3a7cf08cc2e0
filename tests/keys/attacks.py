"""The table of attacks on signed tokens, as data: every reader of tokens is held against all of it.

An attack starts from an honest token of the reader under test (:class:`Honest`) and changes one thing; what it gives is
to be refused. :data:`FORM` attacks the envelope, and what applies to anybody's JWS can be told from what only a closed
header refuses (``closed``: tokens of others, OIDC's for one, may carry such members). :data:`PAYLOADS` attacks the
bytes that are signed, :data:`CLAIMS` what they say, :data:`EDGES` the clock.

Built with ``cryptography`` and the standard library alone, so that it shares no code with what it tests.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""L of RFC 8032 section 5.1: S + L is another spelling of the signature's scalar S."""
P: Final = 2**255 - 19
TYPES: Final = (
    *(
        f"{name}+jws"
        for name in ["plan", "accept", "step", "result", "receipt", "approval", "proposal", "bundle", "export"]
    ),
    "dpop+jwt",
    "at+jwt",
    "JWT",
)
"""Every ``typ`` that is about: each is presented where each other is expected."""


@dataclass(frozen=True)
class Honest:
    """How one reader's tokens are honestly made.

    Attributes:
        header: as a token carries it.
        payload: the signed bytes.
        sign: message -> signature by the key that the reader trusts.
        stranger: the same by a key that nobody trusts; ``stranger_jwk`` is its public half.
        public: the trusted public key as the attacker has it, to be used as an HMAC secret.
        max_bytes: the longest token that the reader takes.
    """

    header: Mapping[str, Any]
    payload: bytes
    sign: Callable[[bytes], bytes]
    stranger: Callable[[bytes], bytes]
    stranger_jwk: Mapping[str, str]
    public: bytes
    max_bytes: int = 65_536

    def token(self, header: Any = None, payload: bytes | None = None, *, stranger: bool = False) -> bytes:
        """A token that really is signed; ``header`` may be a value or raw bytes."""
        head = header if isinstance(header, bytes) else compact(self.header if header is None else header)
        body = self.payload if payload is None else payload
        return self.signed(b64(head), b64(body), stranger=stranger)

    def signed(self, head: bytes, body: bytes, *, stranger: bool = False) -> bytes:
        """Two segments exactly as they are spelled, and the signature over them."""
        signed = head + b"." + body
        return signed + b"." + b64((self.stranger if stranger else self.sign)(signed))

    def with_header(self, **members: Any) -> bytes:
        """A token whose header has more or other members."""
        return self.token({**self.header, **members})

    def without(self, member: str) -> bytes:
        """A token whose header lacks one."""
        return self.token({name: value for name, value in self.header.items() if name != member})

    @property
    def segments(self) -> tuple[bytes, bytes, bytes]:
        """Header, payload and signature of the honest token."""
        head, body, tail = self.token().split(b".")
        return head, body, tail


@dataclass(frozen=True)
class Attack:
    """One row. ``reason`` is the code with which ``keys.jws`` refuses it.

    Attributes:
        closed: refused by a header that is closed; a reader of other people's tokens may accept the member.
    """

    group: str
    name: str
    reason: str
    make: Callable[[Honest], bytes]
    closed: bool = False


@dataclass(frozen=True)
class Change:
    """One row about what is signed: honest claims -> the payload to sign."""

    group: str
    name: str
    make: Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True)
class Edge:
    """A time claim at and beyond its limit.

    Attributes:
        claim: ``iat`` or ``exp``.
        seconds: the claim's distance from the reader's clock, in whole seconds beyond the skew that it allows
            (0: exactly at it). For ``iat``, ahead of the clock; for ``exp``, behind it.
        accepted: RFC 7519 section 4.1.4: a token is refused *on* its ``exp``.
    """

    name: str
    claim: str
    seconds: int
    accepted: bool

    def at(self, now: int, skew: int) -> int:
        """The claim's value."""
        return now + skew + self.seconds if self.claim == "iat" else now - skew - self.seconds


EDGES: Final = (
    Edge("issued exactly the skew ahead", "iat", 0, accepted=True),
    Edge("issued one second beyond the skew", "iat", 1, accepted=False),
    Edge("expired one second less than the skew ago", "exp", -1, accepted=True),
    Edge("expired exactly the skew ago", "exp", 0, accepted=False),
    Edge("expired one second beyond the skew", "exp", 1, accepted=False),
)


def b64(raw: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def compact(value: Any) -> bytes:
    """JSON without white space, members as given."""
    return json.dumps(value, separators=(",", ":")).encode()


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """Public JWK with its thumbprint (RFC 7638)."""
    x = b64(key.public_key().public_bytes_raw()).decode()
    kid = b64(hashlib.sha256(compact({"crv": "Ed25519", "kty": "OKP", "x": x})).digest()).decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid}


def trailing_bits(segment: bytes) -> bytes:
    """Another spelling of the same bytes: the unused low bits of the last character are set."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + bytes([alphabet[alphabet.index(segment[-1]) | 1]])


def on_form(honest: Honest) -> Iterator[tuple[Attack, bytes]]:
    """Every attack on the envelope with the token that it presents; one that would be the honest token is none."""
    good = honest.token()
    for attack in FORM:
        token = attack.make(honest)
        if token != good:
            yield attack, token


def _hs256(honest: Honest) -> bytes:
    signed = b64(compact({**honest.header, "alg": "HS256"})) + b"." + b64(honest.payload)
    return signed + b"." + b64(hmac.digest(honest.public, signed, "sha256"))


def _es256(honest: Honest) -> bytes:
    """Signed with P-256 under the honest kid; the nonce is fixed by RFC 6979."""
    signed = b64(compact({**honest.header, "alg": "ES256"})) + b"." + b64(honest.payload)
    key = ec.derive_private_key(7, ec.SECP256R1())
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return signed + b"." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _malleated(honest: Honest) -> bytes:
    """S + L in place of S; for a signature that is no Ed25519 one, its bits turned over."""
    head, body, tail = honest.segments
    raw = base64.urlsafe_b64decode(tail + b"=" * (-len(tail) % 4))
    if len(raw) != 64:
        return head + b"." + body + b"." + b64(bytes(byte ^ 255 for byte in raw))
    larger = (int.from_bytes(raw[32:], "little") + ORDER) % 2**256
    return head + b"." + body + b"." + b64(raw[:32] + larger.to_bytes(32, "little"))


def _flipped(honest: Honest) -> bytes:
    head, body, tail = honest.segments
    raw = base64.urlsafe_b64decode(tail + b"=" * (-len(tail) % 4))
    return head + b"." + body + b"." + b64(bytes([raw[0] ^ 1]) + raw[1:])


def _edited(text: Callable[[bytes, bytes, bytes], bytes]) -> Callable[[Honest], bytes]:
    """An attack that puts the honest token's segments together in another way."""
    return lambda honest: text(*honest.segments)


def _header(**members: Any) -> Callable[[Honest], bytes]:
    return lambda honest: honest.with_header(**members)


def _raw_header(write: Callable[[bytes], bytes]) -> Callable[[Honest], bytes]:
    """The honest header's JSON, rewritten and signed."""
    return lambda honest: honest.token(write(compact(honest.header)))


def _resigned(write: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> Callable[[Honest], bytes]:
    """The honest header and payload segments, spelled differently and signed as they are spelled."""
    return lambda honest: honest.signed(*write(*honest.segments[:2]))


def _rows() -> Iterator[Attack]:
    malformed, algorithm, member, typ, key, signature = (
        f"verify.{cause}" for cause in ("malformed", "algorithm", "header", "type", "unknown_key", "signature")
    )

    def row(group: str, reason: str, rows: Mapping[str, Callable[[Honest], bytes]], *, closed: bool = False) -> Any:
        return (Attack(group, name, reason, make, closed) for name, make in rows.items())

    yield from row(
        "algorithm confusion",
        algorithm,
        {
            "alg none, no signature": lambda h: (
                b64(compact({**h.header, "alg": "none"})) + b"." + b64(h.payload) + b"."
            ),
            "alg none, real signature": _header(alg="none"),
            "alg None, capital": _header(alg="None"),
            "alg EdDSA, the polymorphic name": _header(alg="EdDSA"),
            "alg in lower case": lambda h: h.with_header(alg=str(h.header["alg"]).lower()),
            "alg Ed448": _header(alg="Ed448"),
            "alg HS256 with the public key as secret": _hs256,
            "alg ES256": _es256,
            "alg absent": lambda h: h.without("alg"),
            "alg a list": lambda h: h.with_header(alg=[h.header["alg"]]),
            "alg null": _header(alg=None),
            "alg a number": _header(alg=0),
        },
    )
    for other in TYPES:
        yield Attack("cross-type", f"typ {other}", typ, _header(typ=other))
    yield from row(
        "cross-type",
        typ,
        {
            "typ with the media type prefix": lambda h: h.with_header(typ=f"application/{h.header['typ']}"),
            "typ in capitals": lambda h: h.with_header(typ=str(h.header["typ"]).swapcase()),
            "typ absent": lambda h: h.without("typ"),
            "typ a list": lambda h: h.with_header(typ=[h.header["typ"]]),
        },
    )
    yield from row(
        "kid injection",
        member,
        {
            "kid a path": _header(kid="../../../../../../dev/null"),
            "kid a query": _header(kid="' OR '1'='1' --"),
            "kid of 300 characters": _header(kid="A" * 300),
            "kid a URL": _header(kid="https://attacker.example/key.json"),
            "kid a command": _header(kid="$(id)|`id`"),
            "kid with a line end": lambda h: h.with_header(kid=f"{h.header.get('kid')}\n"),
            "kid with a null byte": lambda h: h.with_header(kid=f"{h.header.get('kid')}\0"),
            "kid in full-width letters": _header(kid="\uff21" * 43),
            "kid null": _header(kid=None),
            "kid a number": _header(kid=7),
            "kid an object": _header(kid={"$ne": ""}),
            "kid absent": lambda h: h.without("kid"),
        },
    )
    yield from row(
        "kid injection",
        key,
        {
            "kid of nobody": _header(kid="A" * 43),
            "kid of the stranger, signed by the stranger": lambda h: h.token(
                {**h.header, "kid": h.stranger_jwk["kid"]}, stranger=True
            ),
        },
    )
    yield from row(
        "keys and rules brought along",
        member,
        {
            "jwk embedded, signed by it": lambda h: h.token({**h.header, "jwk": dict(h.stranger_jwk)}, stranger=True),
            "jku, signed by its key": lambda h: h.token(
                {**h.header, "jku": "https://attacker.example/jwks.json"}, stranger=True
            ),
            "x5u, signed by its key": lambda h: h.token(
                {**h.header, "x5u": "https://attacker.example/cert.pem"}, stranger=True
            ),
            "x5c, signed by its key": lambda h: h.token({**h.header, "x5c": ["MIIB"]}, stranger=True),
            "crit empty": _header(crit=[]),
            "crit exp": _header(crit=["exp"], exp=1),
            "crit of what nobody knows": _header(crit=["urn:example:unknown"], **{"urn:example:unknown": True}),
            "b64 false": _header(b64=False, crit=["b64"]),
        },
    )
    yield from row(
        "keys and rules brought along",
        member,
        {
            "jwk beside an honest signature": lambda h: h.with_header(jwk=dict(h.stranger_jwk)),
            "jku beside an honest signature": _header(jku="https://attacker.example/jwks.json"),
            "x5u beside an honest signature": _header(x5u="https://attacker.example/cert.pem"),
            "x5t": _header(x5t="AAAA"),
            "zip": _header(zip="DEF"),
            "cty, as of a nested JWT": _header(cty="JWT"),
            "enc, as in JWE": _header(enc="A256GCM"),
            "a member of no meaning": _header(x="y"),
        },
        closed=True,
    )
    yield from row(
        "duplicate members",
        malformed,
        {
            "member twice, equal values": _raw_header(
                lambda text: text[:-1] + b"," + text[1:-1].split(b",")[-1] + b"}"
            ),
            "alg twice, good one last": _raw_header(lambda text: b'{"alg":"none",' + text[1:]),
            "alg twice, good one first": _raw_header(lambda text: text[:-1] + b',"alg":"none"}'),
            "alg twice, in an escaped spelling": _raw_header(lambda text: text[:-1] + b',"\\u0061lg":"none"}'),
            "kid twice": _raw_header(lambda text: b'{"kid":"' + b"A" * 43 + b'",' + text[1:]),
        },
    )
    yield from row(
        "other spellings",
        malformed,
        {
            "padding on the header": _resigned(lambda head, body: (head + b"=" * (-len(head) % 4 or 4), body)),
            "padding on the payload": _resigned(lambda head, body: (head, body + b"=" * (-len(body) % 4 or 4))),
            "padding on the signature": _edited(
                lambda head, body, tail: b".".join((head, body, tail + b"=" * (-len(tail) % 4 or 4)))
            ),
            "signature's trailing bits set": _edited(
                lambda head, body, tail: b".".join((head, body, trailing_bits(tail)))
            ),
            "payload's trailing bits set, signed so": lambda h: h.signed(
                h.segments[0], trailing_bits(b64(h.payload + b" " * ((1 - len(h.payload)) % 3)))
            ),
            "standard base64 alphabet": _resigned(lambda head, _: (head, b"+/+/")),
            "a payload of five characters": _resigned(lambda head, _: (head, b"AAAAA")),
            "leading space": _edited(lambda *parts: b" " + b".".join(parts)),
            "trailing line end": _edited(lambda *parts: b".".join(parts) + b"\n"),
            "line end inside the payload": _resigned(lambda head, body: (head, body[:8] + b"\n" + body[8:])),
            "space inside the signature": _edited(
                lambda head, body, tail: b".".join((head, body, tail[:10] + b" " + tail[10:]))
            ),
            "null byte at the end": _edited(lambda *parts: b".".join(parts) + b"\0"),
            "non-ASCII in the payload": _resigned(lambda head, body: (head, "\u00e9".encode() + body)),
            "full-width letter in the header": _edited(lambda *parts: "\uff45".encode() + b".".join(parts)[1:]),
            "bytes that are no UTF-8": _edited(lambda *parts: b"\xff\xfe" + b".".join(parts)),
            "UTF-16": _edited(lambda *parts: b".".join(parts).decode("ascii").encode("utf-16")),
        },
    )
    yield from row(
        "what is no header",
        malformed,
        {
            "header an array": _raw_header(lambda _: b'["Ed25519"]'),
            "header a string": _raw_header(lambda _: b'"Ed25519"'),
            "header empty": _resigned(lambda _, body: (b"", body)),
            "header not JSON": _raw_header(lambda _: b"alg=Ed25519"),
            "header with a byte order mark": _raw_header(lambda text: b"\xef\xbb\xbf" + text),
            "header in UTF-16": _raw_header(lambda text: text.decode().encode("utf-16-le")),
            "header with invalid UTF-8": _raw_header(lambda text: text[:-2] + b'\xff"}'),
            "header with NaN": _raw_header(lambda text: text[:-1] + b',"n":NaN}'),
            "header followed by another": _raw_header(lambda text: text * 2),
            "header nested 5,000 deep": _raw_header(lambda text: text[:-1] + b',"n":' + b"[" * 5000 + b"]" * 5000),
        },
    )
    yield from row(
        "other serialisations",
        malformed,
        {
            "JSON serialisation, flattened": _edited(
                lambda head, body, tail: compact(
                    {"protected": head.decode(), "payload": body.decode(), "signature": tail.decode()}
                )
            ),
            "JSON serialisation, general": _edited(
                lambda head, body, tail: compact(
                    {
                        "payload": body.decode(),
                        "signatures": [{"protected": head.decode(), "signature": tail.decode()}],
                    }
                )
            ),
            "nothing": lambda _: b"",
            "only dots": lambda _: b"..",
            "one segment": _edited(lambda head, *_: head),
            "two segments": _edited(lambda head, body, _: head + b"." + body),
            "four segments": _edited(lambda *parts: b".".join((*parts, parts[2]))),
            "five segments, as JWE": _edited(lambda *parts: b".".join((*parts, parts[2], parts[2]))),
            "empty payload, signed": _resigned(lambda head, _: (head, b"")),
            "detached payload": _edited(lambda head, _, tail: head + b".." + tail),
            "signature absent": _edited(lambda head, body, _: head + b"." + body + b"."),
            "longer than the class may be": lambda h: h.token(payload=h.payload[:-1] + b" " * h.max_bytes + b"}"),
        },
    )
    yield from row(
        "signature",
        malformed,
        {
            "signature of 63 bytes": _edited(lambda head, body, _: b".".join((head, body, b64(bytes(63))))),
            "signature of 65 bytes": _edited(lambda head, body, _: b".".join((head, body, b64(bytes(65))))),
        },
    )
    yield from row(
        "signature",
        signature,
        {
            "signature of zeros": _edited(lambda head, body, _: b".".join((head, body, b64(bytes(64))))),
            "signature malleated to S + L": _malleated,
            "signature by a stranger": lambda h: h.token(stranger=True),
            "signature over the payload alone": lambda h: b".".join((*h.segments[:2], b64(h.sign(h.payload)))),
            "signature of another payload": lambda h: b".".join(
                (h.segments[0], b64(h.payload[:-1] + b" }"), h.segments[2])
            ),
            "one bit of the signature flipped": _flipped,
            "header's members in another order, signature kept": lambda h: b".".join(
                (b64(compact(dict(reversed(h.header.items())))), *h.segments[1:])
            ),
        },
    )


FORM: Final = tuple(_rows())


def _claims(**members: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda claims: compact({**claims, **members})


def _without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda claims: compact({known: value for known, value in claims.items() if known != name})


def _audience(write: Callable[[str], Any]) -> Callable[[dict[str, Any]], bytes]:
    return lambda claims: compact({**claims, "aud": write(claims["aud"])})


def _text(write: Callable[[bytes], bytes]) -> Callable[[dict[str, Any]], bytes]:
    return lambda claims: write(compact(claims))


PAYLOADS: Final = tuple(
    Change("payload", name, make)
    for name, make in {
        "nested JWS": lambda claims: b"eyJhbGciOiJub25lIn0." + b64(compact(claims)) + b".",
        "nested JWS as a JSON string": lambda claims: compact("eyJhbGciOiJub25lIn0." + b64(compact(claims)).decode()),
        "an array of claims": lambda claims: compact([claims]),
        "null": lambda _: b"null",
        "an empty object": lambda _: b"{}",
        "not JSON": lambda _: b"iss=handrail",
        "claims twice": _text(lambda text: text + text),
        "followed by a null byte": _text(lambda text: text + b"\0"),
        "byte order mark": _text(lambda text: b"\xef\xbb\xbf" + text),
        "UTF-16": _text(lambda text: text.decode().encode("utf-16")),
        "invalid UTF-8": _text(lambda text: text[:-1] + b',"n":"\xff"}'),
        "a lone surrogate": _text(lambda text: text[:-1] + b',"n":"\\ud800"}'),
        "NaN": _text(lambda text: text[:-1] + b',"n":NaN}'),
        "an integer beyond 2^53": _text(lambda text: text[:-1] + b',"n":9007199254740993}'),
        "nested 5,000 deep": _text(lambda text: text[:-1] + b',"n":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        "aud twice": _text(lambda text: b'{"aud":"hand:other",' + text[1:]),
        "exp twice, the later one last": _text(lambda text: text[:-1] + b',"exp":32503680000}'),
        "sub twice, in an escaped spelling": _text(lambda text: text[:-1] + b',"s\\u0075b":"admin"}'),
    }.items()
)
"""What no reader of claims may take, however well it is signed."""

CLAIMS: Final = (
    *(
        Change("audience", name, make)
        for name, make in {
            "aud an array of the one": _audience(lambda aud: [aud]),
            "aud an array with another": _audience(lambda aud: [aud, "hand:other"]),
            "aud an empty array": _audience(lambda _: []),
            "aud an array in an array": _audience(lambda aud: [[aud]]),
            "aud another": _audience(lambda _: "hand:other"),
            "aud with more behind it": _audience(lambda aud: f"{aud}.attacker.example"),
            "aud with a space behind it": _audience(lambda aud: f"{aud} "),
            "aud in capitals": _audience(lambda aud: aud.swapcase()),
            "aud empty": _audience(lambda _: ""),
            "aud null": _audience(lambda _: None),
            "aud true": _audience(lambda _: True),
        }.items()
    ),
    *(
        Change("issuer", name, make)
        for name, make in {
            "iss another": _claims(iss="https://attacker.example"),
            "iss with a slash behind it": lambda claims: compact({**claims, "iss": f"{claims['iss']}/"}),
            "iss an array": lambda claims: compact({**claims, "iss": [claims["iss"]]}),
            "iss null": _claims(iss=None),
        }.items()
    ),
    *(
        Change("time", name, make)
        for name, make in {
            "exp a text": lambda claims: compact({**claims, "exp": str(claims["exp"])}),
            "exp a fraction": lambda claims: compact({**claims, "exp": claims["exp"] + 0.5}),
            "exp true": _claims(exp=True),
            "exp null": _claims(exp=None),
            "exp negative": _claims(exp=-1),
            "exp zero": _claims(exp=0),
            "iat a text": lambda claims: compact({**claims, "iat": str(claims["iat"])}),
        }.items()
    ),
    *(Change("absent", f"{name} absent", _without(name)) for name in ("iss", "aud", "exp", "sub")),
)
"""What a reader of Handrail's own claims refuses. An OIDC audience may be an array that holds the client; the rows of
the group ``audience`` that begin ``aud an array`` are then the reader's to judge."""


def bad_keys(good: Mapping[str, str], kid_of_another: str, private: str) -> dict[str, dict[str, Any]]:
    """Public keys that OpenSSL would load, and JWKs that are not what they seem; ``good`` is ``{kty, crv, x}``."""
    order_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
    points = {
        "identity": 1,
        "identity, sign bit set": 1 | 1 << 255,
        "order 2": P - 1,
        "order 2, sign bit set": P - 1 | 1 << 255,
        "order 4": 0,
        "order 4, sign bit set": 1 << 255,
        "order 8": order_8,
        "order 8, sign bit set": order_8 | 1 << 255,
        "order 8, the other": P - order_8,
        "order 8, the other, sign bit set": P - order_8 | 1 << 255,
        "non-canonical 0": P,
        "non-canonical 1": P + 1,
        "non-canonical, all ones": 2**256 - 1,
        "not on the curve": 2,
    }
    keys: dict[str, dict[str, Any]] = {
        name: {"kty": "OKP", "crv": "Ed25519", "x": b64(y.to_bytes(32, "little")).decode()}
        for name, y in points.items()
    }
    return keys | {
        "private key": {**good, "d": private},
        "private key with an empty d": {**good, "d": ""},
        "symmetric secret beside it": {**good, "k": "AAAA"},
        "Ed448 curve": {**good, "crv": "Ed448"},
        "X25519 curve": {**good, "crv": "X25519"},
        "EC key type": {**good, "kty": "EC"},
        "kty absent": {"crv": "Ed25519", "x": good["x"]},
        "crv absent": {"kty": "OKP", "x": good["x"]},
        "x absent": {"kty": "OKP", "crv": "Ed25519"},
        "x a number": {**good, "x": 7},
        "x padded": {**good, "x": good["x"] + "="},
        "x with trailing bits": {**good, "x": trailing_bits(good["x"].encode()).decode()},
        "x of 31 bytes": {**good, "x": b64(bytes(31)).decode()},
        "x of 33 bytes": {**good, "x": b64(bytes(33)).decode()},
        "x empty": {**good, "x": ""},
        "alg EdDSA": {**good, "alg": "EdDSA"},
        "use enc": {**good, "use": "enc"},
        "kid of another key": {**good, "kid": kid_of_another},
    }
