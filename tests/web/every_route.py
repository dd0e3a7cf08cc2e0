"""What each route of the table can be called with."""

from typing import Any
from urllib.parse import urlencode

from gateway.web.anthropic_requests import is_anthropic
from gateway.web.oauth import TOKEN_PATH
from gateway.web.routes import TABLE
from gateway.web.routes.steps import GRANT_TYPE, STEP
from gateway.web.routing import Endpoint
from tests.web.fake import APPROVAL_ID, DIGEST, PLAN_ID, PROPOSAL_ID

JSON = {"content-type": "application/json"}
JOSE = {"content-type": "application/jose"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
JWK = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
RESULT = "/v1/steps/{step_jti}/result"
BODIES: dict[str, Any] = {
    "/v1/approvals/{approval_id}": {"answer": "approve"},
    "/v1/runs": {"prompt": "Look."},
    "/v1/principals": {"id": "bob", "roles": ["agent"]},
    "/v1/principals/{principal_id}/keys": {"ttl_days": 1},
    "/v1/keys": {"purpose": "receipt"},
    "/v1/keys/{kid}/revoke": {"compromised_at": "2026-11-21T02:00:00Z"},
    "/v1/principals/{principal_id}/links": {"issuer": "company", "subject": "s"},
    "/v1/principals/{principal_id}/certificates": {"kind": "uri", "value": "spiffe://example.org/bob"},
    "/v1/issuers": {"id": "brain", "jwk": JWK},
    "/v1/hands/{hand_id}/pin": {"digest": "0" * 64},
    "/v1/secrets": {"name": "token", "value": "the-first-value"},
    "/v1/secrets/{secret_name}/rotate": {"value": "the-second-value"},
    "/v1/policy/shadow": {"digest": "0" * 64},
    "/v1/privacy/access": {"person": "ann"},
    "/v1/privacy/preview": {"person": "ann"},
    "/v1/privacy/erasures": {"person": "ann"},
    "/v1/principals/{principal_id}/name": {"id": "bob"},
    "/v1/privacy/holds": {"person": "ann", "code": "legal_claim"},
    "/v1/freezes": {"scope": "hand", "subject": "git", "cause": "drill", "why": "a drill"},
    RESULT: {"structured": {"x": 1}},
    "/v1/calls": {"context_id": "c", "calls": [{"hand": "git", "action": "status", "args": {}}]},
    "/v1/plans/{plan_id}/steps/{step_id}/report": {"content": [{"type": "text", "text": "done"}]},
    "/v1/plans/{plan_id}/steps/{step_id}/retry": {"why": "it was down", "not_executed": True},
    "/v1/plans/{plan_id}/steps/{step_id}/discard": {"why": "booked by hand"},
    "/v1/managed-agents/{connector}/sessions": {"session_id": "sesn_1"},
    "/v1/proposals": {"kind": "policy.observe", "document": {"hand": "git"}},
    "/v1/proposals/{proposal_id}/activate": {"document_sha256": "0" * 64},
    "/v1/proposals/{proposal_id}/sign": {"document_sha256": "0" * 64},
}
PARAMETERS = {
    "plan_id": PLAN_ID,
    "step_id": "call",
    "step_jti": "a" * 32,
    "approval_id": APPROVAL_ID,
    "receipt_id": f"{PLAN_ID}.call",
    "run_id": f"run_{'0' * 32}",
    "principal_id": "bob",
    "issuer_id": "brain",
    "kid": "k",
    "link_id": "l1",
    "purpose": "step",
    "hand_id": "git",
    "connector": "cloud",
    "session_id": "sesn_1",
    "agent_id": "agent_1",
    "model_id": "claude-opus-4-6",
    "batch_id": "msgbatch_1",
    "secret_name": "token",
    "connection_id": "hub",
    "proposal_id": PROPOSAL_ID,
    "erasure_id": "e1",
    "hold_id": "h1",
    "digest": DIGEST,
    "level": "0",
    "tile_path": "x001/234.p/7",
    "bundle_path": "x001/234.p/7",
}
FORMS = {
    TOKEN_PATH: urlencode({"grant_type": GRANT_TYPE, "subject_token": "a" * 32, "subject_token_type": STEP}).encode(),
}
HEADERS = {TOKEN_PATH: {"dpop": "p"}, RESULT: {"authorization": "DPoP t", "dpop": "p"}}
"""What a route takes beside, or instead of, an API key."""
QUERIES = {"/v1/controls/report": "?framework=gdpr"}
"""Parameters that a route cannot do without."""
HOOK = "/v1/hooks/claude-code"
"""Refuses in words of its own (tests/web/test_hooks.py)."""
ANTHROPIC = [endpoint for endpoint in TABLE if is_anthropic(endpoint.path)]
"""Refuse in the words of the Messages API (tests/web/test_anthropic_routes.py)."""
PLAIN = [
    endpoint
    for endpoint in TABLE
    if endpoint.path not in {"/mcp", "/mcp/{hand_id}", HOOK} and endpoint not in ANTHROPIC
]


def called(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"
