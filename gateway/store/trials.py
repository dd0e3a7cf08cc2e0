"""Rows of candidate bundles on trial: which shadow counts, what each gateway counted, and which canaries stopped.

A shadow is believed if its row's MAC holds, and the log knows neither a later one nor its end. A canary is a proposal
(``store.proposals``); that it stopped itself is an entry of the log, of which the database takes one for each canary.
What was counted is a row for each gateway with a MAC; an older row that SQL put back counts less, and never more.
"""

import json
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NoReturn

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select

from audit.history import facts_of
from gateway.entries import EntryType
from gateway.errors import Refused
from gateway.model import DEFAULT_TENANT
from gateway.policy.canary import Cause
from gateway.policy.shadow import Shadow
from gateway.ports import Guard, Write
from gateway.reasons import Conflict, Reason, because
from gateway.store.reading import reading
from gateway.store.row_macs import RowChanged, RowMacs, sound
from gateway.store.tables import policy_comparisons, policy_shadows, proposal_acts

_INSERT_SHADOW: Final = insert(policy_shadows)
_INSERT_ACT: Final = insert(proposal_acts)
_INSERT_COMPARISON: Final = insert(policy_comparisons)
_DELETE_COMPARISON: Final = delete(policy_comparisons).where(
    policy_comparisons.c.subject == bindparam("the_subject"), policy_comparisons.c.gateway == bindparam("the_gateway")
)
_TYPES: Final = frozenset({EntryType.SHADOW_STARTED, EntryType.SHADOW_ENDED, EntryType.CANARY_STOPPED})


class SqlTrials:
    """Reads block in threads; writes are carried by the log's writer."""

    def __init__(self, engine: Engine, mac_key: bytes, gateway_id: str) -> None:
        """Use ``engine`` for reads.

        Args:
            mac_key: 32 bytes from outside the database.
            gateway_id: under which this gateway counts.
        """
        self._engine = engine
        self._macs = RowMacs(mac_key)
        self.gateway_id = gateway_id
        self._lock = threading.Lock()
        self._read_to = -1
        self._started = 0
        self._ended = 0
        self._stopped: dict[str, Cause] = {}

    # --- writes ------------------------------------------------------------------------------------------------------

    def start(self, shadow: Shadow) -> Guard:
        """A new shadow; one follows another, so a number that is taken raises ``request.conflict``."""
        row = {
            "number": shadow.number,
            "digest": shadow.digest,
            "started_by": shadow.by,
            "started_at": shadow.since,
            "ends_at": shadow.until,
        }
        return Guard(_INSERT_SHADOW, self._macs.seal(policy_shadows, row), _taken)

    def stop(self, canary: str) -> Guard:
        """A canary stops itself once among all gateways; else ``proposal.closed``. It counts by its entry: a row that
        SQL put there first keeps no canary from stopping."""

        def on_conflict(connection: Connection) -> None:
            for _, facts in facts_of(connection, DEFAULT_TENANT, {EntryType.CANARY_STOPPED}, -1):
                if facts["proposal"] == canary:
                    raise Refused(Reason.PROPOSAL_CLOSED, "another gateway stopped it")

        return Guard(_INSERT_ACT, {"proposal_id": canary, "step": "stopped"}, on_conflict)

    def keep(self, subject: str, document: Mapping[str, Any], now: float) -> list[Write]:
        """What this gateway counted for a subject, instead of what it counted before."""
        row = {
            "subject": subject,
            "gateway": self.gateway_id,
            "document": json.dumps(document, sort_keys=True),
            "counted_at": now,
        }
        which = {"the_subject": subject, "the_gateway": self.gateway_id}
        return [
            Write(_DELETE_COMPARISON, which),
            Write(_INSERT_COMPARISON, self._macs.seal(policy_comparisons, row)),
        ]

    # --- reads -------------------------------------------------------------------------------------------------------

    async def shadow(self) -> Shadow | None:
        """The newest shadow, whether or not it still counts.

        Raises:
            RowChanged: ``gateway.internal``; its row is not as the gateway left it, or the log knows a later one.
            Unavailable: the database cannot be read.
        """
        return await reading(self._engine, "trials", self._shadow)

    def _shadow(self, connection: Connection) -> Shadow | None:
        started, ended = self._take_in(connection)
        query = select(policy_shadows).order_by(policy_shadows.c.number.desc()).limit(1)
        verify = partial(self._macs.verify_row, policy_shadows)
        found = sound(connection.execute(query).mappings(), verify, strict=True)
        if (found[0]["number"] if found else 0) < started:
            raise RowChanged(policy_shadows, {}, "is missing, which the log knows")
        if not found:
            return None
        row = found[0]
        over = row["number"] <= ended
        return Shadow(row["number"], row["digest"], row["started_by"], row["started_at"], row["ends_at"], over)

    async def stopped(self) -> Mapping[str, Cause]:
        """Proposal id -> why that canary stopped itself, as far as the log says."""

        def read(connection: Connection) -> Mapping[str, Cause]:
            self._take_in(connection)
            return dict(self._stopped)

        return await reading(self._engine, "trials", read)

    async def comparisons(self, subject: str) -> Mapping[str, Mapping[str, Any]]:
        """Gateway -> what it counted for a subject. A row that is not as that gateway left it is left out, loudly."""

        def read(connection: Connection) -> Mapping[str, Mapping[str, Any]]:
            query = select(policy_comparisons).where(policy_comparisons.c.subject == subject)
            verify = partial(self._macs.verify_row, policy_comparisons)
            rows = sound(connection.execute(query.order_by(policy_comparisons.c.gateway)).mappings(), verify)
            return {row["gateway"]: json.loads(row["document"]) for row in rows}

        return await reading(self._engine, "trials", read)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _take_in(self, connection: Connection) -> tuple[int, int]:
        """Read on in the log; to be done *before* rows are read, which are then as new at least.

        Returns:
            Number of the newest shadow that was started, and of the newest that was ended, as this connection sees it:
            others may know newer ones by now, whose rows are not to be seen here.
        """
        with self._lock:
            read_to, started, ended = self._read_to, self._started, self._ended
        found = list(facts_of(connection, DEFAULT_TENANT, _TYPES, read_to))
        numbers = {
            act: [int(facts["number"]) for _, facts in found if facts.get("act") == act] for act in ("start", "end")
        }
        with self._lock:
            for index, facts in found:
                if index <= self._read_to:
                    continue  # another thread was faster
                self._read_to = index
                if facts.get("act") == "start":
                    self._started = max(self._started, int(facts["number"]))
                elif facts.get("act") == "end":
                    self._ended = max(self._ended, int(facts["number"]))
                else:
                    self._stopped[str(facts["proposal"])] = Cause(facts["cause"])
        return max(started, *numbers["start"], 0), max(ended, *numbers["end"], 0)


def _taken(_connection: Connection) -> NoReturn:
    raise Refused(Reason.REQUEST_CONFLICT, "another shadow was started meanwhile", **because(Conflict.SHADOW_MEANWHILE))
