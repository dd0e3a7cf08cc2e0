"""Triggers that keep the log, and what was decided once, append-only against whoever holds the application's own role.

One thing may be deleted: what lies in a partition that retention dropped (``audit.retention``). That it was is a row,
too, which the application's role cannot write.

A superuser can drop them; checkpoints that others kept are what stands against that.
"""

from collections.abc import Mapping
from typing import Final

from audit.eraser import HOLDS_LOCK
from audit.postings import BLOCK
from audit.rights import ERASABLE
from gateway.entries import STANDING

APPEND_ONLY: Final = {
    "entries": ("idx",),
    "checkpoints": ("tree_size",),
    "cosignatures": ("tree_size", "witness", "key_id", "time"),
    "posting_blocks": ("block",),
    "postings": ("tenant", "term", "block"),
    "dropped_partitions": ("partition",),
    "retained_hashes": ("tile",),
    "key_epochs": ("epoch",),
    "erased_keys": ("key_id",),
    "fates": (),
    "approval_ends": (),
    "offer_moves": (),
    "dead_letter_ends": (),
    "client_moves": (),
    "client_calls": ("tenant", "caller", "call_id"),
    "run_turns": (),
}
"""Table -> its key columns; none where a row is no more than its key, so that replacing it changes nothing, or
where the log, or a MAC, says whatever else is in it."""
GUARDED: Final = frozenset({"client_calls"})
"""Those among them that a guard of the log's (``ports.log.Guard``) asks whether it is the first: a second row changes
nothing, and is counted as none, where an error would not say whose fault it is."""
_CHANGES: Final = frozenset({"UPDATE", "DELETE"})
_SAID_BY_THE_OWNER: Final = dict.fromkeys(("dropped_partitions", "retained_hashes"), _CHANGES | {"INSERT"})
_KEPT: Final = dict.fromkeys(
    ("proposal_acts", "proposal_signatures", "policy_bundles", "policy_activations", "policy_shadows"), _CHANGES
)
WITHHELD: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(APPEND_ONLY, _CHANGES),
    **_SAID_BY_THE_OWNER,
    **_KEPT,
    **ERASABLE,
    "head": frozenset({"DELETE"}),
    "signing_keys": frozenset({"DELETE"}),
    "secrets": frozenset({"DELETE"}),
    "alembic_version": _CHANGES | {"INSERT"},
}
"""Table -> what a gateway's role may not do on PostgreSQL (``deploy/postgres/application-role.sql``). TRUNCATE and
TRIGGER it may on none."""
REFUSAL: Final = "this table is append-only"

PARTITIONED: Final = {"entries": f"OLD.idx / {BLOCK}", "posting_blocks": "OLD.block", "postings": "OLD.block"}
"""Table -> the partition of a row; a row of a dropped one may be deleted."""
_STANDING: Final = ", ".join(f"'{kind}'" for kind in sorted(STANDING))
_STANDS: Final = {"entries": f"OLD.type IN ({_STANDING})"}
"""Table -> a row that stays all the same."""

_HEAD_CHANGED: Final = "NEW.tree_size < OLD.tree_size OR NEW.id <> OLD.id OR NEW.origin <> OLD.origin"


def sqlite() -> list[str]:
    """UPDATE, DELETE, and the INSERT OR REPLACE that passes the other two."""
    refuse = f"SELECT RAISE(ABORT, '{REFUSAL}');"
    statements = []
    for table, key in APPEND_ONLY.items():
        statements += [
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN {refuse} END",
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}{_unless_dropped(table)} BEGIN {refuse} END",
        ]
        if key:
            same = " AND ".join(f"{column} = NEW.{column}" for column in key)
            exists = f"EXISTS (SELECT {key[0]} FROM {table} WHERE {same})"  # noqa: S608
            when = f"BEFORE INSERT ON {table} WHEN {exists}"
            # FAIL, not ABORT: to undo a statement of many rows, SQLite would copy every page before it changes it. The
            # row is refused all the same, and whoever wrote it rolls its transaction back.
            act = "IGNORE" if table in GUARDED else f"FAIL, '{REFUSAL}'"
            statements.append(f"CREATE TRIGGER {table}_no_replace {when} BEGIN SELECT RAISE({act}); END")
    statements += [
        f"CREATE TRIGGER head_no_shrink BEFORE UPDATE ON head WHEN {_HEAD_CHANGED} BEGIN {refuse} END",
        f"CREATE TRIGGER head_no_delete BEFORE DELETE ON head BEGIN {refuse} END",
        f"CREATE TRIGGER head_no_replace BEFORE INSERT ON head WHEN EXISTS (SELECT id FROM head) BEGIN {refuse} END",  # noqa: S608
    ]
    return statements


def _unless_dropped(table: str) -> str:
    if table not in PARTITIONED:
        return ""
    dropped = f"EXISTS (SELECT idx FROM dropped_partitions WHERE partition = {PARTITIONED[table]})"  # noqa: S608
    return f" WHEN {_STANDS.get(table, '0')} OR NOT {dropped}"


def postgresql() -> list[str]:
    """Row triggers, statement triggers for TRUNCATE, all ALWAYS: session_replication_role skips ordinary ones."""
    refuse = f"RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';"
    function = "CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$"
    statements = [
        function.format("handrail_append_only", refuse),
        function.format("handrail_head_grows", f"IF {_HEAD_CHANGED} THEN {refuse} END IF; RETURN NEW;"),
        function.format("handrail_hold_is_set", f"PERFORM pg_advisory_xact_lock({HOLDS_LOCK}); RETURN NULL;"),
    ]
    triggers = [("head", "head_no_shrink", "BEFORE UPDATE", "ROW", "handrail_head_grows")]
    for table, partition in PARTITIONED.items():
        # By the schema's name: whoever may make temporary tables could put one before ours.
        place = "quote_ident(TG_TABLE_SCHEMA) || '.dropped_partitions WHERE partition = $1)'"
        statements.append(
            f"CREATE FUNCTION handrail_{table}_dropped() RETURNS trigger LANGUAGE plpgsql AS $$ "  # noqa: S608
            f"DECLARE dropped boolean; BEGIN "
            f"IF TG_OP = 'DELETE' AND NOT ({_STANDS.get(table, 'false')}) THEN "
            f"EXECUTE 'SELECT EXISTS (SELECT FROM ' || {place} INTO dropped USING {partition}; "
            f"IF dropped THEN RETURN OLD; END IF; END IF; {refuse} END $$"
        )
    for table in APPEND_ONLY:
        called = f"handrail_{table}_dropped" if table in PARTITIONED else "handrail_append_only"
        triggers.append((table, f"{table}_no_change", "BEFORE UPDATE OR DELETE", "ROW", called))
        triggers.append((table, f"{table}_no_truncate", "BEFORE TRUNCATE", "STATEMENT", "handrail_append_only"))
    triggers.append(("holds", "holds_one_by_one", "BEFORE INSERT", "STATEMENT", "handrail_hold_is_set"))
    triggers.append(("head", "head_no_delete", "BEFORE DELETE", "ROW", "handrail_append_only"))
    triggers.append(("head", "head_no_truncate", "BEFORE TRUNCATE", "STATEMENT", "handrail_append_only"))
    for table, name, when, each, called in triggers:
        statements.append(f"CREATE TRIGGER {name} {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {called}()")
        statements.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    return statements
