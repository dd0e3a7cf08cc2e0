"""A proposal as the API shows it, and the pages and the terminal render it."""

from collections.abc import Mapping
from typing import Any

from gateway.times import format_time
from gateway.two_person import Proposal


def view(proposal: Proposal, names: Mapping[str, str]) -> dict[str, Any]:
    """A proposal, without the signatures of a counted kind.

    Args:
        names: pseudonym -> id; who was erased is shown by pseudonym.
    """
    shown: dict[str, Any] = {
        "id": proposal.id,
        "kind": str(proposal.kind),
        "tenant": proposal.tenant,
        "subject": proposal.subject,
        "document": dict(proposal.document),
        "document_sha256": proposal.document_sha256,
        "status": str(proposal.status),
        "proposed_by": names.get(proposal.proposed_by, proposal.proposed_by),
        "proposed_attested_by": proposal.proposed_attested_by,
        "proposed_at": format_time(proposal.proposed_at),
        "expires_at": format_time(proposal.expires_at),
    }
    later: dict[str, str | None] = {
        "decided_by": _named(proposal.decided_by, names),
        "decided_attested_by": proposal.decided_attested_by,
        "decided_at": format_time(proposal.decided_at),
        "in_force_until": format_time(proposal.in_force_until),
        "ended_by": _named(proposal.ended_by, names),
        "ended_at": format_time(proposal.ended_at),
    }
    return shown | {name: value for name, value in later.items() if value is not None}


def _named(pseudonym: str | None, names: Mapping[str, str]) -> str | None:
    return None if pseudonym is None else names.get(pseudonym, pseudonym)
