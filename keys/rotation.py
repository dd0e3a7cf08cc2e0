"""The life of a key as pure rules: next -> active -> retiring -> retired, and revoked from anywhere.

    next      published, signs nothing yet, so that every verifier knows it before the first signature
    active    signs; one per purpose
    retiring  signs nothing more, still published, until the last token it signed and the last cached JWKS are gone
    retired   no longer published for new messages; its private half is destroyed; history still verifies
    revoked   nothing that it signed is believed on receipt; its private half is destroyed

No clock, no database, no network: records and ``now`` (seconds since the epoch) go in, changed records come out, in
the order in which they must become durable. A process that stops between two of them leaves a purpose with two active
keys, two next keys, or (in a revocation) no active one; :func:`repair` mends each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from gateway.ports import Purpose
from gateway.reasons import Conflict, Reason, because
from keys.errors import KeyRefused, KeyUnavailable

TOKEN_LIFETIME_SECONDS: Final = 300
"""The longest life of any token a gateway key signs (a connector's plan)."""
SKEW_SECONDS: Final = 5


class KeyState(StrEnum):
    """Where a key is in its life."""

    NEXT = "next"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
    REVOKED = "revoked"

    @property
    def published(self) -> bool:
        """Whether the JWKS holds it."""
        return self in _PUBLISHED

    @property
    def private(self) -> bool:
        """Whether its private half may still exist."""
        return self in _PUBLISHED


_PUBLISHED: Final = frozenset({KeyState.NEXT, KeyState.ACTIVE, KeyState.RETIRING})


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The public side of a key of the gateway. Times are seconds since the epoch; ``None`` where it has not happened.

    Attributes:
        kid: RFC 7638 thumbprint.
        x: the public key, canonical base64url of 32 bytes.
    """

    kid: str
    purpose: Purpose
    x: str
    state: KeyState
    created_at: float
    activated_at: float | None = None
    retiring_at: float | None = None
    retired_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """What others may still hold, in seconds: tokens that a key signed, JWKS they cached, the clocks' difference."""

    jwks_seconds: int
    token_seconds: int = TOKEN_LIFETIME_SECONDS
    skew_seconds: int = SKEW_SECONDS

    @property
    def settle_seconds(self) -> int:
        """How long a key stays ``retiring``."""
        return self.token_seconds + self.jwks_seconds + self.skew_seconds


def of(records: Iterable[KeyRecord], purpose: Purpose, state: KeyState) -> list[KeyRecord]:
    """The records of a purpose in a state, oldest first."""
    found = [record for record in records if record.purpose is purpose and record.state is state]
    return sorted(found, key=lambda record: (record.activated_at or record.created_at, record.kid))


def missing(records: Sequence[KeyRecord], purpose: Purpose) -> int:
    """How many keys must be created so that the purpose has one active and one next key."""
    return max(0, 2 - len(of(records, purpose, KeyState.ACTIVE)[:1]) - len(of(records, purpose, KeyState.NEXT)))


def repair(records: Sequence[KeyRecord], purpose: Purpose, now: float) -> list[KeyRecord]:
    """What a start, or a stop in the middle of a rotation, leaves to be done.

    No active key: the oldest next one begins to sign. Several: the one activated last is the active one.
    """
    active = of(records, purpose, KeyState.ACTIVE)
    if not active:
        waiting = of(records, purpose, KeyState.NEXT)
        return [_activate(waiting[0], now)] if waiting else []
    return [_retire_slowly(record, now) for record in active[:-1]]


def rotate(records: Sequence[KeyRecord], purpose: Purpose, now: float, lifetimes: Lifetimes) -> list[KeyRecord]:
    """The next key begins to sign and the active one to retire.

    The caller has created another next key before (a rotation never leaves a purpose without one).

    Raises:
        KeyUnavailable: there is no next key.
        KeyRefused: ``request.conflict`` with ``retry_after_seconds`` where a verifier may still hold a JWKS without the
            next key: its messages would be refused. A compromised key is revoked, not rotated.
    """
    waiting = of(records, purpose, KeyState.NEXT)
    if not waiting:
        raise KeyUnavailable(f"no next key for {purpose}")
    chosen = waiting[0]
    # A key older than every activation of its purpose is in every JWKS that was ever published with a key in use.
    first_used = min(
        (r.activated_at for r in records if r.purpose is purpose and r.activated_at is not None), default=now
    )
    known_at = chosen.created_at + lifetimes.jwks_seconds + lifetimes.skew_seconds
    if chosen.created_at > first_used and now < known_at:
        raise KeyRefused(
            Reason.REQUEST_CONFLICT,
            f"next {purpose} key is not known everywhere",
            retry_after_seconds=int(known_at - now) + 1,
            **because(Conflict.KEY_TOO_NEW),
        )
    return [_activate(chosen, now), *(_retire_slowly(r, now) for r in of(records, purpose, KeyState.ACTIVE))]


def revoke(records: Sequence[KeyRecord], kid: str, now: float) -> list[KeyRecord]:
    """Stop believing a key. Where it was the active one, the next begins to sign at once, known everywhere or not.

    Raises:
        KeyRefused: ``request.not_found``, or ``request.conflict`` where it is revoked already.
        KeyUnavailable: it is the active key and there is no next one.
    """
    record = next((record for record in records if record.kid == kid), None)
    if record is None:
        raise KeyRefused(Reason.REQUEST_NOT_FOUND, "no such key")
    if record.state is KeyState.REVOKED:
        raise KeyRefused(Reason.REQUEST_CONFLICT, "the key is revoked already", **because(Conflict.REVOKED))
    revoked = replace(record, state=KeyState.REVOKED, revoked_at=now)
    if record.state is not KeyState.ACTIVE:
        return [revoked]
    waiting = of(records, record.purpose, KeyState.NEXT)
    if not waiting:
        raise KeyUnavailable(f"no next key for {record.purpose}")
    # The revocation comes first: a stop between the two leaves no active key, which repair() mends, while the other
    # order could leave the compromised key in use.
    return [revoked, _activate(waiting[0], now)]


def settle(records: Iterable[KeyRecord], now: float, lifetimes: Lifetimes) -> list[KeyRecord]:
    """Retire each key whose last token and last cached JWKS are gone."""
    return [
        replace(record, state=KeyState.RETIRED, retired_at=now)
        for record in records
        if record.state is KeyState.RETIRING
        and record.retiring_at is not None
        and now >= record.retiring_at + lifetimes.settle_seconds
    ]


def _activate(record: KeyRecord, now: float) -> KeyRecord:
    return replace(record, state=KeyState.ACTIVE, activated_at=now)


def _retire_slowly(record: KeyRecord, now: float) -> KeyRecord:
    return replace(record, state=KeyState.RETIRING, retiring_at=now)
