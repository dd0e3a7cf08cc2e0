"""The life of a key as pure rules: next -> active -> retiring -> retired, and revoked from anywhere.

    next      published, signs nothing yet, so that every verifier knows it before the first signature
    active    signs; one per purpose
    retiring  signs nothing more, still published, until the last token it signed and the last cached JWKS are gone
    retired   no longer published for new messages; its private half is destroyed; history still verifies
    revoked   nothing that it signed is believed on receipt; its private half is destroyed. Where it is known since when
              it may be in wrong hands, what a checkpoint that predates that covers still stands (:class:`Compromise`)

No clock, no database, no network: records and ``now`` (seconds since the epoch) go in, changed records come out, in
the order in which they must become durable. A process that stops between two of them leaves a purpose with two active
keys, two next keys, or (in a revocation) no active one; :func:`repair` mends each.
"""

from collections.abc import Iterable, Mapping, Sequence
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
        compromised_at, covered_size: of a revoked key whose signatures stand for the beginning of the log; see
            :class:`Compromise`. Without them, nothing that it signed stands.
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
    compromised_at: float | None = None
    covered_size: int | None = None


@dataclass(frozen=True, slots=True)
class Compromise:
    """Since when a key may be in wrong hands, and how far the log vouches for what it signed before.

    Attributes:
        at: seconds since the epoch.
        covered_size: tree size of a checkpoint that predates ``at`` and does not rest on the key. What the key signed
            stands where it is bound to an entry with a smaller index. A time inside of a signed message proves nothing.
    """

    at: float
    covered_size: int


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


def known_at(records: Iterable[KeyRecord], key: KeyRecord, lifetimes: Lifetimes) -> float:
    """From when on a next key is in every JWKS that anybody still caches, in seconds since the epoch."""
    first_used = min(
        (r.activated_at for r in records if r.purpose is key.purpose and r.activated_at is not None),
        default=key.created_at,
    )
    # A key that is no younger than the first activation of its purpose was in every JWKS that was ever published.
    if key.created_at <= first_used:
        return key.created_at
    return key.created_at + lifetimes.jwks_seconds + lifetimes.skew_seconds


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
    known = known_at(records, waiting[0], lifetimes)
    if now < known:
        raise KeyRefused(
            Reason.REQUEST_CONFLICT,
            f"next {purpose} key is not known everywhere",
            retry_after_seconds=int(known - now) + 1,
            **because(Conflict.KEY_TOO_NEW),
        )
    return [_activate(waiting[0], now), *(_retire_slowly(r, now) for r in of(records, purpose, KeyState.ACTIVE))]


def due(
    records: Sequence[KeyRecord], longest: Mapping[Purpose, float], now: float, lifetimes: Lifetimes
) -> list[Purpose]:
    """Purposes whose active key has signed for as long as it may, and whose next key is known everywhere.

    Args:
        longest: purpose -> seconds that a key may sign; a purpose that is not in it is never due.
    """
    found = []
    for purpose, seconds in longest.items():
        active, waiting = of(records, purpose, KeyState.ACTIVE), of(records, purpose, KeyState.NEXT)
        if not active or not waiting or now < age_from(active[-1]) + seconds:
            continue
        if now >= known_at(records, waiting[0], lifetimes):
            found.append(purpose)
    return found


def age_from(record: KeyRecord) -> float:
    """Since when a key counts as in use: its first signature, or its making where it has signed nothing."""
    return record.created_at if record.activated_at is None else record.activated_at


def revoke(records: Sequence[KeyRecord], kid: str, now: float, compromise: Compromise | None = None) -> list[KeyRecord]:
    """Stop believing a key. Where it was the active one, the next begins to sign at once, known everywhere or not.

    A revoked key can be revoked once more if less stands afterwards: a compromise turns out to be older, or its time to
    be unknown. Nothing that fell stands again.

    Args:
        compromise: ``None`` where nobody knows since when the key may be in wrong hands: nothing that it signed stands.

    Raises:
        KeyRefused: ``request.not_found``, or ``request.conflict`` where it is revoked already and no less would stand.
        KeyUnavailable: it is the active key and there is no next one.
    """
    record = next((record for record in records if record.kid == kid), None)
    if record is None:
        raise KeyRefused(Reason.REQUEST_NOT_FOUND, "no such key")
    revoked = replace(
        record,
        state=KeyState.REVOKED,
        revoked_at=now if record.revoked_at is None else record.revoked_at,
        compromised_at=None if compromise is None else compromise.at,
        covered_size=None if compromise is None else compromise.covered_size,
    )
    if record.state is KeyState.REVOKED and not _stricter(record, compromise):
        raise KeyRefused(Reason.REQUEST_CONFLICT, "the key is revoked already", **because(Conflict.REVOKED))
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


def _stricter(record: KeyRecord, compromise: Compromise | None) -> bool:
    if record.compromised_at is None or record.covered_size is None:
        return False
    if compromise is None:
        return True
    return compromise.at < record.compromised_at and compromise.covered_size <= record.covered_size


def _activate(record: KeyRecord, now: float) -> KeyRecord:
    return replace(record, state=KeyState.ACTIVE, activated_at=now)


def _retire_slowly(record: KeyRecord, now: float) -> KeyRecord:
    return replace(record, state=KeyState.RETIRING, retiring_at=now)
