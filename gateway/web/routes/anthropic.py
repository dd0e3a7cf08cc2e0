"""The Messages API of Anthropic, governed: clients change their base URL to ``/anthropic``."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp

from gateway.ingress.anthropic.ingress import Asked, MessagesIngress
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.anthropic_answers import AnswerStream
from gateway.web.anthropic_requests import own_credential, single_headers
from gateway.web.bodies import JSON, query, require_media_type
from gateway.web.context import request_id_of
from gateway.web.routing import Body, Endpoint

MESSAGES_PATH: Final = "/anthropic/v1/messages"


async def messages(request: Request, principal: Principal) -> ASGIApp:
    """Ask the model; see ``gateway.ingress.anthropic``."""
    require_media_type(request, JSON)
    headers = single_headers(request)
    beta = query(request, "beta").get("beta") == "true"
    ingress: MessagesIngress = request.app.state.anthropic
    betas = [value.decode("latin-1") for name, value in request.scope["headers"] if name == b"anthropic-beta"]
    asked = Asked(principal, await request.body(), headers, betas, beta, own_credential(headers))
    return AnswerStream(ingress.messages(asked), request_id_of(request.scope))


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path=MESSAGES_PATH,
        access=Permission.PLANS_SUBMIT,
        tag="anthropic",
        summary="Ask a model (Anthropic Messages API), streaming or not.",
        handler=messages,
        requests=(Body(JSON, description="The body of a request to the Messages API."),),
        answers={200: Body(JSON, description="A Message; with `stream`, its events (text/event-stream).")},
        problems=(Reason.REQUEST_NOT_FOUND,),
    ),
)
