"""Recorded policy evaluations, for a replay: the inputs that rules saw and what was decided. Reading them is on record.

Answers are lines of JSON (NDJSON), because a program takes them one by one: an evaluation a line, and a last line that
says where to go on. The documents go out as the bytes that were committed to.
"""

from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from audit.evaluations import Recorded
from gateway.entries import EntryDraft, EntryType
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.ports import Append
from gateway.web.bodies import after_index, limit_of, query, time_of
from gateway.web.context import gateway_of
from gateway.web.routing import AFTER_INDEX, SINCE, UNTIL, Body, Endpoint, limit

NDJSON: Final = "application/x-ndjson"
LIMIT_MAX: Final = 1000
LIMIT_DEFAULT: Final = 500


async def evaluations(request: Request, principal: Principal) -> Response:
    """One page of the tenant's recorded evaluations, oldest first."""
    asked = query(request, "since", "until", "after", "limit")
    times = {name: time_of(asked, name) for name in ("since", "until")}
    after, at_most = after_index(asked), limit_of(asked, default=LIMIT_DEFAULT, maximum=LIMIT_MAX)
    gateway = gateway_of(request.scope)
    draft = EntryDraft(
        EntryType.AUDIT_QUERIED,
        principal.tenant,
        principal=principal.pseudonym,
        facts={"filters": ",".join(["evaluations", *sorted(asked.keys() & {"since", "until"})]), "limit": at_most},
    )
    await gateway.log.append(Append([draft]))
    page = await gateway.log.reads.evaluations(principal.tenant, **times, after=after, limit=at_most)
    lines = [_line(one) for one in page.evaluations if _within(one, principal)]
    lines.append(
        orjson.dumps({"next": page.next, "first": page.first, "end": page.end, "tree_size": page.tree_size}) + b"\n"
    )
    return Response(b"".join(lines), media_type=NDJSON)


def _line(one: Recorded) -> bytes:
    about: dict[str, Any] = {"commitment": one.commitment, "index": one.index, "time": one.time}
    if one.value is None:
        return orjson.dumps({**about, "fault": one.fault}) + b"\n"
    return orjson.dumps({**about, "evaluation": orjson.Fragment(one.value)}) + b"\n"


def _within(one: Recorded, principal: Principal) -> bool:
    """An evaluation that speaks of a hand outside of the reader's scope looks absent, whole."""
    if principal.hands is None or one.value is None:
        return True
    steps = orjson.loads(one.value)["input"]["steps"]
    return all(principal.may_use(step["hand"]) for step in steps)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/policy/evaluations",
        access=Permission.POLICY_INPUTS,
        tag="policy",
        summary="Read recorded policy inputs and decisions.",
        handler=evaluations,
        parameters=(
            SINCE,
            UNTIL,
            AFTER_INDEX,
            limit(LIMIT_DEFAULT, LIMIT_MAX, "Decisions looked at for one page."),
        ),
        answers={200: Body(NDJSON, description="An evaluation a line; the last line says where to go on.")},
    ),
)
