"""Receipts, and the proofs that they are in the log."""

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.model import Principal
from gateway.permissions import Permission
from gateway.web.bodies import JSON, query, segment
from gateway.web.context import gateway_of
from gateway.web.routing import Body, Endpoint, JsonResponse
from gateway.web.schemas import ReceiptView


async def show(request: Request, principal: Principal) -> Response:
    """The receipt with its entry and the openings of its commitments."""
    query(request)
    return JsonResponse(await gateway_of(request.scope).evidence.receipt(segment(request, "receipt_id"), principal))


async def proof(request: Request, principal: Principal) -> Response:
    """The inclusion proof of the receipt's entry, as c2sp.org/tlog-proof@v1."""
    query(request)
    evidence = gateway_of(request.scope).evidence
    return PlainTextResponse(await evidence.proof(segment(request, "receipt_id"), principal))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/receipts/{receipt_id}",
        access=Permission.RECEIPTS_READ,
        tag="receipts",
        summary="Get a receipt.",
        handler=show,
        answers={200: Body(JSON, ReceiptView, "The receipt and what opens it.")},
    ),
    Endpoint(
        method="GET",
        path="/v1/receipts/{receipt_id}/proof",
        access=Permission.RECEIPTS_READ,
        tag="receipts",
        summary="Get the proof that a receipt's entry is in the log.",
        handler=proof,
        answers={200: Body("text/plain", description="c2sp.org/tlog-proof@v1")},
    ),
)
