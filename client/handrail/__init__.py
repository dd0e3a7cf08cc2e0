"""Handrail's client: sign plans, submit and follow them, answer approvals, verify receipts offline.

Names are loaded when they are first used, so that a program that only verifies never loads an HTTP client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handrail.answers import VerifiedAnswer, verify_answer, verify_answers
    from handrail.approvals import check_shown, sign_answer
    from handrail.async_client import AsyncClient
    from handrail.client import Client
    from handrail.errors import (
        ApprovalMismatchError,
        CertificateRefused,
        ClientError,
        HandrailProblem,
        KeyFileError,
        MalformedError,
        PlanError,
        TrustError,
        UnexpectedReply,
        Unreachable,
        Unverified,
        VerificationError,
        WebhookError,
    )
    from handrail.framing import frame
    from handrail.guard import Denied, Guard
    from handrail.keys import SigningKey, VerifyKey, load_public, thumbprint
    from handrail.note import Quorum
    from handrail.plan import Plan, Signer, StepHandle
    from handrail.times import parse_time
    from handrail.trust import Trust
    from handrail.verify import ReceiptReport, StepReport, verify_receipt
    from handrail.webhooks import verify_webhook

_HOMES = {
    "answers": ("VerifiedAnswer", "verify_answer", "verify_answers"),
    "approvals": ("check_shown", "sign_answer"),
    "async_client": ("AsyncClient",),
    "client": ("Client",),
    "errors": (
        "ApprovalMismatchError",
        "CertificateRefused",
        "ClientError",
        "HandrailProblem",
        "KeyFileError",
        "MalformedError",
        "PlanError",
        "TrustError",
        "UnexpectedReply",
        "Unreachable",
        "Unverified",
        "VerificationError",
        "WebhookError",
    ),
    "framing": ("frame",),
    "guard": ("Denied", "Guard"),
    "keys": ("SigningKey", "VerifyKey", "load_public", "thumbprint"),
    "note": ("Quorum",),
    "plan": ("Plan", "Signer", "StepHandle"),
    "times": ("parse_time",),
    "trust": ("Trust",),
    "verify": ("ReceiptReport", "StepReport", "verify_receipt"),
    "webhooks": ("verify_webhook",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ApprovalMismatchError",
    "AsyncClient",
    "CertificateRefused",
    "Client",
    "ClientError",
    "Denied",
    "Guard",
    "HandrailProblem",
    "KeyFileError",
    "MalformedError",
    "Plan",
    "PlanError",
    "Quorum",
    "ReceiptReport",
    "Signer",
    "SigningKey",
    "StepHandle",
    "StepReport",
    "Trust",
    "TrustError",
    "UnexpectedReply",
    "Unreachable",
    "Unverified",
    "VerificationError",
    "VerifiedAnswer",
    "VerifyKey",
    "WebhookError",
    "check_shown",
    "frame",
    "load_public",
    "parse_time",
    "sign_answer",
    "thumbprint",
    "verify_answer",
    "verify_answers",
    "verify_receipt",
    "verify_webhook",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'handrail' has no attribute {name!r}")
    value = getattr(import_module(f"handrail.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
