"""The JSON shapes of entries, and of witnesses; see ``schemas``."""

from typing import Any

from pydantic import Field

from gateway.web.schemas import Shape
from gateway.web.times import Time


class EntryView(Shape):
    """One entry of the audit log."""

    index: int
    code: str
    label: str
    entry: dict[str, Any]
    proof: list[str] | None = Field(None, description="RFC 6962 audit path, base64, the leaf's sibling first.")


class Stretch(Shape):
    """Neighbouring entries, by their first and last index."""

    first: int
    last: int


class Covered(Shape):
    """Indices that a page speaks for: no entry between them matches but those on the page, or dropped ones."""

    first: int
    last: int
    dropped: list[Stretch] = Field(description="Entries whose retention is over; nobody can say whether they matched.")


class ScopeView(Shape):
    """Which entries the caller may see at all; what an answer covers and counts, it does within these."""

    tenant: str
    hands: list[str] | None = Field(description="Entries of these hands; null for every entry of the tenant.")
    types: list[str] = Field(description="Beside those of the hands: entries of these types, which are about no hand.")


class EntryPage(Shape):
    """A page of entries, and the tree size that it speaks for."""

    entries: list[EntryView]
    next: int | None
    tree_size: int
    covers: Covered
    matches: int | None = Field(description="How many match in all, where that was asked.")
    checkpoint: str | None = Field(description="Signed checkpoint that the proofs lead to, where they were asked for.")
    scope: ScopeView


class WitnessView(Shape):
    """A witness of the log, and what became of the newest attempt to have a checkpoint cosigned."""

    name: str
    key: str = Field(description="Name of its key, as signature lines show it.")
    tree_size: int = Field(description="The largest tree that it cosigned.")
    cosigned_at: Time | None = Field(description="When it last did, by its own clock.")
    age_seconds: int | None
    fault: str | None
    detail: str


class WitnessList(Shape):
    """The witnesses of this gateway's log, and whether enough of them gave their word lately."""

    quorum: int
    lag_seconds: int
    problem: str | None
    witnesses: list[WitnessView]
