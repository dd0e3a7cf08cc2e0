"""The log for anybody's tools: checkpoint, hash tiles and entry bundles (c2sp.org/tlog-tiles, prefix ``/log``), and the
state of its witnesses.

A bundle holds the entries of every tenant and every hand, because they lie in one tree. So it is the business of an
auditor of the default tenant, which is the operator's own, who is bound to no hands; other auditors read the entries
of their scope by query.
"""

import time
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from audit.tiles import ENTRIES, Tile, parse
from gateway import scope
from gateway.entries import EntryDraft, EntryType
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.web.bodies import JSON, integer, query
from gateway.web.conditional import kept_answer
from gateway.web.context import gateway_of, source_of
from gateway.web.rates import Rate
from gateway.web.routing import Access, Body, Endpoint, JsonResponse, Parameter
from gateway.web.schemas_log import WitnessList

BINARY: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"
READING_SECONDS: Final = 60.0
"""For how long one entry in the log speaks of an auditor's reading of bundles: a walk over a large log takes thousands
of them, and each entry makes the log longer."""
_READERS_MAX: Final = 10_000
_FOR_EVER: Final = "max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"
"""Of what is replaced soon: the checkpoint, and a tile or bundle that is not full yet. It may be kept, and must not be
used without asking."""


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
    _count(request, source_of(request.scope))
    asked = query(request, "cosignatures")
    log = gateway_of(request.scope).log
    most = len(log.cosigned.quorum.keys)
    given = asked.get("cosignatures")
    needed = None if given is None else integer(given, "cosignatures", minimum=0, maximum=most)
    found = await log.cosigned_checkpoint(needed)
    return kept_answer(request, found.note.encode(), TEXT, _ASK_AGAIN)


async def hash_tile(request: Request) -> Response:
    """One hash tile, the same for ever."""
    _count(request, source_of(request.scope))
    query(request)
    tile = parse(request.path_params["level"], request.path_params["tile_path"])
    content = await gateway_of(request.scope).log.reads.tile(tile)
    return kept_answer(request, content, BINARY, f"public, {_lifetime(tile)}")


async def entry_bundle(request: Request, principal: Principal) -> Response:
    """One bundle of entries; that it is read is on record before it is."""
    query(request)
    scope.require_every_tenant(principal)
    scope.require_every_hand(principal)
    _count(request, f"{principal.tenant}/{principal.pseudonym}")
    tile = parse(ENTRIES, request.path_params["bundle_path"])
    await _record(request, principal, tile)
    content = await gateway_of(request.scope).log.reads.bundle(tile)
    return kept_answer(request, content, BINARY, f"private, {_lifetime(tile)}", vary="authorization")


def _lifetime(tile: Tile) -> str:
    return _FOR_EVER if tile.full else _ASK_AGAIN


def _count(request: Request, caller: str) -> None:
    """Raises ``limit.reads``. The gateway's own witnesses are fed by the gateway and ask for nothing here."""
    rate: Rate = request.app.state.log_reads
    rate.check(caller)


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


KNOWN: Final = Body("", description="The client has it: its ETag is among those of If-None-Match.")
IF_NONE_MATCH: Final = Parameter("If-None-Match", "ETags of what the client has.", place="header")

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
            IF_NONE_MATCH,
        ),
        answers={200: Body("text/plain", description="C2SP signed note."), 304: KNOWN},
        problems=(Reason.LOG_UNAVAILABLE, Reason.LIMIT_READS),
    ),
    Endpoint(
        method="GET",
        path="/log/tile/entries/{bundle_path}",
        access=Permission.AUDIT_READ,
        tag="log",
        summary="Get a bundle of entries.",
        handler=entry_bundle,
        parameters=(IF_NONE_MATCH,),
        answers={200: Body(BINARY, description="C2SP tlog-tiles entry bundle."), 304: KNOWN},
        problems=(Reason.AUTH_BOUND, Reason.LOG_UNAVAILABLE, Reason.LOG_DROPPED, Reason.LIMIT_READS),
    ),
    Endpoint(
        method="GET",
        path="/log/tile/{level}/{tile_path}",
        access=Access.OPEN,
        tag="log",
        summary="Get a tile of the log's hashes.",
        open_handler=hash_tile,
        parameters=(IF_NONE_MATCH,),
        answers={200: Body(BINARY, description="C2SP tlog-tiles hash tile."), 304: KNOWN},
        problems=(Reason.LOG_UNAVAILABLE, Reason.LIMIT_READS),
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
