"""The Git remote that signed bundles are pulled from: what it brought, a pull now, and its server's notices."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import scope
from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, query
from gateway.web.context import gateway_of, source_of
from gateway.web.routing import Access, Body, Endpoint, JsonResponse
from gateway.web.schemas_policy import Noticed, RemoteView

NOTICES_PER_MINUTE: Final = 30
"""From one source."""
NOTICE_MAX_BYTES: Final = 26_214_400
"""GitHub's largest notice. It is hashed as it arrives, and not kept."""
NOTIFY: Final = "/v1/policy/remote/notify"
LARGER_BODIES: Final = {NOTIFY: NOTICE_MAX_BYTES}
"""See ``policy.LARGER_BODIES``."""


async def show(request: Request, principal: Principal) -> Response:
    """The remote, and what became of the newest pull."""
    query(request)
    scope.require_every_tenant(principal)
    return JsonResponse(gateway_of(request.scope).pulling.view())


async def pull(request: Request, principal: Principal) -> Response:
    """Pull now. The policy is every tenant's."""
    query(request)
    scope.require_every_tenant(principal)
    return JsonResponse(await gateway_of(request.scope).pulling.pull())


async def notify(request: Request) -> Response:
    """A Git server says that something was pushed. It is told nothing, and nothing that it says is used."""
    request.app.state.notices.check(source_of(request.scope))
    pulling = gateway_of(request.scope).pulling
    signature, token = _one(request, "x-hub-signature-256"), _one(request, "x-gitlab-token")
    digest = pulling.notice_digest()
    if digest is not None and signature is not None:
        async for block in request.stream():
            digest.update(block)
    pulling.check_notice(signature, token, digest)
    pulling.notify()
    return JsonResponse({"noticed": True}, 202)


def _one(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Refused(Reason.VERIFY_SIGNATURE, f"two headers {name}")
    return values[0] if values else None


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/policy/remote",
        access=Permission.POLICY_READ,
        tag="policy",
        summary="See the Git remote and its newest pull.",
        handler=show,
        answers={200: Body(JSON, RemoteView, "The remote, the newest bundle that it brought, and what is wrong.")},
        problems=(Reason.AUTH_BOUND, Reason.POLICY_NO_REMOTE),
    ),
    Endpoint(
        method="POST",
        path="/v1/policy/remote/pull",
        access=Permission.POLICY_PROPOSE,
        tag="policy",
        summary="Pull from the Git remote now.",
        handler=pull,
        answers={200: Body(JSON, RemoteView, "What became of the pull. It has no bundle decide.")},
        problems=(Reason.AUTH_BOUND, Reason.POLICY_NO_REMOTE),
    ),
    Endpoint(
        method="POST",
        path=NOTIFY,
        access=Access.OPEN,
        tag="policy",
        summary="Notify of a push: the Git server's webhook.",
        open_handler=notify,
        requests=(Body(JSON, description="Whatever the server sends; nothing of it is used beside its signature."),),
        answers={202: Body(JSON, Noticed, "It will be pulled soon.")},
        problems=(Reason.POLICY_NO_REMOTE, Reason.VERIFY_SIGNATURE, Reason.LIMIT_NOTICES),
    ),
)
