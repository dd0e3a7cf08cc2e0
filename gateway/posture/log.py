"""The log: who could change it, whether it refuses, and when it was cosigned, verified and backed up."""

import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import Connection, select, text

from audit.assurance.catalogue import Expectation, catalogues
from audit.assurance.evidence import DAY_SECONDS, Place, Stretch
from audit.cosigned import Cosigned
from audit.reader import Reader
from audit.tables import entries
from audit.witnesses import quorum_of
from gateway.model import DEFAULT_TENANT
from gateway.posture.model import Check, Severity, Verdict, bad, good, none
from gateway.posture.scene import Scene
from migrations import defences

_NEVER: Final = frozenset({"TRUNCATE", "TRIGGER"})
_ROLE: Final = text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
_OWNS: Final = text(
    "SELECT pg_has_role(current_user, relowner, 'MEMBER') FROM pg_class WHERE oid = to_regclass(:table)"
)
_MAY: Final = text("SELECT has_table_privilege(current_user, :table, :right)")
_SQLITE_TRIGGERS: Final = text("SELECT sql FROM sqlite_master WHERE type = 'trigger'")
_POSTGRESQL_TRIGGERS: Final = text(
    "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'A' AND tgrelid = ANY "
    "(SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)"
)
_ALWAYS: Final = re.compile(r"ALTER TABLE \w+ ENABLE ALWAYS TRIGGER (\w+)")
_FINDINGS: Final = select(entries.c.body)


def _role(scene: Scene) -> Verdict:
    if scene.engine.dialect.name != "postgresql":
        return none("SQLite has no roles: whoever can write to the file can replace it")
    with scene.connect() as connection:
        held = list(_held(connection))
    if held:
        remedy = "Connect as the role of deploy/postgres/application-role.sql."
        return bad(f"the gateway's role {', '.join(held)}", remedy)
    return good("the gateway's role can add to the log, and neither change nor delete, nor take away what is erasable")


def _held(connection: Connection) -> Sequence[str]:
    if connection.execute(_ROLE).scalar():
        return ["is a superuser"]
    found = []
    for table, withheld in defences.WITHHELD.items():
        if connection.execute(_OWNS, {"table": table}).scalar():
            found.append(f"owns {table}")
            continue  # and so may do everything
        wanted = sorted(withheld | _NEVER)
        rights = [right for right in wanted if connection.execute(_MAY, {"table": table, "right": right}).scalar()]
        if rights:
            found.append(f"may {', '.join(rights)} on {table}")
    return found


def _append_only(scene: Scene) -> Verdict:
    with scene.connect() as connection:
        if connection.dialect.name == "postgresql":
            there = set(connection.execute(_POSTGRESQL_TRIGGERS).scalars())
            wanted = {match[1] for line in defences.postgresql() if (match := _ALWAYS.match(line))}
        else:
            there = set(connection.execute(_SQLITE_TRIGGERS).scalars())
            wanted = set(defences.sqlite())
    missing = wanted - there
    if missing:
        shown = sorted(line.removeprefix("CREATE TRIGGER ").split()[0] for line in missing)
        remedy = "Find out who took them away; verify the log (handrail audit fsck) and restore from a backup."
        return bad(f"triggers that guard the log are gone or changed: {', '.join(shown)}", remedy)
    return good(f"all {len(wanted)} triggers that keep tables append-only are in place")


def _expected(name: str) -> Expectation:
    return next(
        one
        for catalogue in catalogues().values()
        for control in catalogue.controls
        for one in control.expects
        if one.id == name
    )


def _newest(scene: Scene, expected: Expectation) -> Place | None:
    size, _ = Reader(scene.engine).head()
    with scene.connect() as connection:
        return Stretch(connection, DEFAULT_TENANT, 0, size).last_of(expected.entries)


def _recent(scene: Scene, name: str) -> Verdict:
    """Whether the newest entry that an expectation asks for is recent enough."""
    expected = _expected(name)
    place = _newest(scene, expected)
    days = expected.every_days or 0
    if place is None:
        return bad(f"never on record; expected every {days} days", expected.remedy)
    age = (scene.now - place.seconds) / DAY_SECONDS
    if age > days:
        return bad(f"last on record {age:.0f} days ago; expected every {days} days", expected.remedy)
    return good(f"on record {place.time} (entry {place.index})")


def _verified(scene: Scene) -> Verdict:
    verdict = _recent(scene, "log-verified")
    place = _newest(scene, _expected("log-verified"))
    if place is not None:
        with scene.connect() as connection:
            body = connection.execute(_FINDINGS.where(entries.c.idx == place.index)).scalar_one()
        found = json.loads(body).get("facts", {}).get("findings")
        if found:
            return bad(f"the newest verification found {found} faults", "handrail audit fsck")
    return verdict


def _witnessed(scene: Scene) -> Verdict:
    """Whether enough witnesses gave their word lately: what ``log.unwitnessed`` is about, read from the database."""
    settings = scene.settings.log
    needed = settings.witness_quorum
    if not needed:
        remedy = "Set [log.witnesses] and [log] witness_quorum."
        return bad("no quorum of witnesses: only who keeps checkpoints would see another history of the log", remedy)
    quorum = quorum_of(settings)
    cosigned = Cosigned(Reader(scene.engine), quorum)
    times = sorted((last[1].time for key in quorum.keys if (last := cosigned.last(key)) is not None), reverse=True)
    if len(times) < needed:
        return bad(f"{len(times)} witnesses ever cosigned a checkpoint; {needed} are needed", "handrail log witnesses")
    age = scene.now - times[needed - 1]
    if age > settings.witness_lag_max_seconds:
        found = f"{needed} witnesses last cosigned {age:,.0f} seconds ago; {settings.witness_lag_max_seconds:,.0f}"
        return bad(f"{found} are allowed", "handrail log witnesses")
    return good(f"{needed} of {len(quorum.keys)} witnesses cosigned in the last {max(age, 0):,.0f} seconds")


BACKUP_RECENT: Final = Check("backup-recent", Severity.HIGH, partial(_recent, name="backup-made"))
CHECKS: Final = (
    Check("database-role", Severity.HIGH, _role),
    Check("log-append-only", Severity.HIGH, _append_only),
    Check("witnesses-quorum", Severity.MEDIUM, _witnessed),
    Check("log-verified", Severity.MEDIUM, _verified),
    BACKUP_RECENT,
)
