"""Approval requests and people's answers."""

import json
from typing import Literal, cast

from handrail.approvals import sign_answer
from handrail.exchange import Operation, Request, get, listed, path_of, text_of
from handrail.keys import SigningKey
from handrail.operations.gateway import me, trust
from handrail.views import ApprovalPage, ApprovalView, Json


def approvals(
    *, status: str | None = None, after: str | None = None, limit: int | None = None
) -> Operation[ApprovalPage]:
    """A page of the approval requests that the caller may see, newest first.

    Args:
        status: ``"open"`` for those that wait.
        after: ``next`` of the page before.
        limit: requests on the page; the gateway's own choice where ``None``.
    """
    asked = {"status": status, "after": after, "limit": limit}
    reply = yield get("approvals", query={name: str(value) for name, value in asked.items() if value is not None})
    listed(reply, "approvals")
    return cast("ApprovalPage", reply.document)


def approval(approval_id: str) -> Operation[ApprovalView]:
    """One approval request."""
    return cast("ApprovalView", (yield get("approvals", approval_id)).document)


def answers(approval_id: str) -> Operation[list[Json]]:
    """The recorded answers to a request, each as a file that :func:`handrail.verify_answer` verifies offline."""
    return listed((yield get("approvals", approval_id, "answers")), "answers")


def answer(
    request: ApprovalView | str,
    given: Literal["approve", "refuse"],
    key: SigningKey | None = None,
    *,
    approver: str | None = None,
    audience: str | None = None,
) -> Operation[ApprovalView]:
    """Answer an approval request; with ``key`` the answer is signed over exactly the request passed in.

    Args:
        request: the request that the person saw, or its id to fetch it now.
        key: the approver's enrolled key; without it the gateway attests the answer, which policy may refuse.
        approver: the approver's principal id; asked of the gateway where ``None``.
        audience: the log's origin; asked of the gateway where ``None``.

    Raises:
        ApprovalMismatchError: where the call shown is not the one bound; nothing is signed or sent.
    """
    if key is None:
        if isinstance(request, str):
            request = yield from approval(request)
        approval_id, asked = request["id"], request.get("asked", 1)
        body = json.dumps({"answer": given} if asked == 1 else {"answer": given, "asked": asked}).encode()
        reply = yield Request("POST", path_of("approvals", approval_id), body=body, media_type="application/json")
        return cast("ApprovalView", reply.document)
    shown = (yield from approval(request)) if isinstance(request, str) else request
    own_id = approver if approver is not None else text_of((yield from me()), "id")
    origin = audience if audience is not None else text_of((yield from trust()), "origin")
    signed = sign_answer(cast("Json", shown), given, key=key, approver=own_id, audience=origin)
    return (yield from answer_signed(shown["id"], signed))


def answer_signed(approval_id: str, signed: str) -> Operation[ApprovalView]:
    """Send an ``approval+jws`` that was signed elsewhere (:func:`handrail.sign_answer`)."""
    path = path_of("approvals", approval_id)
    reply = yield Request("POST", path, body=signed.encode(), media_type="application/jose")
    return cast("ApprovalView", reply.document)


def approve(
    request: ApprovalView | str,
    key: SigningKey | None = None,
    *,
    approver: str | None = None,
    audience: str | None = None,
) -> Operation[ApprovalView]:
    """:func:`answer` with ``approve``."""
    return (yield from answer(request, "approve", key, approver=approver, audience=audience))


def refuse(
    request: ApprovalView | str,
    key: SigningKey | None = None,
    *,
    approver: str | None = None,
    audience: str | None = None,
) -> Operation[ApprovalView]:
    """:func:`answer` with ``refuse``."""
    return (yield from answer(request, "refuse", key, approver=approver, audience=audience))
