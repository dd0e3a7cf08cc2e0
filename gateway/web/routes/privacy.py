"""Personal data: what is held about a person, its erasure, and the holds against one. Each is on record."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from audit.erasure import Erasure
from audit.subjects import Hold
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.privacy.page import markdown
from gateway.reasons import Reason
from gateway.times import format_time
from gateway.web.authentication import authenticate
from gateway.web.bodies import JSON, json_body, query, segment
from gateway.web.context import gateway_of
from gateway.web.downloads import Download
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas_privacy import (
    AccessExport,
    AccessRequest,
    ErasurePreview,
    ErasureRequest,
    ErasureView,
    HoldList,
    HoldRequest,
    HoldView,
    PersonNamed,
)

MARKDOWN: Final = "text/markdown"
_PERSON: Final = "@person/"


async def access(request: Request, principal: Principal) -> ASGIApp:
    """Everything held about a person, as it is read."""
    query(request)
    asked = await json_body(request, AccessRequest)
    owner = f"{principal.tenant}/{principal.id}"
    request.app.state.streams.require_room(owner)
    parts = await gateway_of(request.scope).privacy.access(principal, asked.person)
    as_page = asked.format == "markdown"
    chunks = markdown(parts) if as_page else _json(parts)
    headers = {
        "content-type": f"{MARKDOWN}; charset=utf-8" if as_page else JSON,
        "cache-control": "no-store, no-transform",
    }
    return Download(chunks, headers, request.app.state.streams, owner, partial(authenticate, request.scope))


async def preview(request: Request, principal: Principal) -> Response:
    """What an erasure would take."""
    query(request)
    asked = await json_body(request, PersonNamed)
    gateway = gateway_of(request.scope)
    found = await gateway.privacy.preview(principal, asked.person)
    return JsonResponse(
        {
            "keys": found.keys,
            "values": found.values,
            "shared": found.shared,
            "rows": dict(found.rows),
            "acts": found.acts,
            "principal": found.principal,
            "plans_under_way": found.plans_under_way,
            "holds": [_hold(hold, gateway.clock()) for hold in found.holds],
        }
    )


async def erase(request: Request, principal: Principal) -> Response:
    """Have a person's data erased."""
    query(request)
    asked = await json_body(request, ErasureRequest)
    found = await gateway_of(request.scope).privacy.erase(principal, asked.person, acts=asked.acts)
    return JsonResponse(_erasure(found), 202)


async def erasure(request: Request, principal: Principal) -> Response:
    """How far an erasure is."""
    query(request)
    privacy = gateway_of(request.scope).privacy
    return JsonResponse(_erasure(await privacy.erasure(principal, segment(request, "erasure_id"))))


async def hold(request: Request, principal: Principal) -> Response:
    """Keep a person's data from being erased."""
    query(request)
    asked = await json_body(request, HoldRequest)
    gateway = gateway_of(request.scope)
    made = await gateway.privacy.hold(principal, asked.person, asked.code, asked.until)
    return JsonResponse(_hold(made, gateway.clock()), 201)


async def holds(request: Request, principal: Principal) -> Response:
    """Every hold of the tenant."""
    query(request)
    gateway = gateway_of(request.scope)
    found = await gateway.privacy.holds(principal)
    return JsonResponse({"holds": [_hold(one, gateway.clock()) for one in found]})


async def lift(request: Request, principal: Principal) -> Response:
    """End a hold."""
    query(request)
    gateway = gateway_of(request.scope)
    return JsonResponse(_hold(await gateway.privacy.lift(principal, segment(request, "hold_id")), gateway.clock()))


def _erasure(found: Erasure) -> dict[str, Any]:
    return {
        "erasure_id": found.erasure_id,
        "state": "erasing" if found.done_at is None else "done",
        "requested_at": format_time(found.requested_at),
        "requested_index": found.requested_index,
        "keys": found.keys,
        "values": found.payloads,
        "done_at": format_time(found.done_at),
        "done_index": found.done_index,
    }


def _hold(found: Hold, now: float) -> dict[str, Any]:
    return {
        "hold_id": found.hold_id,
        "person": None if found.subject is None else found.subject.removeprefix(_PERSON),
        "code": found.code,
        "set_at": format_time(found.set_at),
        "set_by": found.set_by,
        "until": format_time(found.until),
        "in_force": found.holds_at(now),
    }


async def _json(parts: AsyncIterator[tuple[str, Any]]) -> AsyncIterator[bytes]:
    """One JSON document, written as its parts come; one that was cut off is no JSON."""
    lists = {"value": "values", "entry": "entries"}
    begun = ""
    async for kind, document in parts:
        raw = orjson.dumps(document)
        if kind == "about":
            yield b'{"about":' + raw
        elif kind == "rows":
            yield b',"rows":' + raw + b',"values":['
            begun = "value"
            first = True
        elif kind in lists:
            if kind != begun:
                yield b'],"entries":['
                begun, first = kind, True
            yield raw if first else b"," + raw
            first = False
        else:
            yield (b"" if begun == "entry" else b'],"entries":[') + b'],"end":' + raw + b"}\n"


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/privacy/access",
        access=Permission.PRIVACY_ACCESS,
        tag="privacy",
        summary="Export everything held about a person.",
        handler=access,
        requests=(Body(JSON, AccessRequest),),
        answers={200: Body(JSON, AccessExport, "Everything held about the person; as Markdown where asked for.")},
        problems=(Reason.LOG_UNAVAILABLE, Reason.KEY_UNAVAILABLE, Reason.OVERLOADED),
    ),
    Endpoint(
        method="POST",
        path="/v1/privacy/preview",
        access=Permission.PRIVACY_ERASE,
        tag="privacy",
        summary="See what an erasure would take.",
        handler=preview,
        requests=(Body(JSON, PersonNamed),),
        answers={200: Body(JSON, ErasurePreview, "What would go, and what stays.")},
        problems=(Reason.LOG_UNAVAILABLE, Reason.KEY_UNAVAILABLE),
    ),
    Endpoint(
        method="POST",
        path="/v1/privacy/erasures",
        access=Permission.PRIVACY_ERASE,
        tag="privacy",
        summary="Erase a person's data.",
        handler=erase,
        requests=(Body(JSON, ErasureRequest),),
        answers={202: Body(JSON, ErasureView, "The erasure; nothing of the person opens any more.")},
        problems=(
            Reason.PRIVACY_HELD,
            Reason.PROPOSAL_REQUIRED,
            Reason.REQUEST_CONFLICT,
            Reason.LOG_UNAVAILABLE,
            Reason.KEY_UNAVAILABLE,
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/privacy/erasures/{erasure_id}",
        access=Permission.PRIVACY_ERASE,
        tag="privacy",
        summary="See how far an erasure is.",
        handler=erasure,
        answers={200: Body(JSON, ErasureView, "The erasure.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/privacy/holds",
        access=Permission.PRIVACY_HOLD,
        tag="privacy",
        summary="List legal holds.",
        handler=holds,
        answers={200: Body(JSON, HoldList, "Holds that were not lifted.")},
        problems=(Reason.LOG_UNAVAILABLE, Reason.KEY_UNAVAILABLE),
    ),
    Endpoint(
        method="POST",
        path="/v1/privacy/holds",
        access=Permission.PRIVACY_HOLD,
        tag="privacy",
        summary="Keep a person's data from being erased.",
        handler=hold,
        requests=(Body(JSON, HoldRequest),),
        answers={201: Body(JSON, HoldView, "The hold.")},
        problems=(Reason.LOG_UNAVAILABLE, Reason.KEY_UNAVAILABLE),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/privacy/holds/{hold_id}",
        access=Permission.PRIVACY_HOLD,
        tag="privacy",
        summary="Lift a legal hold.",
        handler=lift,
        answers={200: Body(JSON, HoldView, "The hold that was.")},
        problems=(Reason.LOG_UNAVAILABLE, Reason.KEY_UNAVAILABLE),
    ),
)
