"""Hands: what is there, what changed since it was pinned, and the operator's yes to exactly what was looked at."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import Permission, permits
from gateway.reasons import Reason
from gateway.stages.verify import IDENTIFIER
from gateway.web.bodies import JSON, json_body, one_of, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse, Parameter
from gateway.web.schemas_hands import HandDetail, HandList, PinRequest


def _id(text: str) -> str:
    if IDENTIFIER.fullmatch(text) is None:
        raise ValueError("no id")
    return text


async def list_(request: Request, principal: Principal) -> Response:
    """Every hand that is declared for the principal's tenant, within the principal's scope; or of those what somebody
    else is shown in lists."""
    asked = query(request, "principal").get("principal")
    whose = one_of(asked, "principal", _id, "the id of a principal")
    described = gateway_of(request.scope).hands.describe(principal.tenant)
    seen = [hand for hand in described if principal.may_use(hand["id"])]
    return JsonResponse({"hands": seen if whose is None else await _shown_to(request, principal, whose, seen)})


async def show(request: Request, principal: Principal) -> Response:
    """One hand, with what it offers now against what was pinned."""
    query(request)
    return JsonResponse(_described(request, principal))


async def pin(request: Request, principal: Principal) -> Response:
    """Pin what the hand offers, if it is what the operator looked at."""
    query(request)
    hand_id = _described(request, principal)["id"]
    digest = (await json_body(request, PinRequest)).digest
    hands = gateway_of(request.scope).hands
    await hands.pin(hand_id, digest, principal)
    return JsonResponse(hands.describe_one(principal.tenant, hand_id))


async def _shown_to(
    request: Request, principal: Principal, whose: str, hands: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Which of some hands, with which of their actions, are in the lists of a principal.

    Raises:
        Refused: ``auth.forbidden``, ``request.not_found``.
    """
    if not permits(principal, Permission.POLICY_READ):
        raise Refused(Reason.AUTH_FORBIDDEN, "what somebody else is shown")
    gateway = gateway_of(request.scope)
    person = await gateway.directory.principal(principal.tenant, whose)
    listed = gateway.hands.listed(person)
    hidden, usable = await gateway.menus.hidden(person, listed), {manifest.hand for manifest in listed}
    return [
        {**hand, "actions": [one for one in hand["actions"] if one["name"] not in hidden.get(hand["id"], ())]}
        for hand in hands
        if hand["id"] in usable
    ]


def _described(request: Request, principal: Principal) -> dict[str, Any]:
    hand_id = segment(request, "hand_id")
    if not principal.may_use(hand_id):
        raise Refused(Reason.REQUEST_NOT_FOUND, "outside the principal's scope")
    described = gateway_of(request.scope).hands.describe_one(principal.tenant, hand_id)
    if not permits(principal, Permission.HANDS_MANAGE):
        described.pop("manifest", None)
    return described


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/hands",
        access=Permission.HANDS_LIST,
        tag="hands",
        summary="List hands.",
        handler=list_,
        parameters=(
            Parameter("principal", "What is in this principal's lists of tools; for who may read the policy."),
        ),
        problems=(Reason.REQUEST_NOT_FOUND,),
        answers={200: Body(JSON, HandList, "The declared hands that the caller may see.")},
    ),
    Endpoint(
        method="GET",
        path="/v1/hands/{hand_id}",
        access=Permission.HANDS_LIST,
        tag="hands",
        summary="See a hand, and what changed since it was pinned.",
        handler=show,
        answers={200: Body(JSON, HandDetail, "The hand.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/hands/{hand_id}/pin",
        access=Permission.HANDS_MANAGE,
        tag="hands",
        summary="Pin what a hand offers now.",
        handler=pin,
        requests=(Body(JSON, PinRequest),),
        answers={200: Body(JSON, HandDetail, "The pinned hand.")},
        problems=(Reason.REQUEST_CONFLICT, Reason.HAND_UNAVAILABLE, Reason.LOG_UNAVAILABLE),
    ),
)
