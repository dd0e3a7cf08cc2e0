"""The audit log for auditors. Reading it is itself on record."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from audit.query import Filter, StoredEntry
from gateway import scope
from gateway.entries import LABELS, EntryDraft, EntryType
from gateway.errors import Malformed
from gateway.model import Effect, Principal
from gateway.permissions import Permission
from gateway.ports import Append
from gateway.pseudonyms import EXPECTED, pseudonym
from gateway.web.bodies import JSON, after_index, limit_of, one_of, query, time_of
from gateway.web.context import gateway_of
from gateway.web.routing import AFTER_INDEX, SINCE, UNTIL, Body, Endpoint, JsonResponse, Parameter, limit
from gateway.web.schemas_log import EntryPage

LIMIT_MAX: Final = 1000
LIMIT_DEFAULT: Final = 100
_WORD: Final = re.compile(r"[ -~]{1,256}")

_ORDERS: Final = {"oldest": False, "newest": True}
"""Value of ``order`` -> whether the newest entry comes first."""
_WORDS: Final = {
    "context": "context_id",
    "plan": "plan_id",
    "step": "step_id",
    "hand": "hand",
    "action": "action",
    "reason": "reason",
    "control": "control",
    "policy": "policy_digest",
}
"""Query parameter -> member of the reader's filter, where any word will do."""
FILTERS: Final = ("type", "effect", "principal", "since", "until", *_WORDS)
"""Query parameters that say which entries."""
_NOT_FILTERS: Final = {"after", "limit", "order", "count", "proofs"}
_FLAG: Final = {"type": "boolean", "default": False}
_FLAGS: Final = {"true": True, "false": False}


async def entries(request: Request, principal: Principal) -> Response:
    """One page of the entries in the caller's scope, in the order asked for, and what the answer covers."""
    asked = query(request, *FILTERS, *sorted(_NOT_FILTERS))
    gateway = gateway_of(request.scope)
    newest = one_of(asked.get("order"), "order", _ORDERS.__getitem__, ", ".join(_ORDERS)) or False
    counted, proved = (
        one_of(asked.get(name), name, _FLAGS.__getitem__, "true or false") for name in ("count", "proofs")
    )
    after, at_most = after_index(asked), limit_of(asked, default=LIMIT_DEFAULT, maximum=LIMIT_MAX)
    wanted = filter_of(asked, principal)
    if wanted.step_id is not None and wanted.plan_id is wanted.context_id is None:
        # Many plans have a step of the same name, and no index leads to it: the whole log would be looked through.
        raise Malformed("a step alone", parameter="step", expected="plan or context beside it")
    draft = EntryDraft(
        EntryType.AUDIT_QUERIED,
        principal.tenant,
        principal=principal.pseudonym,
        facts={"filters": ",".join(sorted(asked.keys() - _NOT_FILTERS)) or "none", "limit": at_most},
    )
    await gateway.log.append(Append([draft]))
    page = await gateway.log.reads.query(wanted, after=after, limit=at_most, newest_first=newest, counted=bool(counted))
    note, paths = await gateway.log.proofs([stored.index for stored in page.entries]) if proved else (None, {})
    return JsonResponse(
        {
            "entries": [_view(stored, paths.get(stored.index)) for stored in page.entries],
            "next": page.next,
            "tree_size": page.tree_size,
            "covers": {
                "first": page.first,
                "last": page.last,
                "dropped": [{"first": first, "last": last} for first, last in page.dropped],
            },
            "matches": page.matches,
            "checkpoint": note,
            "scope": scope.document(principal),
        }
    )


def filter_of(asked: Mapping[str, str], principal: Principal) -> Filter:
    """What the parameters :data:`FILTERS` ask for, within the caller's scope. Raises ``Malformed``."""
    entry_type = one_of(asked.get("type"), "type", entry_type_of, "a code or a label of an entry type")
    effect = one_of(asked.get("effect"), "effect", Effect)
    words = {
        member: one_of(asked.get(name), name, _word, "1 to 256 printable ASCII characters")
        for name, member in _WORDS.items()
    }
    return Filter(
        tenant=principal.tenant,
        scope=scope.of_log(principal),
        type=None if entry_type is None else str(entry_type),
        effect=None if effect is None else str(effect),
        principal=one_of(asked.get("principal"), "principal", pseudonym, EXPECTED),
        since=time_of(asked, "since"),
        until=time_of(asked, "until"),
        **words,
    )


def entry_type_of(text: str) -> EntryType:
    """An entry type by its code (``POLDNY``) or its label (``policy denied``). Raises ``ValueError``."""
    for entry_type, label in LABELS.items():
        if text in (entry_type.value, label, entry_type.name.lower()):
            return entry_type
    raise ValueError(text)


def _word(text: str) -> str:
    if _WORD.fullmatch(text) is None:
        raise ValueError(text)
    return text


def _view(stored: StoredEntry, path: Sequence[bytes] | None) -> dict[str, Any]:
    label = LABELS[EntryType(stored.code)]
    view = {"index": stored.index, "code": stored.code, "label": label, "entry": orjson.loads(stored.body)}
    if path is not None:
        view["proof"] = [base64.b64encode(value).decode("ascii") for value in path]
    return view


FILTER_PARAMETERS: Final = (
    Parameter("type", "Entry type, by code or label."),
    Parameter("effect", "allow, ask or deny.", {"type": "string", "enum": [str(e) for e in Effect]}),
    Parameter("context", "context_id"),
    Parameter("plan", "plan_id"),
    Parameter("hand", "Hand."),
    Parameter("action", "Action."),
    Parameter("principal", "Pseudonym of the principal (p-...), as entries have it; no id."),
    Parameter("reason", "Reason code."),
    Parameter("step", "step_id; of a page only beside plan or context."),
    Parameter("control", "A control that the entry is evidence for, as entries write it: gdpr:5(2)."),
    Parameter("policy", "Digest of the policy bundle that decided."),
    SINCE,
    UNTIL,
)
"""The same as OpenAPI shows them."""

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/audit/entries",
        access=Permission.AUDIT_READ,
        tag="audit",
        summary="Query the audit log.",
        handler=entries,
        parameters=(
            *FILTER_PARAMETERS,
            Parameter("count", "Say how many match in all.", _FLAG),
            Parameter("proofs", "Give each entry's inclusion proof, and the checkpoint that they lead to.", _FLAG),
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
