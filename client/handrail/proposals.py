"""Propose a change, or activate somebody else's, with one's own key over exactly the document that was shown."""

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

from handrail import jws
from handrail.errors import ApprovalMismatchError, MalformedError
from handrail.keys import SigningKey
from handrail.strict import canonical, sha256_canonical

LIFETIME_SECONDS: Final = 300
_ID: Final = re.compile(r"[0-9a-f]{32}")
_SALT: Final = re.compile(r"[0-9a-f]{32}")
_BINDING: Final = ("id", "kind", "tenant", "subject", "document_sha256")


def new_binding(kind: str, tenant: str, subject: str, document: Mapping[str, Any]) -> dict[str, str]:
    """What a proposer signs of a new proposal; its id is chosen here, so that it can be made only once."""
    return {
        "id": secrets.token_hex(16),
        "kind": kind,
        "tenant": tenant,
        "subject": subject,
        "document_sha256": sha256_canonical(document),
    }


def check_proposal(proposal: Mapping[str, Any]) -> dict[str, str]:
    """The binding of a proposal, after making sure that its digest is that of the document shown beside it.

    The gateway is not believed: it could show one document and have another one activated.

    Raises:
        ApprovalMismatchError: naming the member that disagrees or is malformed.
    """
    binding = {name: proposal.get(name) for name in _BINDING}
    for name, value in binding.items():
        if not isinstance(value, str) or not value:
            raise ApprovalMismatchError(name, "missing from the proposal")
    document = proposal.get("document")
    if not isinstance(document, dict):
        raise ApprovalMismatchError("document", "the gateway does not show what it asks to activate")
    try:
        shown = sha256_canonical(document)
    except MalformedError as exc:
        raise ApprovalMismatchError("document", str(exc)) from None
    if shown != binding["document_sha256"]:
        raise ApprovalMismatchError("document_sha256", "the document shown is not the one that would be activated")
    if _ID.fullmatch(str(binding["id"])) is None:
        raise ApprovalMismatchError("id", "not the id of a proposal")
    if "request" in proposal:
        check_request(proposal)
    return {name: str(value) for name, value in binding.items()}


def check_request(proposal: Mapping[str, Any]) -> None:
    """Make sure that the request shown beside a change of trust is the one that its document commits to.

    Raises:
        ApprovalMismatchError: it is another one, or is not shown.
    """
    request, salt = proposal.get("request"), proposal.get("request_salt")
    document = proposal.get("document")
    if not isinstance(request, dict) or not isinstance(salt, str) or not isinstance(document, dict):
        raise ApprovalMismatchError("request", "the gateway does not show what it asks to sign")
    if _SALT.fullmatch(salt) is None:
        raise ApprovalMismatchError("request_salt", "16 bytes in hexadecimal")
    try:
        commitment = hashlib.sha256(bytes.fromhex(salt) + canonical(request)).hexdigest()
    except MalformedError as exc:
        raise ApprovalMismatchError("request", str(exc)) from None
    if commitment != document.get("request"):
        raise ApprovalMismatchError("request", "what is shown is not what the document commits to")


def sign_act(
    act: Literal["propose", "activate", "sign", "rollback"],
    binding: Mapping[str, str],
    *,
    key: SigningKey,
    by: str,
    audience: str,
    now: float | None = None,
) -> str:
    """``proposal+jws`` over a binding, from :func:`new_binding` or :func:`check_proposal`.

    Args:
        by: the signer's principal id.
        audience: the gateway's log origin.
        now: seconds since the epoch; the clock where ``None``.
    """
    issued = int(time.time() if now is None else now)
    payload = {
        "v": 1,
        "act": act,
        "proposal": dict(binding),
        "by": by,
        "aud": audience,
        "iat": issued,
        "exp": issued + LIFETIME_SECONDS,
    }
    return jws.sign("proposal+jws", payload, key)
