"""The audit log for auditors. Reading it is itself on record."""

import asyncio
import re
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from audit.reader import Filter
from gateway.entries import LABELS, EntryDraft, EntryType
from gateway.model import Effect, Principal
from gateway.permissions import Permission
from gateway.ports import Append
from gateway.web.bodies import JSON, after_index, limit_of, one_of, query
from gateway.web.context import gateway_of
from gateway.web.routing import AFTER_INDEX, Body, Endpoint, JsonResponse, Parameter, limit
from gateway.web.schemas_admin import EntryPage

LIMIT_MAX: Final = 1000
LIMIT_DEFAULT: Final = 100
_WORD: Final = re.compile(r"[ -~]{1,256}")

_ORDERS: Final = {"oldest": False, "newest": True}
"""Value of ``order`` -> whether the newest entry comes first."""
FILTERS: Final = {
    "context": "context_id",
    "plan": "plan_id",
    "hand": "hand",
    "action": "action",
    "principal": "principal",
    "reason": "reason",
}
"""Query parameter -> member of the reader's filter, where any word will do."""


async def entries(request: Request, principal: Principal) -> Response:
    """One page of the tenant's entries in the order asked for, with the tree size that the answer covers."""
    asked = query(request, "type", "effect", "after", "limit", "order", *FILTERS)
    gateway = gateway_of(request.scope)
    entry_type = one_of(asked.get("type"), "type", entry_type_of, "a code or a label of an entry type")
    effect = one_of(asked.get("effect"), "effect", Effect)
    newest = one_of(asked.get("order"), "order", _ORDERS.__getitem__, ", ".join(_ORDERS)) or False
    after, at_most = after_index(asked), limit_of(asked, default=LIMIT_DEFAULT, maximum=LIMIT_MAX)
    words = {
        member: one_of(asked.get(name), name, word, "1 to 256 printable ASCII characters")
        for name, member in FILTERS.items()
    }
    wanted = Filter(
        tenant=principal.tenant,
        type=None if entry_type is None else str(entry_type),
        effect=None if effect is None else str(effect),
        **words,
    )
    draft = EntryDraft(
        EntryType.AUDIT_QUERIED,
        principal.tenant,
        principal=principal.pseudonym,
        facts={"filters": ",".join(sorted(asked.keys() - {"after", "limit", "order"})) or "none", "limit": at_most},
    )
    await gateway.log.append(Append([draft]))
    page = await asyncio.to_thread(gateway.reader.query, wanted, after=after, limit=at_most, newest_first=newest)
    return JsonResponse(
        {
            "entries": [_view(stored.index, stored.code, stored.body) for stored in page.entries],
            "next": page.next,
            "tree_size": page.tree_size,
        }
    )


def entry_type_of(text: str) -> EntryType:
    """An entry type by its code (``POLDNY``) or its label (``policy denied``). Raises ``ValueError``."""
    for entry_type, label in LABELS.items():
        if text in (entry_type.value, label, entry_type.name.lower()):
            return entry_type
    raise ValueError(text)


def word(text: str) -> str:
    """One to 256 printable ASCII characters. Raises ``ValueError``."""
    if _WORD.fullmatch(text) is None:
        raise ValueError(text)
    return text


def _view(index: int, code: str, body: bytes) -> dict[str, Any]:
    return {"index": index, "code": code, "label": LABELS[EntryType(code)], "entry": orjson.loads(body)}


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/audit/entries",
        access=Permission.AUDIT_READ,
        tag="audit",
        summary="Query the audit log.",
        handler=entries,
        parameters=(
            Parameter("type", "Entry type, by code or label."),
            Parameter("effect", "allow, ask or deny.", {"type": "string", "enum": [str(e) for e in Effect]}),
            Parameter("context", "context_id"),
            Parameter("plan", "plan_id"),
            Parameter("hand", "Hand."),
            Parameter("action", "Action."),
            Parameter("principal", "Pseudonym of the principal."),
            Parameter("reason", "Reason code."),
            Parameter(
                "order",
                "Which entry comes first: the oldest (default) or the newest; after then goes back.",
                {"type": "string", "enum": list(_ORDERS)},
            ),
            AFTER_INDEX,
            limit(LIMIT_DEFAULT, LIMIT_MAX),
        ),
        answers={200: Body(JSON, EntryPage, "A page of entries.")},
    ),
)
