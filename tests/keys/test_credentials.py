"""Step credentials: good for one exact call, once, for a minute."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.canonical import parse
from gateway.model import Binding, Issuer, Plan, Principal, Role
from gateway.ports import Purpose, Typ
from gateway.reasons import Reason
from keys import credentials, jwk, jws
from keys.credentials import Minted, SingleUse, StepCredential, StepCredentials
from keys.errors import JwsRefused
from keys.proof import ProofKey

NOW = 1_800_000_000.25
BINDING = Binding("default", "p" * 64, "a", "git", "git_commit", "1" * 64, "2" * 64, "3" * 64)
ORIGIN = "handrail.local/log"


class TestingOnlySigner:
    __test__ = False

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        self.public = jwk.from_raw(self.private.public_key().public_bytes_raw())
        self.purposes: list[Purpose] = []

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        self.purposes.append(purpose)
        return jws.sign(self.private.sign, jws.protected(self.public.kid, typ), payload)


SIGNER = TestingOnlySigner()


def mint(**changes: Any) -> Minted:
    members: dict[str, Any] = {
        "issuer": ORIGIN,
        "binding": BINDING,
        "hand": "git",
        "action": "git_commit",
        "subject": "alice",
        "actor": "alice-laptop",
        "context_id": "ctx-1",
        "now": NOW,
        "lifetime_seconds": 60,
    }
    return credentials.mint(SIGNER, **(members | changes))


def check(token: str, claim: Callable[[str, int, float], None] | None = None, **changes: Any) -> StepCredential:
    members: dict[str, Any] = {
        "key_for": {SIGNER.public.kid: SIGNER.public.document()}.__getitem__,
        "issuer": ORIGIN,
        "hand": "git",
        "action": "git_commit",
        "args_sha256": BINDING.args_sha256,
        "now": NOW + 1,
        "claim": claim or SingleUse().claim,
    }
    return credentials.verify_credential(token, **(members | changes))


def test_credential_says_exactly_what_the_design_says() -> None:
    token, jti = mint(jkt="t" * 43)
    claims = parse(jws.peek(token.encode()).payload)
    assert claims == {
        "iss": ORIGIN,
        "sub": "alice",
        "aud": "hand:git",
        "scope": "git_commit",
        "txn": "ctx-1",
        "jti": jti,
        "iat": 1_800_000_000,
        "exp": 1_800_000_060,
        "act": {"sub": "alice-laptop"},
        "authorization_details": [{"type": "handrail_step", **BINDING.document()}],
        "cnf": {"jkt": "t" * 43},
    }
    assert SIGNER.purposes[-1] is Purpose.STEP
    assert jws.peek(token.encode()).header["typ"] == "step+jws"


def test_hand_reads_back_what_was_bound() -> None:
    token, jti = mint()
    found = check(token)
    assert (found.jti, found.hand, found.action, found.binding) == (jti, "git", "git_commit", BINDING)
    assert (found.subject, found.actor, found.context_id, found.jkt) == ("alice", "alice-laptop", "ctx-1", None)


def test_pipeline_mints_for_the_plans_subject_and_issuer() -> None:
    alice = Principal("alice", "default", "p-1", frozenset({Role.AGENT}))
    plan = Plan(
        plan_id="p" * 64,
        context_id="ctx-9",
        tenant="default",
        issuer=Issuer("bot", "default", {}),
        kid="k" * 43,
        principal=alice,
        caller=replace(alice, id="bob"),
        steps={},
        jti="j",
        expires_at=1,
        received_at=NOW,
        raw=b"",
    )
    key = ProofKey()
    token, jti = StepCredentials(SIGNER, ORIGIN, key).mint(plan, "git", "git_commit", BINDING, 30, NOW)
    found = check(token, jkt=key.jkt)
    assert (found.jti, found.subject, found.actor, found.context_id) == (jti, "alice", "bot", "ctx-9")
    assert found.expires_at - found.issued_at == 30


def test_no_two_credentials_share_a_jti() -> None:
    assert len({mint().jti for _ in range(200)}) == 200


@pytest.mark.parametrize("lifetime", [0, -1, 61, 3600])
def test_lifetime_beyond_a_minute_is_not_minted(lifetime: int) -> None:
    with pytest.raises(JwsRefused) as refusal:
        mint(lifetime_seconds=lifetime)
    assert refusal.value.reason is Reason.CREDENTIAL_REFUSED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hand": "time"}, Reason.VERIFY_AUDIENCE),
        ({"action": "git_push"}, Reason.CREDENTIAL_REFUSED),
        ({"args_sha256": "9" * 64}, Reason.CREDENTIAL_REFUSED),
        ({"args_sha256": ""}, Reason.CREDENTIAL_REFUSED),
        ({"issuer": "another.example/log"}, Reason.CREDENTIAL_REFUSED),
        ({"jkt": "t" * 43}, Reason.CREDENTIAL_REFUSED),
        ({"now": NOW + 65}, Reason.VERIFY_EXPIRED),
        ({"now": NOW - 6}, Reason.VERIFY_NOT_YET_VALID),
        ({"key_for": {}.__getitem__}, Reason.VERIFY_UNKNOWN_KEY),
    ],
)
def test_credential_for_another_call_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(JwsRefused) as refusal:
        check(mint().token, **changes)
    assert refusal.value.reason is reason


def test_credential_bound_to_a_key_is_refused_without_it() -> None:
    with pytest.raises(JwsRefused) as refusal:
        check(mint(jkt="t" * 43).token)
    assert refusal.value.reason is Reason.CREDENTIAL_REFUSED


def test_second_use_is_refused() -> None:
    used = SingleUse()
    token = mint().token
    check(token, used.claim)
    with pytest.raises(JwsRefused) as refusal:
        check(token, used.claim)
    assert refusal.value.reason is Reason.VERIFY_REPLAYED


def test_a_failed_check_does_not_use_the_credential_up() -> None:
    used = SingleUse()
    token = mint().token
    with pytest.raises(JwsRefused):
        check(token, used.claim, action="git_push")
    check(token, used.claim)


def test_a_full_memory_refuses_rather_than_forgets_a_live_credential() -> None:
    used = SingleUse(capacity=2)
    used.claim("a", 100, now=50.0)
    used.claim("b", 200, now=50.0)
    with pytest.raises(JwsRefused) as refusal:
        used.claim("c", 200, now=60.0)
    assert refusal.value.reason is Reason.CREDENTIAL_REFUSED
    used.claim("c", 200, now=106.0)
    with pytest.raises(JwsRefused):
        used.claim("b", 200, now=106.0)


def test_a_plan_is_no_credential() -> None:
    token = jws.sign(SIGNER.private.sign, jws.protected(SIGNER.public.kid, Typ.PLAN), b"{}")
    with pytest.raises(JwsRefused) as refusal:
        check(token)
    assert refusal.value.reason is Reason.VERIFY_TYPE


def signed(claims: Any) -> str:
    return SIGNER.sign(Purpose.STEP, Typ.STEP, claims if isinstance(claims, bytes) else orjson.dumps(claims))


GOOD = parse(jws.peek(mint().token.encode()).payload)


@pytest.mark.parametrize("member", sorted(GOOD))
def test_credential_without_a_claim_is_refused(member: str) -> None:
    check(signed(GOOD))
    with pytest.raises(JwsRefused):
        check(signed({name: value for name, value in GOOD.items() if name != member}))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": GOOD["iat"] + 61},
        {"exp": GOOD["iat"]},
        {"exp": str(GOOD["exp"])},
        {"exp": float(GOOD["exp"]) + 0.5},
        {"iat": True},
        {"aud": ["hand:git"]},
        {"aud": "git"},
        {"authorization_details": []},
        {"authorization_details": GOOD["authorization_details"] * 2},
        {"authorization_details": [{**GOOD["authorization_details"][0], "type": "other"}]},
        {"authorization_details": [{**GOOD["authorization_details"][0], "args_sha256": None}]},
        {"authorization_details": ["x"]},
        {"act": "alice"},
        {"cnf": []},
        {"jti": ""},
    ],
)
def test_ill_shaped_claims_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(JwsRefused):
        check(signed({**GOOD, **changes}))


@pytest.mark.parametrize("payload", [b"[]", b"null", b"{}", b"\xff", b'{"iss":1,"iss":2}'])
def test_payload_that_is_no_claims_set_is_refused(payload: bytes) -> None:
    with pytest.raises(JwsRefused) as refusal:
        check(signed(payload))
    assert refusal.value.reason is Reason.CREDENTIAL_REFUSED


def test_token_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(JwsRefused) as refusal:
        check("\uff45" + mint().token[1:])
    assert refusal.value.reason is Reason.VERIFY_MALFORMED
