"""Evidence by control, access reviews and the record of processing activities, for auditors. Asking is on record."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from audit.assurance.catalogue import Framework, catalogues
from audit.assurance.report import SAMPLES_MAX, ReportRequest
from gateway import scope
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Malformed
from gateway.model import Principal
from gateway.permissions import ROLE_PERMISSIONS, Permission
from gateway.ports import Append
from gateway.privacy.processing import processing_record
from gateway.reasons import Reason
from gateway.times import format_time
from gateway.web.bodies import JSON, integer, moment_of, one_of, query
from gateway.web.context import gateway_of
from gateway.web.reports import EVENTS, Progress, Reports
from gateway.web.routing import TIME, Body, Endpoint, JsonResponse, Parameter
from gateway.web.schemas_controls import AccessReview, ControlsReport, ProcessingRecord

SAMPLES_DEFAULT: Final = 2


async def show(request: Request, principal: Principal) -> ASGIApp:
    """What the log shows for each control of a framework in a period, and what it lacks."""
    asked = query(request, "framework", "from", "to", "samples")
    framework = one_of(asked.get("framework"), "framework", Framework)
    if framework is None:
        raise Malformed("framework", parameter="framework", expected=f"one of: {', '.join(Framework)}")
    scope.require_every_hand(principal)
    gateway = gateway_of(request.scope)
    now = gateway.clock()
    since, until = _period(asked, now)
    samples = integer(asked.get("samples", str(SAMPLES_DEFAULT)), "samples", minimum=0, maximum=SAMPLES_MAX)
    facts = {"report": "controls", "framework": str(framework), "from": format_time(since), "to": format_time(until)}
    wanted = ReportRequest(
        catalogue=catalogues()[framework],
        tenant=principal.tenant,
        since=since,
        until=until,
        now=now,
        samples=samples,
    )

    async def make(progress: Progress) -> dict[str, Any]:
        await _record(gateway, principal, EntryType.AUDIT_QUERIED, facts)
        found: dict[str, Any] = await gateway.log.reads.report(wanted, progress)
        return found

    return await _reports(request).answer(request, principal, make)


async def access(request: Request, principal: Principal) -> Response:
    """Who could do what at a moment. Of now, it is on record as an access review; of the past, as a query."""
    asked = query(request, "at")
    gateway = gateway_of(request.scope)
    now = gateway.clock()
    at = _or(moment_of(asked, "at"), now)
    if at > now:
        raise Malformed("at", parameter="at", expected="a time that is not ahead: nobody knows who could do what then")
    kind = EntryType.AUDIT_QUERIED if "at" in asked else EntryType.ACCESS_REVIEWED
    await _record(gateway, principal, kind, {"report": "access", "at": format_time(at)})
    found = scope.of_access(await gateway.log.reads.access(principal.tenant, at, now), principal)
    if found["policy"] is not None:
        grants = await _grants(gateway, found["policy"]["digest"])
        found["policy"]["grants"] = None if grants is None else scope.of_grants(grants, principal)
    return JsonResponse({**found, "scope": scope.document(principal), "permissions": _permissions()})


async def processing(request: Request, principal: Principal) -> ASGIApp:
    """The tenant's record of processing activities, with what the log knows of a period."""
    asked = query(request, "from", "to")
    gateway = gateway_of(request.scope)
    now = gateway.clock()
    since, until = _period(asked, now)
    facts = {"report": "processing", "from": format_time(since), "to": format_time(until)}

    async def make(progress: Progress) -> dict[str, Any]:
        await _record(gateway, principal, EntryType.AUDIT_QUERIED, facts)
        size, found = await gateway.log.reads.usage(principal.tenant, since, until, progress)
        manifests = {
            hand: manifest
            for hand in gateway.settings.hands
            if (manifest := gateway.hands.manifest(principal.tenant, hand)) is not None
        }
        return {
            "v": 1,
            "origin": gateway.log.origin,
            "tenant": principal.tenant,
            "from": format_time(since),
            "to": format_time(until),
            "made_at": format_time(now),
            "tree_size": size,
            **processing_record(gateway.settings, principal.tenant, manifests, found, principal.may_use),
        }

    return await _reports(request).answer(request, principal, make)


