"""Who somebody elsewhere is here: links of principals to subjects of other issuers, and to client certificates."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.certificates import Certificate, CertificateName, NameKind
from gateway.errors import Malformed
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.bodies import JSON, json_body, query, segment
from gateway.web.context import gateway_of
from gateway.web.routes.agreeing import PROPOSED, answer
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_directory import CertificateRequest, LinkList, LinkRequest, LinkShown


async def list_(request: Request, principal: Principal) -> Response:
    """A principal's links, the revoked among them."""
    query(request)
    directory = gateway_of(request.scope).directory
    return JsonResponse({"links": await directory.links(principal, segment(request, "principal_id"))})


async def add(request: Request, principal: Principal) -> Response:
    """Link a subject of an issuer to a principal."""
    query(request)
    principal_id = segment(request, "principal_id")
    asked = await json_body(request, LinkRequest)
    gateway = gateway_of(request.scope)
    alone = gateway.directory.link_subject(principal, principal_id, asked.issuer, asked.subject)
    named = {"id": principal_id, "issuer": asked.issuer, "subject": asked.subject}
    return await answer(gateway, principal, "principal.link", named, alone, 201)


async def add_certificate(request: Request, principal: Principal) -> Response:
    """Link a client certificate, or a name in certificates, to a principal."""
    query(request)
    principal_id = segment(request, "principal_id")
    asked = await json_body(request, CertificateRequest)
    gateway = gateway_of(request.scope)
    alone = gateway.directory.link_certificate(principal, principal_id, _shown(asked))
    named = {"id": principal_id, **asked.model_dump(exclude_none=True)}
    return await answer(gateway, principal, "principal.link", named, alone, 201)


def _shown(asked: CertificateRequest) -> Certificate | CertificateName:
    """The certificate or the name, never both."""
    match asked:
        case CertificateRequest(certificate=str(pem), kind=None, value=None):
            return Certificate.read_pem(pem)
        case CertificateRequest(certificate=None, kind=str(kind), value=str(value)):
            return NameKind(kind), value
    raise Malformed("both, or none", pointer="", expected="certificate, or kind and value")


async def revoke(request: Request, principal: Principal) -> Response:
    """Revoke a link, for ever."""
    query(request)
    directory = gateway_of(request.scope).directory
    link_id = segment(request, "link_id")
    return JsonResponse(await directory.unlink(principal, segment(request, "principal_id"), link_id))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/principals/{principal_id}/links",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="List a principal's links to identities elsewhere.",
        handler=list_,
        answers={200: Body(JSON, LinkList, "The links, revoked ones too.")},
    ),
    Endpoint(
        method="POST",
        path="/v1/principals/{principal_id}/links",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Link a subject of an issuer to a principal.",
        handler=add,
        requests=(Body(JSON, LinkRequest),),
        answers={201: Body(JSON, LinkShown, "The link."), 202: PROPOSED},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="POST",
        path="/v1/principals/{principal_id}/certificates",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Link a client certificate, or a name in certificates, to a principal.",
        handler=add_certificate,
        requests=(Body(JSON, CertificateRequest),),
        answers={201: Body(JSON, LinkShown, "The link."), 202: PROPOSED},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/principals/{principal_id}/links/{link_id}",
        access=Permission.PRINCIPALS_MANAGE,
        tag="principals",
        summary="Revoke a link, for ever.",
        handler=revoke,
        answers={200: Body(JSON, LinkShown, "The revoked link.")},
        problems=(Reason.REQUEST_CONFLICT, Reason.LOG_UNAVAILABLE),
    ),
)
