"""Pins: which manifest of each hand an operator said yes to, for one tenant.

A pin is written with its log entry in one transaction, and read back only if the stored document still has the digest
it was pinned under: a row that was edited in the database pins nothing.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from gateway.canonical import canonical
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Refused, Unavailable
from gateway.manifest import Manifest
from gateway.model import Principal
from gateway.ports import Append, AuditLog, Write
from gateway.reasons import Reason
from gateway.store.tables import hand_pins

PinKey = tuple[str, str]
"""Tenant and hand."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned manifest. ``manifest`` is ``None`` where the stored document is not the one that was pinned."""

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

    def __init__(self, engine: sqlalchemy.Engine, log: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._log = log
        self._clock = clock
        self._upsert = _upsert(engine.dialect.name)

    async def load(self) -> Mapping[PinKey, Pin]:
        """Every pin of every tenant.

        Raises:
            Unavailable: ``hand.unavailable`` where the database cannot be read.
        """
        try:
            rows = await asyncio.to_thread(self._rows)
        except SQLAlchemyError as exc:
            raise Unavailable(Reason.HAND_UNAVAILABLE, f"pins: {type(exc).__name__}") from None
        return {(tenant, hand): Pin(digest, _stored(hand, digest, text)) for tenant, hand, digest, text in rows}

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
        await self._log.append(Append(entries=(entry,), writes=(Write(self._upsert, values),)))

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

    def _rows(self) -> list[tuple[str, str, str, str]]:
        with self._engine.connect() as connection:
            found = connection.execute(
                sqlalchemy.select(
                    hand_pins.c.tenant, hand_pins.c.hand, hand_pins.c.manifest_digest, hand_pins.c.manifest
                )
            )
            return [(row[0], row[1], row[2], row[3]) for row in found]


def _upsert(dialect: str) -> sqlalchemy.Insert:
    key = list(hand_pins.primary_key)
    names = [column.name for column in hand_pins.c if not column.primary_key]
    if dialect == "postgresql":
        ours = postgresql.insert(hand_pins)
        return ours.on_conflict_do_update(index_elements=key, set_={name: ours.excluded[name] for name in names})
    theirs = sqlite.insert(hand_pins)
    return theirs.on_conflict_do_update(index_elements=key, set_={name: theirs.excluded[name] for name in names})


def _stored(hand: str, digest: str, document: str) -> Manifest | None:
    """The manifest of a row, or ``None`` where the row was damaged: it does not say what was pinned."""
    try:
        value: Any = json.loads(document)
        manifest = Manifest.from_document(value)
    except (ValueError, KeyError, TypeError, AttributeError, Refused):
        return None
    return manifest if manifest.hand == hand and manifest.digest == digest else None
