"""Entries in other people's formats, held against what these others published."""

import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import build
from audit.export.lines import CSV_COLUMNS, FORMATS, Format
from audit.export.ocsf import event
from audit.export.ocsf_classes import EVENTS, OcsfClass
from audit.query import StoredEntry
from gateway.entries import LABELS, EntryDraft, EntryType

SCHEMAS = Path(__file__).with_name("ocsf")
VALIDATORS = {
    uid: jsonschema_rs.validator_for(json.loads((SCHEMAS / f"{uid.name.lower()}.json").read_text()))
    for uid in OcsfClass
}
FULL: dict[str, Any] = {
    "context_id": "c", "plan_id": "ab" * 32, "step_id": "s", "principal": "p-1", "hand": "git", "action": "commit",
    "effect": "deny", "reasons": ("git.force", "grants.missing"), "policy_digest": "d" * 64,
    "manifest_digest": "e" * 64, "facts": {"kid": "k", "count": 3, "source": "192.0.2.7", "host": "example.org"},
}  # fmt: skip
DRAFTS = {"all members": FULL, "none": {}, "a hand alone": {"hand": "git"}, "a plan alone": {"plan_id": "ab" * 32}}


def stored(kind: EntryType, index: int = 7, **members: Any) -> StoredEntry:
    draft = EntryDraft(kind, "default", **members)
    built = build(draft, time="2026-11-26T08:00:00.125Z", origin="handrail.test/log", gateway="gw-1",
                  controls=("gdpr:30", "soc2:CC7.2"))  # fmt: skip
    return StoredEntry(index, str(kind), built.body, {})


@pytest.mark.parametrize("kind", EntryType)
@pytest.mark.parametrize("members", DRAFTS.values(), ids=DRAFTS.keys())
def test_every_entry_type_is_an_event_that_the_published_schema_accepts(kind: EntryType, members: Any) -> None:
    one = stored(kind, **members)
    told = orjson.loads(FORMATS[Format.OCSF].line(one))
    assert told == event(one)
    problems = [error.message for error in VALIDATORS[EVENTS[kind].ocsf].iter_errors(told)]
    assert problems == []
    assert told["metadata"]["event_code"] == str(kind)
    assert hashlib.sha256(told["raw_data"].encode()).hexdigest() == told["raw_data_hash"]["value"]


def test_the_schema_is_no_rubber_stamp() -> None:
    told = event(stored(EntryType.STEP_EXECUTED, **FULL))
    validator = VALIDATORS[OcsfClass.API_ACTIVITY]
    for change in ({"severity_id": 42}, {"activity_id": 77}, {"unheard_of": 1}, {"time": "yesterday"}, {"actor": {}}):
        assert not validator.is_valid({**told, **change}), change
    assert not validator.is_valid({name: value for name, value in told.items() if name != "src_endpoint"})


def test_keys_and_policies_are_entities_sessions_authenticate_and_credentials_authorize() -> None:
    assert set(EVENTS) == set(EntryType)
    assert {kind for kind in EVENTS if EVENTS[kind].ocsf is OcsfClass.AUTHORIZE_SESSION} == {
        EntryType.CREDENTIAL_ISSUED, EntryType.CREDENTIAL_RENEWED,
        EntryType.CREDENTIAL_EXPIRED, EntryType.CREDENTIAL_REFUSED,
    }  # fmt: skip
    for kind, about in EVENTS.items():
        if (
            kind.name.startswith(("KEY_", "POLICY_A", "POLICY_P", "POLICY_L", "POLICY_R"))
            and "ALLOWED" not in kind.name
        ):
            assert about.ocsf is OcsfClass.ENTITY_MANAGEMENT, kind
        if kind.name.startswith("SESSION_"):
            assert about.ocsf is OcsfClass.AUTHENTICATION, kind
        if kind.name.startswith(("STEP_", "PLAN_")):
            assert about.ocsf is OcsfClass.API_ACTIVITY, kind
        assert bool(about.entity) == (about.ocsf is OcsfClass.ENTITY_MANAGEMENT), kind


def test_the_agents_words_stand_in_the_profile_for_ai() -> None:
    told = event(stored(EntryType.STEP_EXECUTED, **FULL))
    assert told["metadata"]["profiles"] == ["ai_operation"]
    assert told["message_context"]["uid"] == "c"
    assert told["api"]["operation"] == "git.commit"
    assert told["actor"]["user"] == {"uid": "p-1"}


@pytest.mark.parametrize("kind", EntryType)
def test_the_sdk_of_cloudevents_reads_every_event(kind: EntryType) -> None:
    line = FORMATS[Format.CLOUDEVENTS].line(stored(kind, **FULL))
    read = JSONFormat().read(CloudEvent, line)
    assert read.get_specversion() == "1.0"
    assert read.get_id() == "7"
    assert read.get_source() == "/handrail.test/log"
    assert read.get_type() == f"handrail.audit.{LABELS[kind].replace(' ', '_')}.v1"
    assert read.get_subject() == f"{FULL['plan_id']}/s"
    assert read.get_extension("tenant") == "default"
    assert read.get_data() == orjson.loads(stored(kind, **FULL).body)


def test_lines_of_json_hold_the_bytes_that_were_hashed() -> None:
    one = stored(EntryType.POLICY_DENIED, **FULL)
    line = FORMATS[Format.NDJSON].line(one)
    assert one.body in line
    assert orjson.loads(line) == {"index": 7, "label": "policy denied", "entry": orjson.loads(one.body)}


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "|x",
    "\uff1d1",
    '=HYPERLINK("x")',
    " =1",
    "\u3000=1",
    "\ufe6210",
]


@pytest.mark.parametrize("hostile", FORMULAS)
def test_no_cell_is_calculated_by_a_spreadsheet(hostile: str) -> None:
    raw = FORMATS[Format.CSV].head + FORMATS[Format.CSV].line(
        stored(EntryType.POLICY_DENIED, **{**FULL, "context_id": hostile})
    )
    [row] = csv.DictReader(io.StringIO(raw.decode(), newline=""))
    assert not re.match(r"\s|\s*[=+\-@|%\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b]", row["context_id"])


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(TEXT, TEXT)
def test_a_line_of_csv_is_one_line_and_one_row_whatever_it_holds(context: str, action: str) -> None:
    one = stored(EntryType.POLICY_DENIED, **{**FULL, "context_id": context, "action": action})
    line = FORMATS[Format.CSV].line(one)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\r\n")
    [row] = csv.reader(io.StringIO(line.decode(), newline=""))
    assert len(row) == len(CSV_COLUMNS)
    assert FORMATS[Format.CSV].index(line) == 7


@pytest.mark.parametrize("kind", FORMATS)
def test_a_line_names_its_index(kind: Format) -> None:
    for index in (0, 7, 10**15 - 1):
        line = FORMATS[kind].line(stored(EntryType.STEP_EXECUTED, index, **FULL))
        assert line.count(b"\n") == 1
        assert FORMATS[kind].index(line) == index
