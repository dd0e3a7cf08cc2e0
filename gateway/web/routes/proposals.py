"""Changes that take two people: what is proposed, the second person's yes, and taking it back."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.proposals.acts import Said
from gateway.proposals.life import PAGE_DEFAULT, PAGE_MAX
from gateway.reasons import Reason
from gateway.two_person import Kind, ProposalStatus
from gateway.web.bodies import JSON, after_id, json_body, limit_of, one_of, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import AFTER, Body, Endpoint, JsonResponse, Parameter, limit
from gateway.web.schemas_proposals import ActivationRequest, ProposalList, ProposalRequest, ProposalView


async def list_(request: Request, principal: Principal) -> Response:
    """A page of the tenant's proposals, newest first."""
    asked = query(request, "status", "kind", "after", "limit")
    status = one_of(asked.get("status"), "status", ProposalStatus)
    kind = one_of(asked.get("kind"), "kind", Kind)
    after, at_most = after_id(asked), limit_of(asked, default=PAGE_DEFAULT, maximum=PAGE_MAX)
    proposals = gateway_of(request.scope).proposals
    return JsonResponse(await proposals.list(principal, status, kind, after=after, limit=at_most))


async def show(request: Request, principal: Principal) -> Response:
    """One proposal with its exact document."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).proposals.show(segment(request, "proposal_id"), principal))


async def propose(request: Request, principal: Principal) -> Response:
    """Propose a change; nothing changes before a second person activates it."""
    query(request)
    asked = await json_body(request, ProposalRequest)
    proposals = gateway_of(request.scope).proposals
    return JsonResponse(await proposals.propose(principal, asked.kind, asked.document, signed=_bytes(asked.act)), 201)


async def activate(request: Request, principal: Principal) -> Response:
    """Have exactly what was proposed take effect."""
    query(request)
    proposal_id = segment(request, "proposal_id")
    asked = await json_body(request, ActivationRequest)
    proposals = gateway_of(request.scope).proposals
    return JsonResponse(
        await proposals.activate(
            proposal_id, principal, document_sha256=asked.document_sha256, said=Said(_bytes(asked.act))
        )
    )


async def sign(request: Request, principal: Principal) -> Response:
    """Agree to a change of trust; with enough signatures it takes effect."""
    query(request)
    proposal_id = segment(request, "proposal_id")
    asked = await json_body(request, ActivationRequest)
    proposals = gateway_of(request.scope).proposals
    return JsonResponse(
        await proposals.sign(
            proposal_id, principal, document_sha256=asked.document_sha256, said=Said(_bytes(asked.act))
        )
    )


async def withdraw(request: Request, principal: Principal) -> Response:
    """Take a proposal back, or end what is in force."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).proposals.withdraw(segment(request, "proposal_id"), principal))


def _bytes(act: str | None) -> bytes | None:
    return None if act is None else act.encode()


_SIGNED: Final = (
    Reason.PROPOSAL_KEY,
    Reason.PROPOSAL_MISMATCH,
    Reason.VERIFY_MALFORMED,
    Reason.VERIFY_ALGORITHM,
    Reason.VERIFY_HEADER,
    Reason.VERIFY_TYPE,
    Reason.VERIFY_SIGNATURE,
    Reason.VERIFY_EXPIRED,
    Reason.VERIFY_NOT_YET_VALID,
    Reason.VERIFY_LIFETIME,
    Reason.LOG_UNAVAILABLE,
    Reason.KEY_UNAVAILABLE,
)
_DECIDED: Final = (Reason.PROPOSAL_CLOSED, Reason.PROPOSAL_EXPIRED)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/proposals",
        access=Permission.PROPOSALS_READ,
        tag="proposals",
        summary="List proposals.",
        handler=list_,
        parameters=(
            Parameter(
                "status", "Only those in this state.", {"type": "string", "enum": [str(s) for s in ProposalStatus]}
            ),
            Parameter("kind", "Only those of this kind.", {"type": "string", "enum": [str(kind) for kind in Kind]}),
            AFTER,
            limit(PAGE_DEFAULT, PAGE_MAX),
        ),
        answers={200: Body(JSON, ProposalList, "A page of proposals.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/proposals",
        access=Permission.PROPOSALS_MAKE,
        tag="proposals",
        summary="Propose a change.",
        handler=propose,
        requests=(Body(JSON, ProposalRequest),),
        answers={201: Body(JSON, ProposalView, "The proposal, which waits for a second person.")},
        problems=(Reason.REQUEST_CONFLICT, *_SIGNED),
    ),
    Endpoint(
        method="GET",
        path="/v1/proposals/{proposal_id}",
        access=Permission.PROPOSALS_READ,
        tag="proposals",
        summary="See a proposal.",
        handler=show,
        answers={200: Body(JSON, ProposalView, "The proposal with its exact document.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/proposals/{proposal_id}/activate",
        access=Permission.PROPOSALS_ACTIVATE,
        tag="proposals",
        summary="Activate what somebody else proposed.",
        handler=activate,
        requests=(Body(JSON, ActivationRequest),),
        answers={200: Body(JSON, ProposalView, "The activated proposal.")},
        problems=(Reason.PROPOSAL_SELF, Reason.PROPOSAL_OUTDATED, Reason.REQUEST_CONFLICT, *_DECIDED, *_SIGNED),
    ),
    Endpoint(
        method="POST",
        path="/v1/proposals/{proposal_id}/sign",
        access=Permission.PROPOSALS_ACTIVATE,
        tag="proposals",
        summary="Sign a change of trust.",
        handler=sign,
        requests=(Body(JSON, ActivationRequest),),
        answers={200: Body(JSON, ProposalView, "The proposal as it is now; activated, with the last signature.")},
        problems=(Reason.PROPOSAL_OUTDATED, Reason.REQUEST_CONFLICT, *_DECIDED, *_SIGNED),
    ),
    Endpoint(
        method="POST",
        path="/v1/proposals/{proposal_id}/withdraw",
        access=Permission.PROPOSALS_MAKE,
        tag="proposals",
        summary="Take a proposal back, or end what is in force.",
        handler=withdraw,
        answers={200: Body(JSON, ProposalView, "The proposal as it is now.")},
        problems=(*_DECIDED, Reason.LOG_UNAVAILABLE),
    ),
)
