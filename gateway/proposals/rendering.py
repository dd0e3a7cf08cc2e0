"""One proposal as a person reads it before they agree to it: what would change, in words; before and after; and what
was asked for, value by value, with whatever in it is not what it looks like (``gateway.rendering``).

The words are drawn from the document, which is signed, and from the request that it commits to, and from nothing else.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gateway.dual_control import NEW, differences
from gateway.rendering import Argument, moment, render
from gateway.safe import safe
from gateway.two_person import DAY_SECONDS, Kind

_ADDRESSES: Final[Mapping[str, str]] = MappingProxyType({"/id": "account", "/subject": "account", "/value": "account"})
"""Values of a request that say who somebody is: one wrong letter is somebody else."""
_WHAT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "commit": "built from the commit",
        "digest": "bundle",
        "freeze": "freeze",
        "hand": "hand",
        "lasts_seconds": "seconds that it lasts",
        "percent": "principals in a hundred",
        "approval_kid": "key in a file that signs for them (thumbprint)",
        "attests_request": "may attest what a user asked for",
        "hands": "hands",
        "keys": "keys that stand",
        "links": "links that stand",
        "named": "has a name",
        "new_key": "the new key",
        "new_key_days": "days that the new key lasts",
        "new_key_sha256": "SHA-256 of the new key's secret",
        "new_link": "proof of the new link",
        "revoked": "revoked",
        "roles": "roles",
        "speaks_for": "speaks for",
    }
)
"""Member of a document -> what it is."""
_ROLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "agent": "asks for steps",
        "approver": "answers calls that are held for a person",
        "auditor": "reads the log, and everything in it",
        "author": "writes policies, and proposes them",
        "hand": "carries out the steps of its hands",
        "operator": "runs hands, and activates policies that others proposed",
        "privacy_officer": "exports and erases what is held about people",
        "security_admin": "decides about keys, issuers and principals: also about who decides",
    }
)
"""Role -> what it lets its holder do."""
_STANDING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "open": "Open",
        "activated": "In effect",
        "withdrawn": "Withdrawn",
        "expired": "Expired: too few agreed in time",
        "ended": "Over",
    }
)


@dataclass(frozen=True, slots=True)
class ProposalRendering:
    """A proposal, readable. Every text of it is safe to show.

    Attributes:
        title: what would change, in one sentence without its full stop.
        standing: how far it is.
        meaning: sentences on what the change lets somebody do.
        changes: what, before and after, of what differs.
        request: values of what was asked for; ``None`` where it is not shown.
        warnings: what to look at twice.
    """

    title: str
    standing: str
    meaning: tuple[str, ...]
    changes: tuple[tuple[str, str, str], ...]
    request: tuple[Argument, ...] | None
    warnings: tuple[str, ...]


def render_proposal(proposal: Mapping[str, Any]) -> ProposalRendering:
    """The readable form of a proposal, as ``GET /v1/proposals/{id}`` answers it."""
    document, request = _mapping(proposal.get("document")), proposal.get("request")
    arguments: tuple[Argument, ...] | None = None
    if isinstance(request, Mapping):
        given = {name: value for name, value in request.items() if value is not None}
        arguments = render({"args": given, "roles": dict(_ADDRESSES)}, whole=True).arguments
    return ProposalRendering(
        title=_title(proposal, document, _mapping(request)),
        standing=_standing(proposal),
        meaning=tuple(_meaning(document)),
        changes=tuple((_WHAT.get(name, safe(name)), shown(was), shown(is_)) for name, was, is_ in _changes(document)),
        request=arguments,
        warnings=tuple(_warnings(arguments or ())),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _changes(document: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    before, after = document.get("before"), document.get("after")
    if isinstance(after, Mapping):
        return differences(before if isinstance(before, Mapping) else None, after)
    # What a bundle takes the place of, or decides beside, is its before.
    was = {"digest": document.get("replaces", document.get("active"))}
    return [(name, was.get(name), value) for name, value in document.items() if name not in {"replaces", "active"}]


def shown(value: Any) -> str:
    """A value of a document."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    return safe(value) if isinstance(value, str | int) else safe(json.dumps(value))


