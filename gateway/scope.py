"""What a reader of the record may see: what is of their tenant and, where they are bound to hands, of these hands.

What cannot be parted so, because it speaks of every hand or of every tenant, is for those alone who are bound to none,
or who are the gateway's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from audit.query import Scope
from gateway.entries import COMMON
from gateway.errors import Refused
from gateway.model import DEFAULT_TENANT, Principal
from gateway.reasons import Reason


def of_log(reader: Principal) -> Scope | None:
    """Which entries of their tenant a reader may see; ``None`` is all of them."""
    return None if reader.hands is None else Scope(hands=reader.hands, types=frozenset(map(str, COMMON)))


def document(reader: Principal) -> dict[str, Any]:
    """The same, as answers say it."""
    scope = of_log(reader)
    hands, types = (None, []) if scope is None else (sorted(scope.hands), sorted(scope.types))
    return {"tenant": reader.tenant, "hands": hands, "types": types}


def require_every_hand(reader: Principal) -> None:
    """Let a reader through who is bound to no hands. Raises ``auth.bound``."""
    if reader.hands is not None:
        raise Refused(Reason.AUTH_BOUND, "it speaks of every hand")


def require_every_tenant(reader: Principal) -> None:
    """Let a reader of the gateway's own tenant through. Raises ``auth.bound``."""
    if reader.tenant != DEFAULT_TENANT:
        raise Refused(Reason.AUTH_BOUND, "it speaks of every tenant")


def of_access(review: Mapping[str, Any], reader: Principal) -> dict[str, Any]:
    """The part of an access review (``audit.assurance.access``) that speaks of the reader's hands: these hands, and
    whoever may use one of them. Of the others no issuer's row says that they are there."""
    if reader.hands is None:
        return dict(review)
    shown = [one for one in review["principals"] if one["hands"] is None or not reader.hands.isdisjoint(one["hands"])]
    named = {one["id"] or one["pseudonym"] for one in shown}
    return {
        **review,
        "hands": [one for one in review["hands"] if one["hand"] in reader.hands],
        "principals": shown,
        "issuers": [
            {**one, "speaks_for": one["speaks_for"] and [name for name in one["speaks_for"] if name in named]}
            for one in review["issuers"]
        ],
    }


def of_grants(grants: Mapping[str, Any], reader: Principal) -> dict[str, Any]:
    """The lines of a policy's grants that count in the reader's tenant and are about one of their hands.

    A line says in ``only`` in which tenants it counts; of these the reader is told their own alone. A line that cannot
    be read so is left out for whoever may not see all of them.

    Args:
        grants: ``{readers, scopes, table}`` (policies/handrail/grants/data.schema.json).
    """
    if reader.hands is None and reader.tenant == DEFAULT_TENANT:
        return dict(grants)
    named: Any = grants.get("scopes")
    known = named if isinstance(named, Mapping) else {}
    scopes = {name: [part for part in _list(parts) if _is_for(part, reader)] for name, parts in known.items()}
    table = [
        line
        for found in _list(grants.get("table"))
        if (line := _here(found, reader)) is not None
        and (_is_for(line, reader) if "hand" in line else any(scopes.get(one) for one in _list(line.get("scopes"))))
    ]
    used = {one for line in table for one in _list(line.get("scopes"))}
    return {
        "readers": _list(grants.get("readers")),
        "scopes": {name: parts for name, parts in scopes.items() if parts and name in used},
        "table": table,
    }


def _here(line: Any, reader: Principal) -> dict[str, Any] | None:
    """A line as the reader's tenant sees it; ``None`` where it does not count there."""
    if not isinstance(line, Mapping):
        return None
    only: Any = line.get("only") or {}
    if not isinstance(only, Mapping):
        return None
    if "tenants" not in only or reader.tenant == DEFAULT_TENANT:
        return dict(line)
    if reader.tenant not in _list(only["tenants"]):
        return None
    return {**line, "only": {**only, "tenants": [reader.tenant]}}


def _is_for(part: Any, reader: Principal) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("hand"), str) and reader.may_use(part["hand"])


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []
