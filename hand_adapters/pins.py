"""Pins: which manifest of each hand an operator said yes to, for one tenant.

A pin is written with its log entry in one transaction. It is read back only if its MAC holds, the stored document has
the digest it was pinned under, and the log knows of no later pin: a row that was made, edited or put back in the
database pins nothing.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from gateway.canonical import canonical
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Refused, Unavailable
from gateway.manifest import Manifest
from gateway.model import Principal
from gateway.ports import Append, AuditLog, Write
from gateway.reasons import Reason
from gateway.store.row_macs import RowChanged, RowMacs, sound
from gateway.store.tables import hand_pins
from gateway.store.upsert import upsert

PinKey = tuple[str, str]
"""Tenant and hand."""
NewestPin = Callable[[sqlalchemy.Connection, str, str], str | None]
"""The digest that the log says a tenant last pinned of a hand, read through the connection that the row came from."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned manifest. ``manifest`` is ``None`` where the row is not the one that the gateway wrote last."""

    digest: str
    manifest: Manifest | None


class PinStore(Protocol):
    """Where pins are kept."""

    async def load(self) -> Mapping[PinKey, Pin]:
        """Every pin of every tenant. Raises ``Unavailable``."""

    async def pin(self, manifest: Manifest, actor: Principal) -> None:
        """Make ``manifest`` the one that the actor's tenant pinned, and record who did. Raises ``Unavailable``."""

    async def drifted(self, tenant: str, hand: str, pinned: str, offered: str) -> None:
        """Record that ``hand`` offers another digest than ``tenant`` pinned. Raises ``Unavailable``."""


class SqlPins:
    """Pins in ``hand_pins``, written through the log's writer."""

    def __init__(
        self,
        engine: sqlalchemy.Engine,
        log: AuditLog,
        mac_key: bytes,
        newest: NewestPin,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use ``engine`` for reads and ``log`` for writes.

        Args:
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key can pin nothing.
        """
        self._engine = engine
        self._log = log
        self._macs = RowMacs(mac_key)
        self._newest = newest
        self._clock = clock
        self._upsert = upsert(hand_pins, engine.dialect.name)

    async def load(self) -> Mapping[PinKey, Pin]:
        """Every pin of every tenant.

        Raises:
            Unavailable: ``hand.unavailable`` where the database cannot be read.
        """
        try:
            return await asyncio.to_thread(self._load)
        except SQLAlchemyError as exc:
            raise Unavailable(Reason.HAND_UNAVAILABLE, f"pins: {type(exc).__name__}") from None

    async def pin(self, manifest: Manifest, actor: Principal) -> None:
        """Write the pin and a ``hand registered`` entry in one transaction.

        Raises:
            Unavailable: ``log.unavailable``; the old pin stands.
        """
        values = {
            "tenant": actor.tenant,
            "hand": manifest.hand,
            "manifest_digest": manifest.digest,
            "manifest": canonical(manifest.document()).decode("utf-8"),
            "pinned_by": actor.pseudonym,
            "pinned_at": self._clock(),
        }
        entry = EntryDraft(
            type=EntryType.HAND_REGISTERED,
            tenant=actor.tenant,
            principal=actor.pseudonym,
            hand=manifest.hand,
            manifest_digest=manifest.digest,
            facts={"actions": len(manifest.actions)},
        )
        write = Write(self._upsert, self._macs.seal(hand_pins, values))
        await self._log.append(Append(entries=(entry,), writes=(write,)))

    async def drifted(self, tenant: str, hand: str, pinned: str, offered: str) -> None:
        """Write a ``hand drifted`` entry.

        Raises:
            Unavailable: ``log.unavailable``.
        """
        entry = EntryDraft(
            type=EntryType.HAND_DRIFTED,
            tenant=tenant,
            hand=hand,
            reasons=(str(Reason.HAND_DRIFTED),),
            manifest_digest=pinned,
            facts={"offered_digest": offered},
        )
        await self._log.append(Append(entries=(entry,)))

    def _load(self) -> Mapping[PinKey, Pin]:
        with self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                # Row and entry of a pin that is made meanwhile are seen both, or neither, as they are on SQLite.
                connection.execution_options(isolation_level="REPEATABLE READ")
            found = connection.execute(sqlalchemy.select(hand_pins)).mappings().all()
            good = sound(found, lambda row: self._verify(connection, row))
        pins = {(row["tenant"], row["hand"]): Pin(row["manifest_digest"], None) for row in found}
        for row in good:
            digest = row["manifest_digest"]
            pins[row["tenant"], row["hand"]] = Pin(digest, _stored(row["hand"], digest, row["manifest"]))
        return pins

    def _verify(self, connection: sqlalchemy.Connection, row: Mapping[str, Any]) -> None:
        """Raises ``RowChanged`` where somebody else wrote the row, or put an earlier one back."""
        self._macs.verify_row(hand_pins, row)
        if self._newest(connection, row["tenant"], row["hand"]) != row["manifest_digest"]:
            raise RowChanged(hand_pins, row, "was put back from before a later pin")


def _stored(hand: str, digest: str, document: str) -> Manifest | None:
    """The manifest of a row, or ``None`` where this version of the gateway cannot read it."""
    try:
        value: Any = json.loads(document)
        manifest = Manifest.from_document(value)
    except (ValueError, KeyError, TypeError, AttributeError, Refused):
        return None
    return manifest if manifest.hand == hand and manifest.digest == digest else None
