"""The gateway's proofs of possession, read by joserfc, and RFC 9449's own examples, whose algorithm is refused."""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

import pytest
from handrail.errors import StepRefused
from handrail.hand import Verifier
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey, OKPKey

from gateway.canonical import canonical
from keys import jwk
from keys.errors import JwsRefused
from keys.jws import peek
from keys.proof import ProofKey

NOW = 1_800_000_000
HEADER = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0Rs"
    "cEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
)
EXAMPLES = {
    "section 4.1": (
        f"{HEADER}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rv"
        "a2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ."
        "2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    ),
    "section 7.1": (
        f"{HEADER}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9w"
        "cm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtz"
        "bVFFbyJ9."
        "2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    ),
}
ACCESS_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
ATH = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims without a check."""
    head, body, _ = token.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (head, body))
    return header, claims


def proof(key: ProofKey, url: str = "https://crm.example/v1/notes") -> dict[str, Any]:
    """The claims of a proof, after joserfc checked it under the key that it brings."""
    token = key.prove("a.b.c", "POST", url)
    header, claims = read(token)
    public = OKPKey.import_key(header["jwk"])
    assert public.thumbprint() == key.jkt
    joserfc_jws.deserialize_compact(
        token, public, registry=joserfc_jws.JWSRegistry(algorithms=["Ed25519"], strict_check_header=False)
    )
    assert {name: value for name, value in header.items() if name != "jwk"} == {"typ": "dpop+jwt", "alg": "Ed25519"}
    assert header["jwk"].keys() == {"kty", "crv", "x"}
    return claims


def test_joserfc_reads_a_proof_as_rfc_9449_has_it() -> None:
    claims = proof(ProofKey(lambda: NOW + 0.9))
    digest = hashlib.sha256(b"a.b.c").digest()
    assert claims == {
        "jti": claims["jti"],
        "htm": "POST",
        "htu": "https://crm.example/v1/notes",
        "iat": NOW,
        "ath": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
    }


@pytest.mark.parametrize("behind", ["?", "?a=1", "#x", "?a=1#x", "#x?a=1"])
def test_a_proof_names_the_address_without_query_and_fragment(behind: str) -> None:
    assert proof(ProofKey(), f"https://crm.example/v1/notes{behind}")["htu"] == "https://crm.example/v1/notes"


def test_no_two_proofs_and_no_two_processes_are_alike() -> None:
    key = ProofKey()
    assert len({proof(key)["jti"] for _ in range(100)}) == 100
    assert ProofKey().jkt != key.jkt


def test_the_example_token_of_rfc_9449_has_our_ath() -> None:
    _, claims = read(ProofKey().prove(ACCESS_TOKEN, "GET", "https://resource.example.org/protectedresource"))
    assert claims["ath"] == read(EXAMPLES["section 7.1"])[1]["ath"] == ATH


def test_the_example_key_of_rfc_9449_has_its_thumbprint_in_our_canonical_form() -> None:
    example, _ = read(EXAMPLES["section 4.1"])
    members = {name: example["jwk"][name] for name in ("crv", "kty", "x", "y")}
    assert base64.urlsafe_b64encode(hashlib.sha256(canonical(members)).digest()).rstrip(b"=").decode() == JKT


@pytest.mark.parametrize("section", EXAMPLES)
def test_the_example_proofs_of_rfc_9449_are_sound_and_refused_for_their_algorithm(section: str) -> None:
    token = EXAMPLES[section]
    registry = joserfc_jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    joserfc_jws.deserialize_compact(token, ECKey.import_key(read(token)[0]["jwk"]), registry=registry)

    document = json.loads(files("handrail").joinpath("vectors/step-credentials.json").read_text())
    asked = document["request"]
    verifier = Verifier(document["jwks"], issuer=asked["issuer"], hand=asked["hand"], clock=lambda: asked["now"])
    authorization = dict(document["cases"][0]["headers"])["Authorization"]
    with pytest.raises(StepRefused, match="algorithm") as refusal:
        verifier.verify(
            {"Authorization": authorization, "DPoP": token},
            asked["action"],
            asked["args"],
            method=asked["method"],
            url=asked["url"],
        )
    assert refusal.value.code == "proof.refused"


def test_a_proof_is_none_of_our_messages() -> None:
    """``jwk`` is allowed in this one header: no reader of the others takes it."""
    with pytest.raises(JwsRefused):
        peek(ProofKey().prove("a.b.c", "POST", "https://crm.example/").encode())
    assert jwk.ALGORITHM == "Ed25519"
