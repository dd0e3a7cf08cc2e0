"""An access review (the document of ``audit.assurance.access``) as a report."""

import json
from collections.abc import Mapping
from typing import Any, Final

from gateway.reports.document import Cell, Document, Section, Table

_COLUMNS: Final = ("what", "name", "pseudonym", "may", "bound to", "keys", "approval keys", "identities", "since", "by")


def access_review(found: Mapping[str, Any]) -> Document:
    """The report on the document of ``GET /v1/controls/access-review``."""
    principals, issuers, hands = found["principals"], found["issuers"], found["hands"]
    return Document(
        title="Access review",
        facts=(
            ("log", found["origin"]),
            ("tenant", found["tenant"]),
            ("as of", found["at"]),
            ("made at", found["made_at"]),
            ("covers", f"entries before {found['end']:,} of a log of {found['tree_size']:,}"),
            ("principals", f"{len(principals):,}"),
            ("issuers", f"{len(issuers):,}"),
        ),
        texts=(
            "Replayed from the log: every change of a principal or an issuer is an entry.",
            "Names are opened from the erasable side table; whoever was erased stays a pseudonym.",
            "What a role may do is said as this version of Handrail has it.",
        ),
        sections=(
            Section(title="Principals", tables=(Table(_PRINCIPAL, [_principal(one) for one in principals]),)),
            Section(title="Issuers", tables=(Table(_ISSUER, [_issuer(one) for one in issuers]),)),
            Section(title="What roles may do", tables=(Table(("role", "permissions"), _roles(found["permissions"])),)),
            _policy(found["policy"]),
            Section(title="Pinned hands", tables=(Table(_HAND, [_hand(one) for one in hands]),)),
        ),
        flat=Table(
            _COLUMNS,
            [
                *(("principal", *_principal(one)) for one in principals),
                *(_flat(one) for one in issuers),
            ],
        ),
    )


_PRINCIPAL: Final = ("name", "pseudonym", "roles", "hands", "API keys", "approval keys", "identities", "since", "by")
_ISSUER: Final = ("name", "pseudonym", "speaks for", "attests requests", "keys", "since", "by")
_HAND: Final = ("hand", "manifest", "since", "by")


def _principal(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    bound = "every hand" if one["hands"] is None else ", ".join(one["hands"]) or "no hand"
    return (
        one["id"] or "(erased)",
        one["pseudonym"],
        ", ".join(one["roles"]),
        bound,
        _keys(one["keys"]),
        _keys(one["approval_keys"]),
        ", ".join(f"{link['kind']} {link['id']}" for link in one["links"]) or "none",
        *_since(one),
    )


def _issuer(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    attests = "yes" if one["attests_request"] else "no"
    return (one["id"] or "(erased)", one["pseudonym"], _speaks(one), attests, _keys(one["keys"]), *_since(one))


def _flat(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    return "issuer", *_issuer(one)[:2], f"speak for {_speaks(one)}", None, _keys(one["keys"]), None, None, *_since(one)


def _speaks(one: Mapping[str, Any]) -> str:
    return "(erased)" if one["speaks_for"] is None else ", ".join(one["speaks_for"]) or "its own caller"


def _keys(keys: list[Mapping[str, Any]]) -> str:
    return ", ".join(str(key["id"]) for key in keys) or "none"


def _since(one: Mapping[str, Any]) -> tuple[Cell, Cell]:
    return f"{one['added']['time']} (entry {one['added']['index']})", one["added"]["by"]


def _roles(permissions: Mapping[str, list[str]]) -> list[tuple[Cell, ...]]:
    return [(role, ", ".join(held)) for role, held in permissions.items()]


def _hand(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    return one["hand"], one["manifest_digest"], f"{one['time']} (entry {one['index']})", one["by"]


def _policy(policy: Mapping[str, Any] | None) -> Section:
    if policy is None:
        return Section(title="Policy", texts=("No bundle was in force: everything was denied.",))
    said = f"Bundle {policy['digest']}, since {policy['time']} (entry {policy['index']})."
    grants = policy["grants"]
    if grants is None:
        return Section(
            title="Policy", texts=(said, "The gateway does not have this bundle; ask who wrote it for its grants.")
        )
    kept = json.dumps(grants, indent=2, sort_keys=True, ensure_ascii=False)
    return Section(title="Policy", texts=(said,), kept=(("grants", kept),))