def _reports(request: Request) -> Reports:
    reports: Reports = request.app.state.reports
    return reports


async def _grants(gateway: Any, digest: str | None) -> dict[str, Any] | None:
    """Who was granted what by a bundle; ``None`` where the gateway does not have it (any more) or it has no grants."""
    stored = None if digest is None else await gateway.lifecycle.bundles.get(digest)
    if stored is not None:
        data = stored.signed.bundle.data
    elif digest == gateway.policy.digest:
        data = gateway.policy.data
    else:
        return None
    grants = data.get("handrail", {}).get("grants")
    return grants if isinstance(grants, dict) else None


async def _record(gateway: Any, principal: Principal, kind: EntryType, facts: dict[str, str]) -> None:
    """Put the question on record, and have a checkpoint cover it: what is read is read up to there."""
    draft = EntryDraft(kind, principal.tenant, principal=principal.pseudonym, facts=facts)
    [index] = await gateway.log.append(Append([draft]))
    await gateway.log.cover(index)


def _period(asked: dict[str, str], now: float) -> tuple[float, float]:
    since, until = _or(moment_of(asked, "from"), 0.0), _or(moment_of(asked, "to"), now)
    if since >= until:
        raise Malformed("period", parameter="from", expected="a time before 'to'")
    return since, until


def _or(given: float | None, otherwise: float) -> float:
    return otherwise if given is None else given


def _permissions() -> dict[str, list[str]]:
    """Role -> what it may do in this version of Handrail."""
    return {str(role): sorted(map(str, held)) for role, held in ROLE_PERMISSIONS.items()}


_FROM_TO: Final = (
    Parameter("from", "Beginning of the period: a date, or a time (RFC 3339). Default: of the log.", TIME),
    Parameter("to", "Its end, not included. Default: now.", TIME),
)

_AS_EVENTS: Final = (
    " With Accept: text/event-stream, events: progress with {done, total}, and at last report, whose data it is."
)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/controls/report",
        access=Permission.AUDIT_READ,
        tag="controls",
        summary="Evidence by control of a framework, and what is missing.",
        handler=show,
        parameters=(
            Parameter("framework", "Which controls.", {"type": "string", "enum": [str(one) for one in Framework]}),
            *_FROM_TO,
            Parameter(
                "samples",
                "Entries with proofs, of each type.",
                {"type": "integer", "minimum": 0, "maximum": SAMPLES_MAX, "default": SAMPLES_DEFAULT},
            ),
        ),
        answers={200: Body(JSON, ControlsReport, f"The report.{_AS_EVENTS}", others=(EVENTS,))},
        problems=(Reason.AUTH_BOUND, Reason.LIMIT_REPORTS, Reason.LOG_UNAVAILABLE),
    ),
    Endpoint(
        method="GET",
        path="/v1/controls/access-review",
        access=Permission.AUDIT_READ,
        tag="controls",
        summary="Who could do what at a moment.",
        handler=access,
        parameters=(Parameter("at", "A date, or a time (RFC 3339). Default: now.", TIME),),
        answers={200: Body(JSON, AccessReview, "Principals, issuers, policy and hands.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/controls/processing-record",
        access=Permission.AUDIT_READ,
        tag="controls",
        summary="The record of processing activities.",
        handler=processing,
        parameters=_FROM_TO,
        answers={200: Body(JSON, ProcessingRecord, f"The record.{_AS_EVENTS}", others=(EVENTS,))},
        problems=(Reason.LIMIT_REPORTS, Reason.LOG_UNAVAILABLE),
    ),
)
