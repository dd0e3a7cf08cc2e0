"""Triggers that keep the log, and what was decided once, append-only against whoever holds the application's own role.

A superuser can drop them; checkpoints that others kept are what stands against that.
"""

from typing import Final

APPEND_ONLY: Final = {
    "entries": ("idx",),
    "checkpoints": ("tree_size",),
    "cosignatures": ("tree_size", "witness", "key_id", "time"),
    "posting_blocks": ("block",),
    "postings": ("tenant", "term", "block"),
    "fates": (),
    "approval_ends": (),
}
"""Table -> its key columns; none where a row is no more than its key, so that replacing it changes nothing."""
REFUSAL: Final = "this table is append-only"

_HEAD_CHANGED: Final = "NEW.tree_size < OLD.tree_size OR NEW.id <> OLD.id OR NEW.origin <> OLD.origin"


def sqlite() -> list[str]:
    """UPDATE, DELETE, and the INSERT OR REPLACE that passes the other two."""
    refuse = f"SELECT RAISE(ABORT, '{REFUSAL}');"
    statements = []
    for table, key in APPEND_ONLY.items():
        statements += [
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN {refuse} END",
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} BEGIN {refuse} END",
        ]
        if key:
            same = " AND ".join(f"{column} = NEW.{column}" for column in key)
            exists = f"EXISTS (SELECT {key[0]} FROM {table} WHERE {same})"  # noqa: S608
            when = f"BEFORE INSERT ON {table} WHEN {exists}"
            # FAIL, not ABORT: to undo a statement of many rows, SQLite would copy every page before it changes it. The
            # row is refused all the same, and whoever wrote it rolls its transaction back.
            statements.append(f"CREATE TRIGGER {table}_no_replace {when} BEGIN SELECT RAISE(FAIL, '{REFUSAL}'); END")
    statements += [
        f"CREATE TRIGGER head_no_shrink BEFORE UPDATE ON head WHEN {_HEAD_CHANGED} BEGIN {refuse} END",
        f"CREATE TRIGGER head_no_delete BEFORE DELETE ON head BEGIN {refuse} END",
        f"CREATE TRIGGER head_no_replace BEFORE INSERT ON head WHEN EXISTS (SELECT id FROM head) BEGIN {refuse} END",  # noqa: S608
    ]
    return statements


def postgresql() -> list[str]:
    """Row triggers, statement triggers for TRUNCATE, all ALWAYS: session_replication_role skips ordinary ones."""
    refuse = f"RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';"
    function = "CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$"
    statements = [
        function.format("handrail_append_only", refuse),
        function.format("handrail_head_grows", f"IF {_HEAD_CHANGED} THEN {refuse} END IF; RETURN NEW;"),
    ]
    triggers = [("head", "head_no_shrink", "BEFORE UPDATE", "ROW", "handrail_head_grows")]
    for table in APPEND_ONLY:
        triggers.append((table, f"{table}_no_change", "BEFORE UPDATE OR DELETE", "ROW", "handrail_append_only"))
        triggers.append((table, f"{table}_no_truncate", "BEFORE TRUNCATE", "STATEMENT", "handrail_append_only"))
    triggers.append(("head", "head_no_delete", "BEFORE DELETE", "ROW", "handrail_append_only"))
    triggers.append(("head", "head_no_truncate", "BEFORE TRUNCATE", "STATEMENT", "handrail_append_only"))
    for table, name, when, each, called in triggers:
        statements.append(f"CREATE TRIGGER {name} {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {called}()")
        statements.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    return statements
