"""Changes that take two people, or the signatures of several."""

from handrail.exchange import Operation, get, listed, post, text_of
from handrail.keys import SigningKey
from handrail.operations.gateway import me, trust
from handrail.proposals import check_proposal, check_request, new_binding, sign_act
from handrail.views import Json


def proposals(
    *, status: str | None = None, kind: str | None = None, after: str | None = None, limit: int | None = None
) -> Operation[Json]:
    """A page of proposals, newest first: ``{proposals, next}``."""
    reply = yield get("proposals", query={"status": status, "kind": kind, "after": after, "limit": limit})
    listed(reply, "proposals")
    return reply.document


def proposal(proposal_id: str) -> Operation[Json]:
    """One proposal with its exact document."""
    return (yield get("proposals", proposal_id)).document


def propose(kind: str, document: Json, *, subject: str, key: SigningKey | None = None) -> Operation[Json]:
    """Propose a change; nothing changes before somebody else activates it.

    Args:
        subject: what the document is about (a bundle's digest, a hand's id); signed with it.
        key: the caller's enrolled key; whoever has one must sign.
    """
    body: Json = {"kind": kind, "document": document}
    if key is not None:
        caller = yield from me()
        binding = new_binding(kind, text_of(caller, "tenant"), subject, document)
        body["act"] = sign_act(
            "propose", binding, key=key, by=text_of(caller, "id"), audience=text_of((yield from trust()), "origin")
        )
    return (yield post(body, "proposals")).document


def activate(shown: Json | str, key: SigningKey | None = None) -> Operation[Json]:
    """Activate what somebody else proposed: exactly the proposal passed in, or the one with that id as it is now.

    Raises:
        ApprovalMismatchError: where the document shown is not the one bound; nothing is signed or sent.
    """
    document = (yield from proposal(shown)) if isinstance(shown, str) else shown
    binding = check_proposal(document)
    body: Json = {"document_sha256": binding["document_sha256"]}
    if key is not None:
        by, audience = text_of((yield from me()), "id"), text_of((yield from trust()), "origin")
        body["act"] = sign_act("activate", binding, key=key, by=by, audience=audience)
    return (yield post(body, "proposals", binding["id"], "activate")).document


def sign_proposal(shown: Json | str, key: SigningKey | None = None) -> Operation[Json]:
    """Agree to a change of trust: exactly the proposal passed in, or the one with that id as it is now. With enough
    signatures it takes effect.

    Raises:
        ApprovalMismatchError: where the document or the request shown is not the one bound; nothing is signed or sent.
    """
    document = (yield from proposal(shown)) if isinstance(shown, str) else shown
    binding = check_proposal(document)
    check_request(document)
    body: Json = {"document_sha256": binding["document_sha256"]}
    if key is not None:
        by, audience = text_of((yield from me()), "id"), text_of((yield from trust()), "origin")
        body["act"] = sign_act("sign", binding, key=key, by=by, audience=audience)
    return (yield post(body, "proposals", binding["id"], "sign")).document


def withdraw(proposal_id: str) -> Operation[Json]:
    """Take a proposal back, or end what is in force."""
    return (yield post(None, "proposals", proposal_id, "withdraw")).document
