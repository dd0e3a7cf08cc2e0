"""What a traceback or a log line would show of a plan or a call holds no credential and no argument."""

from typing import Any

import pytest

from gateway.calls import HandCall
from gateway.model import Issuer, Plan, Principal, Role, UnverifiedPlan, VerifiedPlan

CANARY = "canary-7f3a"
CALLER = Principal("bot", "default", "p1", frozenset({Role.AGENT}))
ISSUER = Issuer("brain", "default", {})
RAW = CANARY.encode()
PLAN: dict[str, Any] = {"plan_id": "ab", "issuer": ISSUER, "kid": "k", "principal": CALLER, "caller": CALLER}


@pytest.mark.parametrize(
    "shown",
    [
        HandCall(
            "t",
            "p",
            "c",
            "ab",
            "s",
            "h",
            "a",
            {"x": CANARY},
            RAW,
            CANARY,
            "m",
            1.0,
            1,
            prove=lambda _method, _url: CANARY,
        ),
        UnverifiedPlan(RAW, CALLER, 0.0),
        VerifiedPlan(raw=RAW, claims={"request": CANARY}, received_at=0.0, **PLAN),
        Plan(raw=RAW, context_id="c", tenant="t", steps={}, jti="j", expires_at=1, received_at=0.0, **PLAN),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_a_repr_holds_no_credential_and_no_content(shown: object) -> None:
    assert CANARY not in repr(shown)
    assert repr(shown).startswith(f"{type(shown).__name__}(")
