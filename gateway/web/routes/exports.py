"""The log taken out: evidence bundles, and lines for other people's tools. Every export is on record."""

import re
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp

from audit.export.lines import FORMATS, Format
from gateway.canonical import b64url_decode, b64url_encode
from gateway.errors import Malformed, Refused
from gateway.exports import ExportRequest, file_name
from gateway.ingress.plans import wait_seconds
from gateway.model import Principal
from gateway.permissions import Permission
from gateway.reasons import Reason
from gateway.web.authentication import still_permitted
from gateway.web.bodies import after_index, integer, one_of, query
from gateway.web.context import gateway_of
from gateway.web.downloads import Download
from gateway.web.routes.audit import FILTER_PARAMETERS, FILTERS, filter_of
from gateway.web.routing import Body, Endpoint, Parameter

_INDEX_MAX: Final = 10**15
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = {"type": "integer", "minimum": 0}
_HEAD: Final = ("uncosigned", "wait")
_RESUMING: Final = ("tree_size", "after", "offset", "sha256", "checkpoint", "keys_sha256")


async def export(request: Request, principal: Principal) -> ASGIApp:
    """Stream an export of the tenant's entries."""
    given = query(request, "format", *FILTERS, "first", "end", "payloads", "kept", *_HEAD, *_RESUMING)
    gateway = gateway_of(request.scope)
    asked = _asked(given, principal, gateway.settings.server.wait_max_seconds)
    owner = f"{principal.tenant}/{principal.id}"
    streams = request.app.state.streams
    streams.enter(owner)  # one that waits for witnesses takes a place, too
    try:
        found = await gateway.exports.open(asked, principal)
    finally:
        streams.leave(owner)
    head = found.head
    headers = {
        "content-type": found.media_type,
        "content-disposition": f'attachment; filename="{file_name(asked.format)}"',
        "cache-control": "no-store, no-transform",
        "handrail-tree-size": str(head.tree_size),
        "handrail-entries": str(found.entries),
        "handrail-dropped": str(found.dropped),
    }
    if asked.format is Format.BUNDLE:
        headers["handrail-cosignatures"] = f"{head.cosignatures}/{head.needed}"
        headers["handrail-later"] = str(found.later)
        headers["handrail-checkpoint"] = b64url_encode(head.note.encode())
    if principal.hands is not None:
        headers["handrail-hands"] = ",".join(sorted(principal.hands))
    return Download(found.chunks, headers, streams, owner, partial(still_permitted, request.scope))


def _asked(given: dict[str, str], principal: Principal, wait_max_seconds: float) -> ExportRequest:
    kind = one_of(given.get("format"), "format", Format) or Format.BUNDLE
    asked = ExportRequest(
        format=kind,
        wanted=filter_of(given, principal),
        first=_number(given, "first") or 0,
        end=_number(given, "end"),
        payloads=one_of(given.get("payloads"), "payloads", _flag, "true or false") or False,
        kept=one_of(given.get("kept"), "kept", _sizes, "sizes, with commas between") or (),
        uncosigned=one_of(given.get("uncosigned"), "uncosigned", _flag, "true or false") or False,
        wait_seconds=wait_seconds(given.get("wait"), wait_max_seconds),
        checkpoint=one_of(given.get("checkpoint"), "checkpoint", _note, "what handrail-checkpoint said") or "",
        tree_size=_number(given, "tree_size"),
        after=after_index(given),
        offset=_number(given, "offset") or 0,
        sha256=one_of(given.get("sha256"), "sha256", _digest, "64 hexadecimal digits") or "",
        keys_sha256=one_of(given.get("keys_sha256"), "keys_sha256", _digest, "64 hexadecimal digits") or "",
    )
    _fits(asked)
    return asked


