"""One reading of the same bytes, the same as the gateway's, and a package that stands alone."""

import os
from typing import Any

import pytest
from handrail import (
    MalformedError,
    SigningKey,
    VerifyKey,
    strict,
)

from gateway.canonical import b64url_decode

RFC8037_KEY = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
KEY = SigningKey(b64url_decode(RFC8037_KEY["d"]))


# --- strictness, against the gateway's own reader --------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":1}',
        b"NaN",
        b"Infinity",
        b"1e999",
        b"9007199254740993",
        b"1" * 5000,
        b'"\\ud800"',
        b'{"\\ud800":1}',
        b"[" * 66 + b"]" * 66,
        b"[" * 100_000,
        b"{} {}",
        b"",
    ],
)
def test_what_the_gateway_refuses_to_read_the_client_refuses_too(raw: bytes) -> None:
    from gateway.canonical import parse
    from gateway.errors import Refused

    with pytest.raises(Refused):
        parse(raw)
    with pytest.raises(MalformedError):
        strict.parse(raw)


@pytest.mark.parametrize(
    "value", [{}, {"b": [1, 2.5, None, True], "a": "\u00fc\U0001f600"}, {"\u00e9": 1, "z": 2}, 1e21, -0.0, "\x7f\u2028"]
)
def test_both_sides_have_the_same_canonical_form(value: Any) -> None:
    from gateway.canonical import canonical

    assert strict.canonical(value) == canonical(value)


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A+", "A/", "AA\n", " AA", "\u00e9"])
def test_other_spellings_of_base64url_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        strict.b64url_decode(text)


@pytest.mark.parametrize("text", ["QQ", "QR==", "QQ==\n", "Q_8=", "Q"])
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        strict.b64_decode(text)


def test_a_public_key_of_a_wrong_length_is_refused() -> None:
    with pytest.raises(MalformedError):
        VerifyKey(b"\x00" * 31)
    with pytest.raises(MalformedError):
        SigningKey(b"\x00" * 33)


def test_the_client_imports_nothing_of_the_gateway() -> None:
    import subprocess
    import sys

    code = (
        "import sys, pkgutil, importlib, handrail\n"
        "[importlib.import_module('handrail.'+m.name) for m in pkgutil.iter_modules(handrail.__path__)]\n"
        "[getattr(handrail, n) for n in handrail.__all__]\n"
        "bad = {'gateway','audit','keys','hand_adapters','sqlalchemy','joserfc','pydantic'} & set(sys.modules)\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_verification_alone_loads_no_http_client() -> None:
    import subprocess
    import sys

    code = "import sys; from handrail import Trust, verify_receipt; sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
