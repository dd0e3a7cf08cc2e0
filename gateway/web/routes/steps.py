"""Remote hands: which steps wait, claiming one (RFC 8693 token exchange with a DPoP proof), returning its result."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.calls import HandResult
from gateway.errors import Malformed, Refused
from gateway.ingress.plans import wait_seconds
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.ports import Proof
from gateway.reasons import Reason
from gateway.remote_steps.claims import WORK_MAX
from gateway.web.bodies import FORM, JSON, form, limit_of, parsed, query, require_media_type, segment
from gateway.web.context import gateway_of
from gateway.web.oauth import TOKEN_PATH
from gateway.web.routing import Access, Body, Endpoint, JsonResponse, Parameter, limit
from gateway.web.schemas_steps import ResultReturn, ResultTaken, TokenRefusal, TokenView, WorkView

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
STEP: Final = "urn:handrail:token-type:step"
"""``subject_token_type``: the subject token is a ``step_jti``, which stands for what a principal was allowed to have
done."""
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
WORK_DEFAULT: Final = 20
NONCE: Final = "dpop-nonce"
_UNWANTED: Final = ("actor_token", "audience", "authorization_details", "resource", "scope")
"""The step alone says what it is about: whatever narrows or changes that is refused, not ignored."""


async def work(request: Request, principal: Principal) -> Response:
    """Which steps a hand may claim; waits for one where there is none."""
    asked = query(request, "wait", "limit")
    gateway = gateway_of(request.scope)
    wait = wait_seconds(asked.get("wait"), gateway.settings.server.wait_max_seconds)
    most = limit_of(asked, default=WORK_DEFAULT, maximum=WORK_MAX)
    steps = await gateway.claims.work(principal, segment(request, "hand_id"), most, wait)
    return JsonResponse({"steps": list(steps)}, headers=_nonce(request))


async def exchange(request: Request, principal: Principal) -> Response:
    """Claim a step."""
    query(request)
    proof = _proof(request, None)
    body = await request.body()
    proof.covers(body)
    asked = form(request, body)
    for name, wanted in (("grant_type", GRANT_TYPE), ("subject_token_type", STEP)):
        if asked.get(name) != wanted:
            raise Malformed("another", parameter=name, expected=wanted)
    if asked.get("requested_token_type", JWT) != JWT:
        raise Malformed("another", parameter="requested_token_type", expected=JWT)
    for name in _UNWANTED:
        if name in asked:
            raise Malformed("unwanted", parameter=name, expected="nothing: the step says it")
    step_jti = asked.get("subject_token")
    if not step_jti:
        raise Malformed("missing", parameter="subject_token", expected="a step_jti")
    handed = await gateway_of(request.scope).claims.claim(principal, step_jti, proof.jkt)
    answer = {
        "access_token": handed.credential,
        "issued_token_type": JWT,
        "token_type": "DPoP",
        "expires_in": handed.expires_in,
        "scope": handed.binding.action,
        "authorization_details": [{"type": "handrail_step", **handed.binding.document()}],
        "args": handed.args,
        "lease_seconds": handed.lease_seconds,
        "result_max_bytes": handed.result_max_bytes,
        "idempotency_key": handed.idempotency_key,
    }
    return JsonResponse(answer, headers={"cache-control": "no-store", **_nonce(request)})


async def give_back(request: Request) -> Response:
    """Take the result of a claimed step. The credential and its key say whose it is, before the body is read."""
    query(request)
    results = gateway_of(request.scope).results
    credential = _credential(request)
    lease = await results.leased(segment(request, "step_jti"), credential)
    proof = _proof(request, credential)
    if proof.jkt != lease.jkt:
        raise Refused(Reason.PROOF_REFUSED, "by another key")
    require_media_type(request, JSON)
    body = await request.body()
    proof.covers(body)
    returned = parsed(body, ResultReturn)
    result = HandResult(tuple(returned.content), returned.structured, returned.is_error)
    taken: dict[str, Any] = await results.take(lease, result)
    return JsonResponse(taken, headers=_nonce(request))


def _nonce(request: Request) -> dict[str, str]:
    return {NONCE: gateway_of(request.scope).claims.proofs.nonce()}


def _proof(request: Request, credential: str | None) -> Proof:
    values = request.headers.getlist("dpop")
    if len(values) != 1:
        raise Refused(Reason.PROOF_REFUSED, "not one DPoP header")
    proofs = gateway_of(request.scope).claims.proofs
    return proofs.check(values[0], request.method, request.url.path, credential)


def _credential(request: Request) -> str:
    values = request.headers.getlist("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "dpop" or not token or not token.isascii():
        raise Refused(Reason.CREDENTIAL_REFUSED, "not one DPoP-bound token")
    return token


_WHY_NOT: Final = (
    Reason.CLAIM_UNKNOWN,
    Reason.CLAIM_TAKEN,
    Reason.CLAIM_OVER,
    Reason.PROOF_REFUSED,
    Reason.PROOF_NONCE,
    Reason.FREEZE_ACTIVE,
    Reason.APPROVAL_EXPIRED,
    Reason.SCHEMA_ERASED,
    Reason.HAND_DRIFTED,
    Reason.POLICY_OUTDATED,
    Reason.LOG_UNAVAILABLE,
    Reason.KEY_UNAVAILABLE,
)

_REFUSALS: Final = {
    400: "The step is not the claimant's, or the request is not one for it",
    401: "It is not known who asks",
    500: "The gateway failed",
    503: "Not now",
}

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/hands/{hand_id}/work",
        access=Permission.STEPS_CLAIM,
        tag="steps",
        summary="Learn which steps wait for a remote hand.",
        handler=work,
        parameters=(
            Parameter("wait", "Seconds to wait for a step.", {"type": "number", "minimum": 0}),
            limit(WORK_DEFAULT, WORK_MAX),
        ),
        answers={200: Body(JSON, WorkView, "The steps, none where none came in time.")},
        problems=(Reason.AUTH_BOUND, Reason.OVERLOADED),
    ),
    Endpoint(
        method="POST",
        path=TOKEN_PATH,
        access=Permission.STEPS_CLAIM,
        tag="steps",
        summary="Claim a step: exchange its id for its credential and arguments.",
        handler=exchange,
        requests=(Body(FORM, description="RFC 8693: grant_type, subject_token (a step_jti), subject_token_type."),),
        parameters=(Parameter("DPoP", "A proof (RFC 9449) with nonce and body_sha256.", place="header"),),
        answers={200: Body(JSON, TokenView, "The step is the claimant's.")},
        refusals={
            status: Body(JSON, TokenRefusal, f"{said} (RFC 6749, section 5.2).") for status, said in _REFUSALS.items()
        },
        problems=_WHY_NOT,
    ),
    Endpoint(
        method="POST",
        path="/v1/steps/{step_jti}/result",
        access=Access.OPEN,
        tag="steps",
        summary="Return the result of a claimed step.",
        open_handler=give_back,
        requests=(Body(JSON, ResultReturn),),
        parameters=(
            Parameter("Authorization", "DPoP, and the step credential.", place="header"),
            Parameter("DPoP", "A proof with nonce, ath and body_sha256.", place="header"),
        ),
        answers={200: Body(JSON, ResultTaken, "The result is taken.")},
        problems=(
            Reason.CREDENTIAL_REFUSED,
            Reason.PROOF_REFUSED,
            Reason.PROOF_NONCE,
            Reason.RESULT_TAKEN,
            Reason.RESULT_LATE,
            Reason.CLAIM_OVER,
            Reason.FREEZE_ACTIVE,
            Reason.SCHEMA_JSON,
            Reason.LOG_UNAVAILABLE,
        ),
    ),
)
