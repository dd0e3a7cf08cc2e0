"""How the token endpoint refuses: RFC 6749 section 5.2, with the errors of RFC 8693, 9449 and 6750 beside them."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import HandrailError
from gateway.reasons import TEXTS, Reason

TOKEN_PATH: Final = "/v1/token"  # noqa: S105 - a path

_CLIENT: Final = frozenset(
    {Reason.AUTH_MISSING, Reason.AUTH_INVALID, Reason.AUTH_EXPIRED, Reason.AUTH_SCOPE, Reason.AUTH_BOUND}
)
_GRANT: Final = frozenset(
    {
        Reason.CLAIM_UNKNOWN,
        Reason.CLAIM_TAKEN,
        Reason.CLAIM_OVER,
        Reason.FREEZE_ACTIVE,
        Reason.APPROVAL_EXPIRED,
        Reason.SCHEMA_ERASED,
        Reason.HAND_DRIFTED,
        Reason.POLICY_OUTDATED,
    }
)
_ERRORS: Final[Mapping[Reason, str]] = {
    Reason.AUTH_FORBIDDEN: "unauthorized_client",
    Reason.PROOF_REFUSED: "invalid_dpop_proof",
    Reason.PROOF_NONCE: "use_dpop_nonce",
    **dict.fromkeys(_GRANT, "invalid_grant"),
}
_PARAMETERS: Final[Mapping[object, str]] = {
    "grant_type": "unsupported_grant_type",
    "scope": "invalid_scope",
    "audience": "invalid_target",
    "resource": "invalid_target",
    "authorization_details": "invalid_authorization_details",
}


def refusal(error: HandrailError, status: int, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of an OAuth refusal. ``code`` is the closed reason, beside the OAuth error that it is.

    Args:
        status: that the reason has elsewhere. Here it decides only whether it is the gateway that fails.
    """
    reason = error.reason
    document = {"error_description": TEXTS[reason], **error.facts, "code": str(reason), "request_id": request_id}
    if reason in _CLIENT:
        return 401, {"error": "invalid_client", **document}
    if status >= 500:
        return status, {"error": "temporarily_unavailable" if status == 503 else "server_error", **document}
    named = _ERRORS.get(reason) or _PARAMETERS.get(error.facts.get("parameter")) or "invalid_request"
    return 400, {"error": named, **document}
