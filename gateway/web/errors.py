"""The one table from reason to HTTP status and title, and the one problem document (RFC 9457) made from it."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Refused
from gateway.model import DEFAULT_TENANT
from gateway.reasons import TEXTS, Reason
from gateway.web import anthropic_requests, oauth, resources
from gateway.web.absent import absent_at
from gateway.web.context import admission_of, gateway_of, principal_of, request_id_of, source_of

_log = structlog.get_logger(__name__)

PROBLEM_TYPE_PREFIX: Final = "urn:handrail:reason:"
RETRY_AFTER_SECONDS: Final = 1
"""What a 503 or 429 asks a client to wait."""
PEOPLE_RETRY_AFTER_SECONDS: Final = 60
"""The same where people have to act first (``limit.approvals``)."""

ERRORS: Final[dict[Reason, tuple[int, str]]] = {
    Reason.REQUEST_MALFORMED: (400, "Malformed request"),
    Reason.REQUEST_TOO_LARGE: (413, "Request too large"),
    Reason.REQUEST_HEADERS_TOO_LARGE: (431, "Headers too large"),
    Reason.REQUEST_MEDIA_TYPE: (415, "Unsupported media type"),
    Reason.REQUEST_METHOD: (405, "Method not allowed"),
    Reason.REQUEST_TIMEOUT: (408, "Request timed out"),
    Reason.REQUEST_NOT_FOUND: (404, "Not found"),
    Reason.REQUEST_CONFLICT: (409, "Conflict"),
    Reason.REQUEST_INSECURE: (403, "Without TLS"),
    Reason.REQUEST_ORIGIN: (403, "Foreign origin"),
    Reason.AUTH_MISSING: (401, "Credential missing"),
    Reason.AUTH_INVALID: (401, "Credential invalid"),
    Reason.AUTH_EXPIRED: (401, "Credential expired"),
    Reason.AUTH_FORBIDDEN: (403, "Not permitted"),
    Reason.AUTH_SCOPE: (403, "Scope missing"),
    Reason.AUTH_UNAVAILABLE: (503, "Issuer's keys unavailable"),
    Reason.AUTH_BOUND: (403, "Beyond your scope"),
    Reason.PRIVACY_HELD: (409, "Held"),
    Reason.VERIFY_MALFORMED: (400, "Malformed message"),
    Reason.VERIFY_ALGORITHM: (400, "Algorithm not accepted"),
    Reason.VERIFY_HEADER: (400, "Header not accepted"),
    Reason.VERIFY_TYPE: (400, "Wrong message type"),
    Reason.VERIFY_SIGNATURE: (403, "Bad signature"),
    Reason.VERIFY_UNKNOWN_ISSUER: (403, "Unknown issuer"),
    Reason.VERIFY_UNKNOWN_KEY: (403, "Unknown key"),
    Reason.VERIFY_REVOKED_KEY: (403, "Key not valid"),
    Reason.VERIFY_AUDIENCE: (403, "Wrong audience"),
    Reason.VERIFY_TENANT: (403, "Wrong tenant"),
    Reason.VERIFY_SUBJECT: (403, "Subject not permitted"),
    Reason.VERIFY_EXPIRED: (400, "Message expired"),
    Reason.VERIFY_NOT_YET_VALID: (400, "Message not yet valid"),
    Reason.VERIFY_LIFETIME: (400, "Lifetime too long"),
    Reason.VERIFY_REPLAYED: (409, "Message replayed"),
    Reason.VERIFY_CONTEXT: (403, "Context belongs to another"),
    Reason.SCHEMA_JSON: (400, "Not strict JSON"),
    Reason.SCHEMA_PLAN: (422, "Not a plan"),
    Reason.SCHEMA_TOO_MANY_STEPS: (422, "Too many steps"),
    Reason.SCHEMA_CYCLE: (422, "Circular dependency"),
    Reason.SCHEMA_REFERENCE: (422, "Bad reference"),
    Reason.SCHEMA_ARGS: (422, "Arguments off schema"),
    Reason.SCHEMA_RESULT: (502, "Result off schema"),
    Reason.SCHEMA_UNKNOWN_HAND: (422, "Unknown hand"),
    Reason.SCHEMA_UNKNOWN_ACTION: (422, "Unknown action"),
    Reason.SCHEMA_UNRESOLVED: (422, "Reference unresolved"),
    Reason.SCHEMA_ERASED: (410, "Step erased"),
    Reason.SCHEMA_ANALYSIS: (422, "Call not understood"),
    Reason.POLICY_DENIED: (403, "Denied by policy"),
    Reason.POLICY_UNDECIDED: (403, "Not allowed by policy"),
    Reason.POLICY_ERROR: (500, "Policy failed"),
    Reason.POLICY_TIMEOUT: (503, "Policy timed out"),
    Reason.POLICY_UNAVAILABLE: (503, "Policy engine unavailable"),
    Reason.POLICY_OBLIGATION: (422, "Not enforceable"),
    Reason.POLICY_UNREDACTED: (422, "Not redacted"),
    Reason.POLICY_INPUT: (413, "Policy input too large"),
    Reason.POLICY_OBSERVED_DENY: (200, "Denied by policy, observed"),
    Reason.POLICY_OBSERVED_ASK: (200, "Asked by policy, observed"),
    Reason.POLICY_STRICTER: (200, "The stricter of two bundles"),
    Reason.POLICY_OUTDATED: (409, "Policy changed"),
    Reason.POLICY_BUNDLE: (422, "Policy bundle refused"),
    Reason.POLICY_SOURCE: (502, "Policy repository unreadable"),
    Reason.POLICY_DIRECTORY: (409, "Policies come from a directory"),
    Reason.POLICY_NOT_ACTIVATED: (409, "Never activated"),
    Reason.POLICY_NO_REMOTE: (404, "No Git remote"),
    Reason.POLICY_CANDIDATE: (409, "No engine for a candidate"),
    Reason.APPROVAL_REFUSED: (403, "Approval refused"),
    Reason.APPROVAL_EXPIRED: (409, "Approval expired"),
    Reason.APPROVAL_VOIDED: (409, "Approval voided"),
    Reason.APPROVAL_MISMATCH: (409, "Approval for another call"),
    Reason.APPROVAL_SELF: (403, "Self-approval refused"),
    Reason.APPROVAL_ROLE: (403, "Role may not approve"),
    Reason.APPROVAL_KEY: (403, "Approval key not enrolled"),
    Reason.APPROVAL_CLOSED: (409, "Approval already answered"),
    Reason.PROPOSAL_SELF: (403, "Own proposal"),
    Reason.PROPOSAL_KEY: (403, "Not signed by the enrolled key"),
    Reason.PROPOSAL_MISMATCH: (409, "Another proposal"),
    Reason.PROPOSAL_CLOSED: (409, "Proposal already decided"),
    Reason.PROPOSAL_EXPIRED: (409, "Proposal expired"),
    Reason.PROPOSAL_OUTDATED: (409, "Proposal outdated"),
    Reason.PROPOSAL_REQUIRED: (409, "More people needed"),
    Reason.FREEZE_ACTIVE: (403, "Frozen"),
    Reason.CREDENTIAL_REFUSED: (403, "Credential refused"),
    Reason.CLAIM_UNKNOWN: (404, "No such step"),
    Reason.CLAIM_TAKEN: (409, "Claimed before"),
    Reason.CLAIM_OVER: (409, "Not offered any more"),
    Reason.CLAIM_EXPIRED: (409, "Nobody claimed it"),
    Reason.PROOF_REFUSED: (401, "Proof refused"),
    Reason.PROOF_NONCE: (401, "Nonce needed"),
    Reason.RESULT_TAKEN: (409, "Result taken before"),
    Reason.RESULT_LATE: (409, "Result too late"),
    Reason.LOG_UNAVAILABLE: (503, "Audit log unavailable"),
    Reason.LOG_UNWITNESSED: (503, "Log not witnessed"),
    Reason.LOG_FORKED: (503, "Log forked"),
    Reason.LOG_DROPPED: (410, "Entry dropped"),
    Reason.KEY_UNAVAILABLE: (503, "Signing key unavailable"),
    Reason.HAND_UNAVAILABLE: (503, "Hand unavailable"),
    Reason.HAND_DRIFTED: (409, "Hand drifted"),
    Reason.HAND_FAILED: (502, "Hand failed"),
    Reason.HAND_CRASHED: (502, "Hand crashed"),
    Reason.HAND_TIMEOUT: (504, "Hand timed out"),
    Reason.HAND_PROTOCOL: (502, "Hand unreadable"),
    Reason.HAND_RESULT_TOO_LARGE: (502, "Result too large"),
    Reason.HAND_LOST_REPLY: (502, "Reply lost"),
    Reason.HAND_CANCELLED: (409, "Cancelled"),
    Reason.HAND_CIRCUIT_OPEN: (503, "Hand left alone"),
    Reason.HAND_BUSY: (503, "Hand busy"),
    Reason.SECRET_MISSING: (502, "Secret missing"),
    Reason.CONNECTION_NEEDED: (403, "Consent needed"),
    Reason.CONNECTION_REFUSED: (403, "Not connected"),
    Reason.CONNECTION_UNAVAILABLE: (502, "Service unavailable"),
    Reason.SECRET_UNAVAILABLE: (503, "Secret unavailable"),
    Reason.LOG_RESTORED: (502, "Log restored"),
    Reason.AGENTS_UNAVAILABLE: (502, "Agents' service unavailable"),
    Reason.AGENTS_REFUSED: (502, "Service refused"),
    Reason.AGENTS_UNMAPPED: (403, "Tool unknown"),
    Reason.AGENTS_BYPASSED: (409, "Session went past the gateway"),
    Reason.AGENTS_AMBIGUOUS: (502, "Answer uncertain"),
    Reason.AGENTS_LEASE_LOST: (409, "Work taken back"),
    Reason.TLS_CERTIFICATE: (503, "Certificate unusable"),
    Reason.DEPENDENCY_UNSUCCESSFUL: (424, "Dependency unsuccessful"),
    Reason.LIMIT_PLANS: (429, "Too many plans"),
    Reason.LIMIT_APPROVALS: (429, "Too many open approvals"),
    Reason.LIMIT_LOGINS: (429, "Too many logins"),
    Reason.LIMIT_NOTICES: (429, "Too many notices"),
    Reason.LIMIT_READS: (429, "Too many reads"),
    Reason.LIMIT_REPORTS: (429, "One report at a time"),
    Reason.RUN_NO_BRAIN: (422, "No brain"),
    Reason.RUN_BRAIN: (409, "Brain unusable"),
    Reason.RUN_BUDGET: (409, "Budget used"),
    Reason.RUN_DEADLINE: (409, "Deadline over"),
    Reason.RUN_CANCELLED: (409, "Run cancelled"),
    Reason.RUN_ANSWER: (502, "Answer unusable"),
    Reason.RUN_STOPPED: (502, "Model stopped"),
    Reason.RUN_ERASED: (410, "Run erased"),
    Reason.LIMIT_RUNS: (429, "Too many runs"),
    Reason.LIMIT_REQUESTS: (429, "Too many requests"),
    Reason.LIMIT_ANONYMOUS: (429, "Too many requests from nobody"),
    Reason.LIMIT_CONNECTIONS: (429, "Too many connections"),
    Reason.OVERLOADED: (503, "Overloaded"),
    Reason.DRAINING: (503, "Stopping"),
    Reason.INTERNAL: (500, "Internal error"),
}
"""Reason -> (HTTP status, title). A meta-test requires an entry for every reason."""

_PROOFS: Final = {Reason.PROOF_REFUSED: "invalid_dpop_proof", Reason.PROOF_NONCE: "use_dpop_nonce"}
_RECORDED_AREAS: Final = ("request.", "auth.")
"""Refusals of these areas happen before the pipeline, so nobody else records them."""


class ProblemResponse(Response):
    """An RFC 9457 problem document."""

    media_type = "application/problem+json"
    charset = ""


def document(reason: Reason, request_id: str, facts: Mapping[str, str | int]) -> dict[str, Any]:
    """The members of a problem document; facts never shadow a member of their own."""
    status, title = ERRORS[reason]
    return {
        **facts,
        "type": PROBLEM_TYPE_PREFIX + reason,
        "title": title,
        "status": status,
        "detail": TEXTS[reason],
        "code": str(reason),
        "request_id": request_id,
    }


def problem(error: HandrailError, request_id: str, *, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """The response for ``error``: its reason, its fixed text and its safe facts, never its private detail."""
    body = document(error.reason, request_id, error.facts)
    extra = dict(headers or {})
    if body["status"] in (429, 503):
        people = error.reason is Reason.LIMIT_APPROVALS
        usual = PEOPLE_RETRY_AFTER_SECONDS if people else RETRY_AFTER_SECONDS
        extra["retry-after"] = str(error.facts.get("retry_after_seconds", usual))
        if error.reason is Reason.DRAINING:
            extra["connection"] = "close"
    elif error.reason in _PROOFS:
        extra["www-authenticate"] = f'DPoP error="{_PROOFS[error.reason]}", algs="Ed25519"'
    elif body["status"] == 401:
        # RFC 6750 section 3: no error code where no credential was offered.
        invalid = "" if error.reason is Reason.AUTH_MISSING else ', error="invalid_token"'
        extra["www-authenticate"] = f'Bearer realm="handrail"{invalid}'
    elif error.reason is Reason.AUTH_SCOPE:
        extra["www-authenticate"] = 'Bearer realm="handrail", error="insufficient_scope"'
    elif body["status"] in (408, 413, 431):
        # The rest of the body is not wanted; reading it to keep the connection would cost as much as serving it.
        extra["connection"] = "close"
    return ProblemResponse(orjson.dumps(body), body["status"], extra)


def answer(scope: Mapping[str, Any], error: HandrailError) -> Response:
    """The response for ``error`` to this request: a problem document, or OAuth's own at the token endpoint."""
    request_id = request_id_of(scope)
    headers = {}
    if error.reason in _PROOFS:
        # RFC 9449 sections 8 and 9: whoever is refused for its proof learns what the next one needs.
        headers["dpop-nonce"] = gateway_of(scope).claims.proofs.nonce()
    shown = problem(error, request_id, headers=headers)
    challenge = shown.headers.get("www-authenticate")
    if challenge is not None:
        settings = gateway_of(scope).settings
        shown.headers["www-authenticate"] = resources.challenged(settings, scope["path"], challenge)
    if scope["path"] != oauth.TOKEN_PATH:
        return shaped(scope, error, shown)
    status, body = oauth.refusal(error, shown.status_code, request_id)
    kept = ("dpop-nonce", "retry-after", "www-authenticate", "connection")
    extra = {name: shown.headers[name] for name in kept if name in shown.headers}
    return Response(orjson.dumps(body), status, {"cache-control": "no-store", **extra}, "application/json")


