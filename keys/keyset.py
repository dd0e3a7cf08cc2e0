"""The gateway's keys in use: signs without I/O, rotates and revokes through a store."""

import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gateway.model import Issuer, IssuerKey
from gateway.ports import Purpose, Typ
from gateway.reasons import Conflict, Reason, because
from gateway.settings import KeySettings
from keys import algorithms, jws, rotation
from keys.errors import KeyRefused, KeyUnavailable, SealBroken
from keys.rotation import Compromise, KeyRecord, KeyState, Lifetimes
from keys.stores import KeyStore, StoredKey

TYPES: Final[Mapping[Purpose, frozenset[Typ]]] = MappingProxyType(
    {
        Purpose.CONNECTOR: frozenset({Typ.PLAN}),
        Purpose.STEP: frozenset({Typ.STEP}),
        Purpose.RECEIPT: frozenset({Typ.RECEIPT, Typ.ACCEPT, Typ.EXPORT, Typ.HISTORY}),
        Purpose.APPROVAL: frozenset({Typ.APPROVAL, Typ.PROPOSAL}),
        Purpose.CHECKPOINT: frozenset(),
        Purpose.CHECKPOINT_PQ: frozenset(),
        Purpose.POLICY: frozenset({Typ.BUNDLE}),
    }
)
"""What a key of each purpose signs as JWS. Those that sign none sign raw messages, and only those do: a raw signature
by a key that signs tokens could be made to be one."""


Records = list[KeyRecord]
NEXT_MAX: Final = 4
"""Next keys of one purpose that may wait."""
_DAY_SECONDS: Final = 86_400


def rotate_days(settings: KeySettings, purpose: Purpose) -> int:
    """After how many days of signing a key of the purpose is rotated; 0 is never."""
    return int(getattr(settings, f"rotate_{purpose.replace('-', '_')}_days"))


@dataclass(frozen=True, slots=True)
class PublicBytes:
    """A public key of one purpose: its bytes (32 of Ed25519, 1,312 of ML-DSA-44) and its state."""

    kid: str
    state: KeyState
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Active:
    """Everything that signing needs, made when the key became active."""

    sign: Callable[[bytes], bytes]
    headers: Mapping[Typ, bytes]
    document: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _State:
    """One consistent view of all keys; replaced whole, so that readers need no lock."""

    records: Mapping[str, KeyRecord]
    active: Mapping[Purpose, _Active]
    jwks: Mapping[str, Any]


