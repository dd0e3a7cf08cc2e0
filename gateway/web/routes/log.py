"""The log for anybody's tools: checkpoint, hash tiles and entry bundles (c2sp.org/tlog-tiles, prefix ``/log``), and the
state of its witnesses.

A bundle holds the entries of every tenant and every hand, because they lie in one tree. So it is the business of an
auditor of the default tenant, which is the operator's own, who is bound to no hands; other auditors read the entries
of their scope by query.
"""

import time
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from audit.tiles import ENTRIES, Tile, parse
from gateway import scope
from gateway.entries import EntryDraft, EntryType
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.web.bodies import JSON, integer, query
from gateway.web.context import gateway_of
from gateway.web.routing import Access, Body, Endpoint, JsonResponse, Parameter
from gateway.web.schemas_admin import WitnessList

BINARY: Final = "application/octet-stream"
READING_SECONDS: Final = 60.0
"""For how long one entry in the log speaks of an auditor's reading of bundles: a walk over a large log takes thousands
of them, and each entry makes the log longer."""
_READERS_MAX: Final = 10_000
_FOR_EVER: Final = "max-age=31536000, immutable"


class Readings:
    """Who is reading entry bundles, as far as the log says so already."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def begins(self, pseudonym: str) -> bool:
        """Whether the log does not speak yet of what this principal is about to read."""
        return self._until.get(pseudonym, 0.0) <= time.monotonic()

    def recorded(self, pseudonym: str) -> None:
        """It does now."""
        now = time.monotonic()
        if len(self._until) >= _READERS_MAX:
            self._until = {reader: until for reader, until in self._until.items() if until > now}
        self._until[pseudonym] = now + READING_SECONDS


async def checkpoint(request: Request) -> Response:
    """The newest signed checkpoint with its cosignatures, or the newest that has so many."""
    asked = query(request, "cosignatures")
    log = gateway_of(request.scope).log
    most = len(log.cosigned.quorum.keys)
    given = asked.get("cosignatures")
    needed = None if given is None else integer(given, "cosignatures", minimum=0, maximum=most)
    found = await log.cosigned_checkpoint(needed)
    return PlainTextResponse(found.note, headers={"cache-control": "no-cache"})


async def hash_tile(request: Request) -> Response:
    """One hash tile, the same for ever."""
    query(request)
    tile = parse(request.path_params["level"], request.path_params["tile_path"])
    content = await gateway_of(request.scope).log.reads.tile(tile)
    return Response(content, media_type=BINARY, headers={"cache-control": f"public, {_FOR_EVER}"})


async def entry_bundle(request: Request, principal: Principal) -> Response:
    """One bundle of entries; that it is read is on record before it is."""
    query(request)
    scope.require_every_tenant(principal)
    scope.require_every_hand(principal)
    tile = parse(ENTRIES, request.path_params["bundle_path"])
    await _record(request, principal, tile)
    content = await gateway_of(request.scope).log.reads.bundle(tile)
    return Response(content, media_type=BINARY, headers={"cache-control": f"private, {_FOR_EVER}"})


async def _record(request: Request, principal: Principal, tile: Tile) -> None:
    readings: Readings = request.app.state.readings
    if not readings.begins(principal.pseudonym):
        return
    draft = EntryDraft(
        EntryType.AUDIT_QUERIED,
        principal.tenant,
        principal=principal.pseudonym,
        facts={"filters": "none", "bundles_from": tile.index, "for_seconds": int(READING_SECONDS)},
    )
    await gateway_of(request.scope).log.append(Append([draft]))
    readings.recorded(principal.pseudonym)


async def witnesses(request: Request, principal: Principal) -> Response:  # noqa: ARG001 - a handler's shape
    """Each witness, and what it answered last."""
    query(request)
    return JsonResponse(gateway_of(request.scope).witnesses.view())


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/log/checkpoint",
        access=Access.OPEN,
        tag="log",
        summary="Get the log's newest checkpoint.",
        open_handler=checkpoint,
        parameters=(
            Parameter(
                "cosignatures",
                "The newest with cosignatures of so many of the gateway's witnesses.",
                {"type": "integer", "minimum": 0},
            ),
        ),
        answers={200: Body("text/plain", description="C2SP signed note.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/log/tile/entries/{bundle_path}",
        access=Permission.AUDIT_READ,
        tag="log",
        summary="Get a bundle of entries.",
        handler=entry_bundle,
        answers={200: Body(BINARY, description="C2SP tlog-tiles entry bundle.")},
        problems=(Reason.AUTH_BOUND, Reason.LOG_UNAVAILABLE, Reason.LOG_DROPPED),
    ),
    Endpoint(
        method="GET",
        path="/log/tile/{level}/{tile_path}",
        access=Access.OPEN,
        tag="log",
        summary="Get a tile of the log's hashes.",
        open_handler=hash_tile,
        answers={200: Body(BINARY, description="C2SP tlog-tiles hash tile.")},
        problems=(Reason.LOG_UNAVAILABLE,),
    ),
    Endpoint(
        method="GET",
        path="/v1/log/witnesses",
        access=Permission.TRUST,
        tag="log",
        summary="See the log's witnesses and what they answered.",
        handler=witnesses,
        answers={200: Body(JSON, WitnessList, "Each witness, and how far the quorum is behind.")},
    ),
)
