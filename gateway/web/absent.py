"""What a request named that is not there, or not for who asks: in the words of the request alone, so that the answer is
the same for both.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import absent
from gateway.web.context import ROUTE

KINDS: Final[Mapping[str, str]] = {
    "plan_id": "plan",
    "step_id": "step",
    "step_jti": "step",
    "approval_id": "approval request",
    "receipt_id": "receipt",
    "run_id": "run",
    "principal_id": "principal",
    "issuer_id": "issuer",
    "link_id": "link",
    "kid": "key",
    "purpose": "purpose of a key",
    "hand_id": "hand",
    "digest": "policy bundle",
    "proposal_id": "proposal",
    "erasure_id": "erasure",
    "hold_id": "hold",
    "secret_name": "secret",
    "connection_id": "connection",
    "connector": "connector",
    "session_id": "session",
    "agent_id": "agent",
    "model_id": "model",
    "batch_id": "batch",
    "level": "level",
    "tile_path": "tile",
    "bundle_path": "entry bundle",
}
"""Path parameter -> what it names. A test requires one for every parameter of the route table."""


def absent_at(scope: Mapping[str, Any]) -> dict[str, str | int]:
    """Facts of a 404: what the request's path names, the innermost first. Where several stand in it, which of them is
    not there is not said.
    """
    named = [(KINDS[name], str(value)) for name, value in (scope.get("path_params") or {}).items() if name in KINDS]
    if not named or not scope.get(ROUTE):
        return {}
    (kind, value), *around = reversed(named)
    return absent(kind, value, *around)