def _fits(asked: ExportRequest) -> None:
    """Refuse what means nothing for a format, or only half of what going on needs."""
    whole = asked.format is Format.BUNDLE
    wrong = {
        "payloads": asked.payloads and not whole,
        "kept": bool(asked.kept) and not whole,
        "uncosigned": asked.uncosigned and (not whole or asked.tree_size is not None or asked.wait_seconds > 0),
        "wait": asked.wait_seconds > 0 and (not whole or asked.tree_size is not None),
        "checkpoint": bool(asked.checkpoint) and (not whole or asked.tree_size is None),
        "after": asked.after is not None and (whole or asked.tree_size is None),
        "offset": asked.offset > 0 and (not whole or asked.tree_size is None or not asked.sha256),
        "sha256": bool(asked.sha256) and not asked.offset,
        "keys_sha256": bool(asked.keys_sha256) and (not whole or not asked.offset),
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            expected = (
                "a bundle for payloads, kept, uncosigned or wait, and offset; tree_size with after, or with offset, "
                "sha256, checkpoint and keys_sha256"
            )
            raise Malformed("does not fit", parameter=name, expected=expected)


def _number(given: dict[str, str], name: str) -> int | None:
    return integer(given[name], name, minimum=0, maximum=_INDEX_MAX) if name in given else None


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(integer(one, "kept", minimum=1, maximum=_INDEX_MAX) for one in text.split(","))


def _note(text: str) -> str:
    try:
        note = b64url_decode(text).decode()
    except Refused:
        raise ValueError(text) from None
    if not note:
        raise ValueError("an empty note")
    return note


def _digest(text: str) -> str:
    if _SHA256.fullmatch(text) is None:
        raise ValueError(text)
    return text


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/audit/exports",
        access=Permission.AUDIT_READ,
        tag="audit",
        summary="Export entries, or evidence that can be verified offline.",
        handler=export,
        parameters=(
            Parameter(
                "format", "What comes: a bundle by default.", {"type": "string", "enum": [str(kind) for kind in Format]}
            ),
            *FILTER_PARAMETERS,
            Parameter("first", "From this log index on.", _NUMBER),
            Parameter("end", "Up to, not including, this one.", _NUMBER),
            Parameter("payloads", "Open the values that entries commit to (bundle).", {"type": "boolean"}),
            Parameter("kept", "Sizes of checkpoints that you have, with commas between (bundle)."),
            Parameter(
                "uncosigned",
                "Take in everything that is in the log now, also what not enough witnesses have cosigned yet (bundle).",
                {"type": "boolean"},
            ),
            Parameter("wait", "Wait so many seconds for them to cosign it (bundle).", {"type": "number", "minimum": 0}),
            Parameter("tree_size", "Go on with an export of this size of the log.", _NUMBER),
            Parameter("after", "The last index that you have of it (lines).", _NUMBER),
            Parameter("offset", "How many bytes you have of it (bundle).", _NUMBER),
            Parameter("sha256", "Of these bytes, in hexadecimal."),
            Parameter("checkpoint", "handrail-checkpoint of the answer that broke off (bundle)."),
            Parameter(
                "keys_sha256",
                "SHA-256 of the content of keys.json and then of history.jws, which you have of it, in hexadecimal "
                "(bundle).",
            ),
        ),
        answers={
            200: Body(
                "application/x-tar",
                description="A bundle; for the other formats "
                + ", ".join(sorted({lines.media_type for lines in FORMATS.values()}))
                + ". handrail-entries says how many entries come, handrail-tree-size of how large a log, and "
                "handrail-dropped how many of the range are over their retention: of those only the standing are left. "
                "Of a bundle, handrail-cosignatures says how many witnesses cosigned its checkpoint and how many are "
                "asked for, handrail-later how many entries are left out because they came after it, and "
                "handrail-checkpoint what going on needs.",
                others=sorted({lines.media_type.partition(";")[0] for lines in FORMATS.values()}),
            )
        },
        problems=(Reason.AUTH_BOUND, Reason.REQUEST_CONFLICT, Reason.REQUEST_NOT_FOUND, Reason.OVERLOADED),
    ),
)
