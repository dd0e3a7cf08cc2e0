"""The Messages API of Anthropic, governed: clients change their base URL to ``/anthropic``."""

from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp

from gateway.errors import Malformed
from gateway.ingress.anthropic.exchange import Answer
from gateway.ingress.anthropic.forwards import Forwards
from gateway.ingress.anthropic.ingress import Asked, MessagesIngress
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.anthropic_answers import AnswerStream
from gateway.web.anthropic_requests import PREFIX, own_credential, single_headers
from gateway.web.authentication import still_permitted
from gateway.web.bodies import JSON, query, require_media_type, segment
from gateway.web.context import gateway_of, request_id_of
from gateway.web.routing import Body, Endpoint, Handler

MESSAGES_PATH: Final = "/anthropic/v1/messages"
COUNT_PATH: Final = f"{MESSAGES_PATH}/count_tokens"
BATCHES_PATH: Final = f"{MESSAGES_PATH}/batches"
MODELS_PATH: Final = "/anthropic/v1/models"
BODIES: Final = frozenset({MESSAGES_PATH, COUNT_PATH, BATCHES_PATH})
"""Paths that take bodies as large as the API's."""
_PAGE: Final = ("after_id", "before_id", "limit")


async def _asked(request: Request, principal: Principal, *parameters: str, body: bool) -> tuple[Asked, dict[str, str]]:
    if body:
        require_media_type(request, JSON)
    headers = single_headers(request)
    named = query(request, "beta", *parameters)
    betas = [value.decode("latin-1") for name, value in request.scope["headers"] if name == b"anthropic-beta"]
    raw = await request.body() if body else b""
    beta = named.pop("beta", None) == "true"
    base_url = gateway_of(request.scope).settings.server.public_url or f"{request.url.scheme}://{request.url.netloc}"
    own, base_url = own_credential(headers), base_url.rstrip("/") + PREFIX
    return Asked(principal, raw, headers, betas, beta, own, base_url), named


def _stream(request: Request, answering: Coroutine[Any, Any, Answer]) -> ASGIApp:
    return AnswerStream(answering, request_id_of(request.scope), partial(still_permitted, request.scope))


async def messages(request: Request, principal: Principal) -> ASGIApp:
    """Ask the model; see ``gateway.ingress.anthropic``."""
    asked, _ = await _asked(request, principal, body=True)
    return _stream(request, _ingress(request).messages(asked))


async def count(request: Request, principal: Principal) -> ASGIApp:
    """Count the tokens of a request."""
    asked, _ = await _asked(request, principal, body=True)
    return _stream(request, Forwards(_ingress(request)).count(asked))


async def create(request: Request, principal: Principal) -> ASGIApp:
    """Make a batch."""
    asked, _ = await _asked(request, principal, body=True)
    return _stream(request, Forwards(_ingress(request)).create(asked))


def _listing(action: str) -> Handler:
    async def handler(request: Request, principal: Principal) -> ASGIApp:
        asked, named = await _asked(request, principal, *_PAGE, body=False)
        args: dict[str, Any] = dict(named)
        if "limit" in args:
            if not args["limit"].isdecimal() or len(args["limit"]) > 4:
                raise Malformed("limit", parameter="limit", expected="a number from 1 to 1000")
            args["limit"] = int(args["limit"])
        return _stream(request, Forwards(_ingress(request)).look(asked, action, args))

    return handler


async def model(request: Request, principal: Principal) -> ASGIApp:
    """Look at a model."""
    asked, _ = await _asked(request, principal, body=False)
    args = {"id": segment(request, "model_id")}
    return _stream(request, Forwards(_ingress(request)).look(asked, "models.get", args))


def _batch(action: str) -> Handler:
    async def handler(request: Request, principal: Principal) -> ASGIApp:
        asked, _ = await _asked(request, principal, body=False)
        return _stream(request, Forwards(_ingress(request)).batch(asked, action, segment(request, "batch_id")))

    return handler


def _ingress(request: Request) -> MessagesIngress:
    ingress: MessagesIngress = request.app.state.anthropic
    return ingress


def _endpoint(method: str, path: str, handler: Handler, summary: str, *, body: bool = False) -> Endpoint:
    return Endpoint(
        method=method,
        path=path,
        access=Permission.PLANS_SUBMIT,
        tag="anthropic",
        summary=summary,
        handler=handler,
        requests=(Body(JSON, description="The body of a request to the Messages API."),) if body else (),
        answers={200: Body(JSON, description="As the Messages API answers.")},
        problems=(Reason.REQUEST_NOT_FOUND,),
    )


ENDPOINTS: Final = (
    _endpoint("POST", MESSAGES_PATH, messages, "Ask a model (Anthropic Messages API), streaming or not.", body=True),
    _endpoint("POST", COUNT_PATH, count, "Count the tokens of a request to a model.", body=True),
    _endpoint("GET", MODELS_PATH, _listing("models.list"), "List a provider's models."),
    _endpoint("GET", f"{MODELS_PATH}/{{model_id}}", model, "See one of a provider's models."),
    _endpoint("POST", BATCHES_PATH, create, "Ask a model many times, and come for the answers later.", body=True),
    _endpoint("GET", BATCHES_PATH, _listing("batches.list"), "List one's batches."),
    _endpoint("GET", f"{BATCHES_PATH}/{{batch_id}}", _batch("batches.get"), "See a batch of one's own."),
    _endpoint("DELETE", f"{BATCHES_PATH}/{{batch_id}}", _batch("batches.delete"), "Delete a batch of one's own."),
    _endpoint("POST", f"{BATCHES_PATH}/{{batch_id}}/cancel", _batch("batches.cancel"), "Cancel a batch of one's own."),
    _endpoint(
        "GET",
        f"{BATCHES_PATH}/{{batch_id}}/results",
        _batch("batches.results"),
        "Fetch the answers of a batch of one's own; what they would have a client do is judged now.",
    ),
)
