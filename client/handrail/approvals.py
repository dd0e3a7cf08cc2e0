"""Answer an approval request with one's own key, over exactly the call that was shown."""

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

from handrail import jws
from handrail.errors import ApprovalMismatchError, MalformedError
from handrail.keys import SigningKey
from handrail.strict import sha256_canonical

LIFETIME_SECONDS: Final = 300
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
BINDING: Final = (
    "tenant",
    "plan_id",
    "step_id",
    "hand",
    "action",
    "args_sha256",
    "policy_digest",
    "manifest_digest",
)
"""What an answer is bound to; ``asked`` joins it where the request was put to people anew."""


def check_shown(approval: Mapping[str, Any]) -> dict[str, str | int]:
    """The binding of ``approval``, after making sure that it binds the call shown beside it.

    The gateway is not believed: it could show one call and have another one signed. ``args_sha256`` is computed anew
    from the args shown (SHA-256 over RFC 8785); plan, step, hand and action are compared.

    Raises:
        ApprovalMismatchError: naming the member that disagrees or is malformed.
    """
    binding = approval.get("binding")
    if not isinstance(binding, dict) or set(binding) - {"asked"} != set(BINDING):
        raise ApprovalMismatchError("binding", "its members are not exactly those that an approval binds")
    if "asked" in binding and (type(binding["asked"]) is not int or binding["asked"] < 2):
        raise ApprovalMismatchError("asked", "not how often the request was put to people")
    for name in BINDING:
        if not isinstance(binding[name], str) or not binding[name]:
            raise ApprovalMismatchError(name, "missing from the binding")
    for name in ("args_sha256", "policy_digest", "manifest_digest"):
        if not _SHA256.fullmatch(binding[name]):
            raise ApprovalMismatchError(name, "not a hex SHA-256")
    args = approval.get("args")
    if not isinstance(args, dict):
        raise ApprovalMismatchError("args_sha256", "the gateway does not show the args that it asks to approve")
    try:
        shown = sha256_canonical(args)
    except MalformedError as exc:
        raise ApprovalMismatchError("args_sha256", str(exc)) from None
    if shown != binding["args_sha256"]:
        raise ApprovalMismatchError("args_sha256", "the args shown are not the args that would be approved")
    for name in ("plan_id", "step_id", "hand", "action"):
        if approval.get(name) != binding[name]:
            raise ApprovalMismatchError(name, "the request shown is not the one that would be approved")
    return dict(binding)


def sign_answer(
    approval: Mapping[str, Any],
    answer: Literal["approve", "refuse"],
    *,
    key: SigningKey,
    approver: str,
    audience: str,
    now: float | None = None,
) -> str:
    """``approval+jws`` over the binding of ``approval``, which must be the document that the person saw.

    Args:
        approver: the approver's principal id.
        audience: the gateway's log origin.
        now: seconds since the epoch; the clock where ``None``.

    Raises:
        ApprovalMismatchError: where the call shown is not the call bound; nothing is signed then.
    """
    if answer not in {"approve", "refuse"}:
        raise ApprovalMismatchError("answer", "neither approve nor refuse")
    approval_id = approval.get("id")
    if not isinstance(approval_id, str) or not approval_id:
        raise ApprovalMismatchError("id", "the request has no id")
    binding = check_shown(approval)
    issued = int(time.time() if now is None else now)
    payload = {
        "v": 1,
        "approval_id": approval_id,
        "answer": answer,
        "binding": binding,
        "approver": approver,
        "aud": audience,
        "iat": issued,
        "exp": issued + LIFETIME_SECONDS,
        "jti": secrets.token_hex(16),
    }
    return jws.sign("approval+jws", payload, key)