class Keyset:
    """Implements ``gateway.ports.Signer``. Reading and signing are thread-safe, and do no I/O where the store encloses
    private halves; what changes keys
    (``ensure, rotate, revoke, tick, reload``) blocks on the store and belongs in a thread.

    Those return the records that they changed, oldest change first, so that the caller can put them on record.
    """

    def __init__(
        self,
        store: KeyStore,
        settings: KeySettings,
        clock: Callable[[], float] = time.time,
        *,
        post_quantum: bool = False,
    ) -> None:
        self._store = store
        self._purposes = [one for one in Purpose if post_quantum or one is not Purpose.CHECKPOINT_PQ]
        self._clock = clock
        self._lifetimes = Lifetimes(jwks_seconds=settings.jwks_lifetime_seconds)
        self._longest: Mapping[Purpose, float] = {
            purpose: days * _DAY_SECONDS for purpose in Purpose if (days := rotate_days(settings, purpose)) > 0
        }
        self._changing = threading.RLock()
        self._version: Hashable = None
        self._state = _State({}, {}, {"keys": []})

    @property
    def purposes(self) -> Sequence[Purpose]:
        """Those of which this gateway makes and uses keys."""
        return tuple(self._purposes)

    # --- signing -----------------------------------------------------------------------------------------------------

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        """See ``gateway.ports.Signer.sign``. A purpose signs only its own classes (:data:`TYPES`)."""
        active = self._active(purpose)
        header = active.headers.get(typ)
        if header is None:
            raise KeyUnavailable(f"a {purpose} key does not sign {typ}")
        return jws.sign(active.sign, header, payload)

    def sign_raw(self, purpose: Purpose, message: bytes) -> bytes:
        """See ``gateway.ports.Signer.sign_raw``. Only for purposes that sign no JWS."""
        if TYPES[purpose]:
            raise KeyUnavailable(f"a {purpose} key signs JWS only")
        return self._active(purpose).sign(message)

    def active_jwk(self, purpose: Purpose) -> Mapping[str, str]:
        """See ``gateway.ports.Signer.active_jwk``."""
        return self._active(purpose).document

    # --- what others may know ----------------------------------------------------------------------------------------

    def jwks(self) -> Mapping[str, Any]:
        """RFC 7517 set of every key that is next, active or retiring and signs JWS or notes by Ed25519, each with its
        ``purpose``."""
        return self._state.jwks

    def trust_jwks(self) -> dict[str, Any]:
        """Every Ed25519 key that ever was, with ``purpose``, ``state`` and the times of its life, to verify history."""
        return {"keys": [_trusted(one) for one in self.list() if one.purpose is not Purpose.CHECKPOINT_PQ]}

    def list(self) -> Sequence[KeyRecord]:
        """Every key, by purpose and age."""
        return sorted(self._state.records.values(), key=lambda r: (r.purpose, r.created_at, r.kid))

    def age(self, purpose: Purpose) -> float:
        """Seconds since the active key of a purpose began to sign; NaN where there is none."""
        active = rotation.of(self._state.records.values(), purpose, KeyState.ACTIVE)
        return self._clock() - rotation.age_from(active[-1]) if active else math.nan

    def public_bytes(self, purpose: Purpose) -> Sequence[PublicBytes]:
        """Every key of a purpose that is not revoked, the active one first, then the newest (for verifier keys)."""
        return [
            PublicBytes(record.kid, record.state, algorithms.raw(record))
            for record in sorted(
                self._state.records.values(), key=lambda r: (r.state is not KeyState.ACTIVE, -r.created_at, r.kid)
            )
            if record.purpose is purpose and record.state is not KeyState.REVOKED
        ]

    def public_jwk(self, purpose: Purpose, kid: str) -> Mapping[str, str]:
        """The published key of a purpose with this ``kid``: a ``key_for`` for the gateway's own messages.

        Raises:
            KeyError: there is none that is next, active or retiring.
        """
        record = self._state.records[kid]
        if record.purpose is not purpose or not record.state.published:
            raise KeyError(kid)
        return algorithms.document(record)

    def issuer(self, issuer_id: str, tenant: str, purpose: Purpose = Purpose.CONNECTOR) -> Issuer:
        """The gateway itself as an issuer of the plans that its ingresses sign.

        Keys that no longer sign are among its keys, with the end of their validity: a plan that waits must be able to
        tell a key that was retired in order from one that was revoked.
        """
        return Issuer(
            id=issuer_id,
            tenant=tenant,
            keys={
                record.kid: IssuerKey(
                    record.kid,
                    algorithms.document(record),
                    not_before=int(record.created_at),
                    not_after=None if record.retired_at is None else int(record.retired_at),
                    revoked_at=None if record.revoked_at is None else int(record.revoked_at),
                    covered_size=record.covered_size,
                )
                for record in self._state.records.values()
                if record.purpose is purpose
            },
        )

    # --- changes -----------------------------------------------------------------------------------------------------

    def ensure(self, now: float | None = None) -> Sequence[KeyRecord]:
        """Give every purpose one active and one next key, and mend what a stop in mid-rotation left.

        Raises:
            KeyUnavailable: the store cannot be used; SealBroken among them.
        """
        at = self._clock() if now is None else now
        changed: Records = []
        with self._changing, self._store.lock():
            records = self._load()
            for purpose in self._purposes:
                for _ in range(rotation.missing(records, purpose)):
                    created = self._store.create(purpose, at).record
                    records.append(created)
                    changed.append(created)
                changed += self._apply(rotation.repair(records, purpose, at))
            self._publish()
        return changed

    def rotate(self, purpose: Purpose, now: float | None = None) -> Sequence[KeyRecord]:
        """The next key signs from now on; the former goes on being published until nothing of it is under way.

        Raises:
            KeyRefused: ``request.conflict`` with ``retry_after_seconds`` while the next key is not known everywhere;
                where this gateway uses no keys of the purpose.
            KeyUnavailable: the store cannot be used.
        """
        self._check_used(purpose)
        at = self._clock() if now is None else now
        with self._changing, self._store.lock():
            changed = self._rotate(self._load(), purpose, at)
            self._publish()
        return changed

    def create(self, purpose: Purpose, now: float | None = None) -> Sequence[KeyRecord]:
        """Make a further next key: published from now on, and used after those that are older.

        Raises:
            KeyRefused: ``request.conflict`` where :data:`NEXT_MAX` wait already, or this gateway uses no keys of the
                purpose.
            KeyUnavailable: the store cannot be used.
        """
        self._check_used(purpose)
        at = self._clock() if now is None else now
        with self._changing, self._store.lock():
            if len(rotation.of(self._load(), purpose, KeyState.NEXT)) >= NEXT_MAX:
                detail = f"{NEXT_MAX} {purpose} keys wait already"
                raise KeyRefused(Reason.REQUEST_CONFLICT, detail, limit=NEXT_MAX, **because(Conflict.SPARE_KEYS))
            changed = [self._store.create(purpose, at).record]
            self._publish()
        return changed

    def revoke(
        self, kid: str, now: float | None = None, *, compromise: Compromise | None = None
    ) -> Sequence[KeyRecord]:
        """Stop believing and using a key at once.

        Args:
            compromise: what of the log still vouches for what it signed; ``None`` where nothing does.

        Raises:
            KeyRefused: ``request.not_found`` or ``request.conflict``.
            KeyUnavailable: the store cannot be used.
        """
        at = self._clock() if now is None else now
        with self._changing, self._store.lock():
            records = self._load()
            purpose = next((record.purpose for record in records if record.kid == kid), None)
            created: Records = []
            if purpose is not None:
                spare = [record for record in records if record.kid != kid]
                created = self._made(purpose, at, rotation.missing(spare, purpose))
            changed = [*self._apply(rotation.revoke([*records, *created], kid, at, compromise)), *created]
            self._publish()
        return changed

    def tick(self, now: float | None = None) -> Sequence[KeyRecord]:
        """Take in what other processes changed, retire what has settled and rotate what has signed for as long as it
        may. Call it every second or so: of the processes that share the store, the first one there does it.

        Raises:
            KeyUnavailable: the store cannot be read; the keys known before stay in use.
        """
        at = self._clock() if now is None else now
        with self._changing:
            self.reload()
            if not self._late(list(self._state.records.values()), at):
                return ()
            with self._store.lock():
                changed = self._apply(rotation.settle(self._load(), at, self._lifetimes))
                for purpose in rotation.due(self._load(), self._longest, at, self._lifetimes):
                    changed += self._rotate(self._load(), purpose, at)
                self._publish()
        return changed

    def reload(self) -> bool:
        """Read the store again if anything in it changed; whether it had."""
        with self._changing:
            if self._store.version() == self._version:
                return False
            with self._store.lock():
                self._publish()
            return True

    # --- inside ------------------------------------------------------------------------------------------------------

    def _active(self, purpose: Purpose) -> _Active:
        active = self._state.active.get(purpose)
        if active is None:
            raise KeyUnavailable(f"no active {purpose} key")
        return active

    def _late(self, records: Records, now: float) -> bool:
        return bool(
            rotation.settle(records, now, self._lifetimes) or rotation.due(records, self._longest, now, self._lifetimes)
        )

    def _check_used(self, purpose: Purpose) -> None:
        if purpose not in self._purposes:
            detail = f"this gateway uses no {purpose} keys"
            raise KeyRefused(Reason.REQUEST_CONFLICT, detail, **because(Conflict.KEY_UNUSED))

    def _rotate(self, records: Records, purpose: Purpose, now: float) -> Records:
        changes = rotation.rotate(records, purpose, now, self._lifetimes)
        spare = len(rotation.of(records, purpose, KeyState.NEXT)) > 1
        created = [] if spare else [self._store.create(purpose, now).record]
        return [*created, *self._apply(changes)]

    def _made(self, purpose: Purpose, at: float, count: int) -> Records:
        """New keys; none where what makes them is out of reach, which must not keep a revocation from taking effect.
        A next key that is there takes over, and the next start makes what is missing."""
        try:
            return [self._store.create(purpose, at).record for _ in range(count)]
        except SealBroken:
            raise
        except KeyUnavailable:
            return []

    def _load(self) -> Records:
        return [key.record for key in self._store.load()]

    def _apply(self, changes: Sequence[KeyRecord]) -> Records:
        for record in changes:
            self._store.update(record)
        return list(changes)

    def _publish(self) -> None:
        """Build the state anew from what is durable; called under the store's lock."""
        version = self._store.version()
        stored = self._store.load()
        records = {key.record.kid: key.record for key in stored}
        active: dict[Purpose, _Active] = {}
        for key in sorted(stored, key=lambda k: k.record.activated_at or 0.0):
            if key.record.state is KeyState.ACTIVE:
                active[key.record.purpose] = _prepare(key)
        jwks = {
            "keys": [
                {**algorithms.document(record), "purpose": str(record.purpose)}
                for record in records.values()
                if record.state.published and record.purpose is not Purpose.CHECKPOINT_PQ
            ]
        }
        self._state = _State(records, active, jwks)
        self._version = version


def _prepare(key: StoredKey) -> _Active:
    if key.sign is None:
        raise KeyUnavailable(f"the private half of the active {key.record.purpose} key is gone")
    headers = {typ: jws.protected(key.record.kid, typ) for typ in TYPES[key.record.purpose]}
    return _Active(key.sign, headers, MappingProxyType(algorithms.document(key.record)))


def _trusted(record: KeyRecord) -> dict[str, Any]:
    return {**algorithms.document(record), "purpose": str(record.purpose), "state": str(record.state), **life(record)}


def life(record: KeyRecord) -> dict[str, float | int]:
    """What has happened to a key: member -> seconds since the epoch, and ``covered_size`` of a revoked one."""
    names = (
        "created_at",
        "activated_at",
        "retiring_at",
        "retired_at",
        "revoked_at",
        "compromised_at",
        "covered_size",
    )
    return {name: value for name in names if (value := getattr(record, name)) is not None}
