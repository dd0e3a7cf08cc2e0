"""Changes that one person makes, or proposes where it takes several: 202, and nothing has changed."""

from collections.abc import Awaitable, Mapping
from typing import Any, Final

from starlette.responses import Response

from gateway.model import Principal
from gateway.service import Gateway
from gateway.web.bodies import JSON
from gateway.web.routing import Body, JsonResponse
from gateway.web.schemas_proposals import ProposalView

PROPOSED: Final = Body(JSON, ProposalView, "Nothing changed: security admins have to sign this proposal first.")


async def answer(
    gateway: Gateway,
    principal: Principal,
    name: str,
    asked: Mapping[str, Any],
    alone: Awaitable[Mapping[str, Any]],
    status: int,
) -> Response:
    """What ``alone`` made, with ``status``; or the proposal that it takes, with 202."""
    made, done = await gateway.trust_changes.or_propose(principal, name, asked, alone)
    return JsonResponse(made, status if done else 202)