def agreed(proposal: Mapping[str, Any]) -> str:
    """How many have agreed: ``1 of 2``. The proposer of what a second person activates is the first of two."""
    if "needed" not in proposal:
        return "2 of 2" if proposal.get("decided_by") and proposal.get("status") in {"activated", "ended"} else "1 of 2"
    counting = sum(bool(one.get("counts")) for one in proposal.get("signatures") or ())
    return f"{counting} of {proposal['needed']}"


def _title(proposal: Mapping[str, Any], document: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    if "change" in document:
        return _trust_title(proposal, document, request)
    match proposal.get("kind"):
        case Kind.POLICY_ACTIVATE:
            return f"Have the policy bundle {_short(document.get('digest'))} decide from now on"
        case Kind.POLICY_OBSERVE:
            return f"Observe the hand {_name(document.get('hand'))} for {_days(document)}: record all, enforce little"
        case Kind.POLICY_CANARY:
            share = f"{shown(document.get('percent'))} principals in a hundred"
            return f"Have the policy bundle {_short(document.get('digest'))} decide for {share}, for {_days(document)}"
        case Kind.FREEZE_LIFT:
            return f"Lift the freeze {_name(document.get('freeze'))}: what it stopped may run again"
    return f"{_name(proposal.get('kind'))}: {_name(proposal.get('subject'))}"


def _trust_title(proposal: Mapping[str, Any], document: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    subject = str(proposal.get("subject"))
    who = _name(request.get("id") or ("somebody new" if subject.startswith(NEW) else subject))
    after = document.get("after")
    roles = shown(after.get("roles")) if isinstance(after, Mapping) else "-"
    match document.get("change"):
        case "principal.add":
            return f"Let {who} in as: {roles}"
        case "principal.key":
            return f"Give {who} ({roles}) one more API key"
        case "principal.link":
            return f"Let somebody who proves who they are elsewhere call as {who} ({roles})"
        case "principal.name":
            pseudonym = _name(request.get("pseudonym") or proposal.get("subject"))
            return f"Give the name {who} to {pseudonym} ({roles}), who has lost theirs"
        case "principal.revoke":
            return f"Revoke {who} ({roles}), of whom few are left"
        case "issuer.add":
            return f"Believe the plans that one more key signs, as those of the issuer {who}"
    return f"{_name(document.get('change'))}: {who}"


def _meaning(document: Mapping[str, Any]) -> Iterator[str]:
    after = document.get("after")
    if not isinstance(after, Mapping) or document.get("change") == "principal.revoke":
        return
    for role in after.get("roles") or ():
        yield f"{safe(role)}: {_ROLES.get(role, 'not known here')}"
    if "hands" in after:
        hands = after["hands"]
        yield "for every hand" if hands is None else f"for these hands alone: {shown(hands)}"
    if "speaks_for" in after:
        yield f"speaks for: {shown(after['speaks_for'])}"


def _standing(proposal: Mapping[str, Any]) -> str:
    status = str(proposal.get("status"))
    words = _STANDING.get(status, safe(status))
    if status == "open":
        return f"{words}: {agreed(proposal)} agreed"
    by = proposal.get("ended_by") if status == "ended" else proposal.get("decided_by")
    at = moment(proposal.get("ended_at") or proposal.get("decided_at"))
    return f"{words}{f', by {_name(by)}' if by else ''}{f', {at}' if at else ''}"


def _warnings(arguments: Sequence[Argument]) -> Iterator[str]:
    marked = [argument.name for argument in arguments if argument.warnings]
    if marked:
        yield f"Look twice at: {', '.join(marked)}."


def _name(value: Any) -> str:
    return "-" if value is None else safe(value)


def _short(digest: Any) -> str:
    return f"{safe(str(digest)[:12])}..."


def _days(document: Mapping[str, Any]) -> str:
    seconds = document.get("lasts_seconds")
    if not isinstance(seconds, int):
        return "-"
    if seconds % DAY_SECONDS == 0:
        days = seconds // DAY_SECONDS
        return f"{days} day{'s' if days != 1 else ''}"
    return f"{seconds:,} seconds"