def shaped(scope: Mapping[str, Any], error: HandrailError, shown: ProblemResponse) -> Response:
    """A problem document, or the same in the form of the API that the request is one of."""
    if not anthropic_requests.is_anthropic(scope["path"]):
        return shown
    kept = {name: shown.headers[name] for name in ("retry-after", "allow", "connection") if name in shown.headers}
    return anthropic_requests.problem(error, shown.status_code, request_id_of(scope), kept)


def report(scope: Mapping[str, Any], error: HandrailError) -> None:
    """Log a refusal, and record it in the audit log where the pipeline cannot have done so.

    Aggregated per source and minute: the client's address before authentication, the principal's pseudonym after.
    """
    status = ERRORS[error.reason][0]
    level = _log.error if status >= 500 else _log.info
    level("request refused", code=str(error.reason), detail=error.detail, request_id=request_id_of(scope))
    if principal_of(scope) is None:
        admission_of(scope).fails(scope, error)
    if error.reason.startswith(_RECORDED_AREAS):
        principal = principal_of(scope)
        draft = EntryDraft(
            type=EntryType.ACCESS_REFUSED,
            tenant=principal.tenant if principal else DEFAULT_TENANT,
            principal=principal.pseudonym if principal else None,
            reasons=(str(error.reason),),
        )
        gateway_of(scope).log.aggregate(draft, principal.pseudonym if principal else source_of(scope))


async def on_handrail_error(request: Request, exc: Exception) -> Response:
    """Exception handler for every refusal and failure that has a reason."""
    error = exc if isinstance(exc, HandrailError) else HandrailError(Reason.INTERNAL, type(exc).__name__)
    if error.reason is Reason.REQUEST_NOT_FOUND and "kind" not in error.facts:
        error = Refused(error.reason, error.detail, **{**error.facts, **absent_at(request.scope)})
    report(request.scope, error)
    return answer(request.scope, error)


async def on_http_exception(request: Request, exc: Exception) -> Response:
    """Exception handler for what the router raises: no such path, no such method."""
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = (exc.headers if isinstance(exc, HTTPException) else None) or {}
    reason = {404: Reason.REQUEST_NOT_FOUND, 405: Reason.REQUEST_METHOD}.get(status, Reason.REQUEST_MALFORMED)
    error = Refused(reason)
    report(request.scope, error)
    return shaped(request.scope, error, problem(error, request_id_of(request.scope), headers=headers))
