"""Signed bundles by digest, and which of them decides. Each row is read as the gateway left it, or not at all.

A bundle's row holds the signed file and the public key that it was judged by; MAC, signature and digest are verified at
every reading. The newest activation counts only if the log knows of no later one: a row that SQL made, changed or put
back decides nothing, and one that SQL took away leaves the gateways on what they had.
"""

import hmac
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, insert, select

from audit.epochs import NONCE_BYTES
from audit.history import facts_of
from gateway.canonical import b64url_decode, b64url_encode
from gateway.entries import EntryType
from gateway.errors import HandrailError, Refused
from gateway.model import DEFAULT_TENANT
from gateway.policy import signed
from gateway.policy.activations import Activation, Way
from gateway.policy.faults import BundleError, Problem
from gateway.policy.signed import SignedBundle
from gateway.ports import Guard
from gateway.reasons import Reason
from gateway.store.reading import Result, reading
from gateway.store.row_macs import RowChanged, RowMacs, sound
from gateway.store.tables import policy_activations, policy_bundles
from gateway.times import format_time

_INSERT_BUNDLE: Final = insert(policy_bundles)
_INSERT_ACTIVATION: Final = insert(policy_activations)
_CHANGES: Final = frozenset({EntryType.POLICY_ACTIVATED, EntryType.POLICY_ROLLED_BACK})
LISTED_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A bundle that is kept.

    Attributes:
        jwk: the public key that it was verified with when it came.
        added_by: principal who brought it.
        added_at: seconds since the epoch.
    """

    signed: SignedBundle
    jwk: Mapping[str, Any]
    added_by: str
    added_at: float


class SqlBundles:
    """Reads block in threads; writes are carried by the log's writer."""

    def __init__(self, engine: Engine, mac_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key can neither change a
                bundle nor have one decide.
        """
        self._engine = engine
        self._macs = RowMacs(mac_key)
        self._cipher = AESGCM(hmac.digest(mac_key, b"signed bundles", "sha256"))
        self._lock = threading.Lock()
        self._read_to = -1
        self._newest: tuple[int, str] = (0, "")

    # --- writes ------------------------------------------------------------------------------------------------------

    def insert(self, bundle: StoredBundle) -> Guard:
        """Keep a bundle. Where its digest is kept already, the first one stays."""
        kept = bundle.signed
        row = {
            "digest": kept.bundle.digest,
            "git_commit": kept.commit,
            "signed": self._sealed(kept.bundle.digest, kept.token),
            "jwk": json.dumps(dict(bundle.jwk), sort_keys=True),
            "added_by": bundle.added_by,
            "added_at": bundle.added_at,
        }
        return Guard(_INSERT_BUNDLE, self._macs.seal(policy_bundles, row), lambda _connection: None)

    def activate(self, activation: Activation) -> Guard:
        """Have a bundle decide. One change follows another: a number that is taken raises ``proposal.outdated``."""
        row = {
            "number": activation.number,
            "digest": activation.digest,
            "way": str(activation.way),
            "proposal_id": activation.proposal_id,
            "activated_by": activation.by,
            "activated_at": activation.at,
        }
        return Guard(_INSERT_ACTIVATION, self._macs.seal(policy_activations, row), _outdated)

    # --- reads -------------------------------------------------------------------------------------------------------

    async def get(self, digest: str) -> StoredBundle | None:
        """A kept bundle; its MAC, signature and digest hold.

        Raises:
            BundleError: the row is not as the gateway left it.
            Unavailable: the database cannot be read.
        """
        return await self._read(partial(self._get, digest))

    def _get(self, digest: str, connection: Connection) -> StoredBundle | None:
        found = connection.execute(select(policy_bundles).where(policy_bundles.c.digest == digest)).mappings().first()
        if found is None:
            return None
        row = dict(found)
        try:
            self._macs.verify_row(policy_bundles, row)
            jwk = json.loads(row["jwk"])
            kept = signed.verify(self._opened(row), lambda _kid: jwk)
            if kept.bundle.digest != digest:
                raise RowChanged(policy_bundles, row)
        except BundleError:
            raise
        except HandrailError as error:
            raise BundleError([Problem("", 0, 0, f"the stored bundle is refused: {error.detail}")], digest) from None
        return StoredBundle(kept, jwk, row["added_by"], row["added_at"])

    def _sealed(self, digest: str, token: str) -> str:
        """A signed file says who signed it, and a row names nobody in clear."""
        nonce = os.urandom(NONCE_BYTES)
        return b64url_encode(nonce + self._cipher.encrypt(nonce, token.encode("ascii"), digest.encode("ascii")))

    def _opened(self, row: Mapping[str, Any]) -> bytes:
        raw = b64url_decode(row["signed"])
        try:
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], row["digest"].encode("ascii"))
        except (InvalidTag, ValueError):
            raise RowChanged(policy_bundles, row) from None

    async def list(self) -> Sequence[Mapping[str, Any]]:
        """``{digest, commit, added_by, added_at}`` of the newest bundles, newest first, without their files."""

        def read(connection: Connection) -> Sequence[Mapping[str, Any]]:
            query = select(policy_bundles).order_by(policy_bundles.c.added_at.desc()).limit(LISTED_MAX)
            rows = sound(connection.execute(query).mappings(), partial(self._macs.verify_row, policy_bundles))
            return [
                {
                    "digest": row["digest"],
                    "commit": row["git_commit"],
                    "added_by": row["added_by"],
                    "added_at": format_time(row["added_at"]),
                }
                for row in rows
            ]

        return await self._read(read)

    async def history(self) -> Sequence[Activation]:
        """Every change of the bundle that decides, oldest first.

        Raises:
            RowChanged: ``gateway.internal``; a row is not as the gateway left it, or the newest that the log knows is
                not there.
            Unavailable: the database cannot be read.
        """
        return await self._read(self._history)

    def _history(self, connection: Connection) -> Sequence[Activation]:
        logged = self._logged(connection)
        query = select(policy_activations).order_by(policy_activations.c.number)
        rows = sound(
            connection.execute(query).mappings(), partial(self._macs.verify_row, policy_activations), strict=True
        )
        history = [
            Activation(
                row["number"],
                row["digest"],
                Way(row["way"]),
                row["proposal_id"],
                row["activated_by"],
                row["activated_at"],
            )
            for row in rows
        ]
        if [one.number for one in history] != list(range(1, len(history) + 1)):
            raise RowChanged(policy_activations, {}, "is missing")
        if logged[0] > len(history) or (logged[0] and history[logged[0] - 1].digest != logged[1]):
            raise RowChanged(policy_activations, {}, "is missing, which the log knows")
        return history

    def _logged(self, connection: Connection) -> tuple[int, str]:
        """Number and digest of the newest change that the log knows; read *before* the rows."""
        seen, newest = self._read_to, self._newest
        for index, facts in facts_of(connection, DEFAULT_TENANT, _CHANGES, seen):
            seen = index
            number, digest = facts.get("number"), facts.get("digest")
            if isinstance(number, int) and isinstance(digest, str) and number > newest[0]:
                newest = (number, digest)
        with self._lock:
            if seen > self._read_to:
                self._read_to, self._newest = seen, newest
        return newest

    async def _read(self, read: Callable[[Connection], Result]) -> Result:
        return await reading(self._engine, "bundles", read)


def _outdated(_connection: Connection) -> NoReturn:
    raise Refused(Reason.PROPOSAL_OUTDATED, "another bundle was activated meanwhile")
