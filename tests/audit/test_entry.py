"""The canonical entry: what is in it, what is never in it, and how large it may be."""

import hashlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import ENTRY_MAX_BYTES, build
from audit.errors import EntryInvalid
from gateway.commitments import commit, fields_root
from gateway.entries import EntryDraft, EntryType
from gateway.reasons import Reason
from gateway.times import format_time

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def make(draft, **known):
    options = {"time": "2026-11-21T02:14:33.120Z", "origin": "o.example/log", "gateway": "g1", "controls": ("gdpr:30",)}
    return build(draft, **{**options, **known})


def test_absent_members_are_omitted_and_lists_are_always_there():
    built = make(EntryDraft(EntryType.PLAN_RECEIVED, "default"))
    assert built.body == (
        b'{"controls":["gdpr:30"],"gateway":"g1","origin":"o.example/log","reasons":[],"tenant":"default",'
        b'"time":"2026-11-21T02:14:33.120Z","type":"PLNRCV","v":1}'
    )
    assert built.leaf == hashlib.sha256(b"\x00" + built.body).digest()
    assert (built.reasons, built.fields) == (None, None)


@given(WORDS, WORDS, st.lists(WORDS, max_size=3), st.dictionaries(st.sampled_from("abc"), WORDS | st.integers(-9, 9)))
def test_the_body_is_the_rfc_8785_form(context, action, reasons, facts):
    built = make(EntryDraft(EntryType.POLICY_DENIED, "t", context, action=action, reasons=tuple(reasons), facts=facts))
    assert rfc8785.dumps(json.loads(built.body)) == built.body


def test_personal_values_are_only_committed_to():
    value = commit(b"ann@example.com", "s")
    built = make(
        EntryDraft(EntryType.STEP_EXECUTED, "t", fields={"args": value}, commitments={"earlier": "1" * 64}),
    )
    fields = {"args": value.commitment, "earlier": "1" * 64}
    assert json.loads(built.body)["commitment"] == fields_root(fields)
    assert json.loads(built.fields) == fields
    assert b"ann@" not in built.body
    assert value.commitment.encode() not in built.body


def test_codes_become_plain_strings_for_the_database():
    built = make(EntryDraft(EntryType.POLICY_DENIED, "t", reasons=(Reason.POLICY_DENIED,)))
    assert all(value is None or type(value) is str for value in built.columns)
    assert built.reasons == '["policy.denied"]'


def test_an_entry_is_at_most_65535_bytes():
    empty = len(make(EntryDraft(EntryType.PLAN_RECEIVED, "t", action="")).body)
    room = ENTRY_MAX_BYTES - empty
    assert len(make(EntryDraft(EntryType.PLAN_RECEIVED, "t", action="x" * room)).body) == ENTRY_MAX_BYTES
    with pytest.raises(EntryInvalid):
        make(EntryDraft(EntryType.PLAN_RECEIVED, "t", action="x" * (room + 1)))


@pytest.mark.parametrize("fact", [0.5, None, True, 2**53 + 1, ["list"], {"a": 1}, b"bytes"])
def test_a_fact_that_two_readers_could_read_differently_is_refused(fact):
    with pytest.raises(EntryInvalid):
        make(EntryDraft(EntryType.PLAN_RECEIVED, "t", facts={"fact": fact}))


@pytest.mark.parametrize("member", ["\ud800", "a\ud800b"])
def test_a_lone_surrogate_is_refused(member):
    with pytest.raises(EntryInvalid):
        make(EntryDraft(EntryType.PLAN_RECEIVED, "t", action=member))


def test_a_fact_with_a_name_that_sorts_differently_elsewhere_is_refused():
    with pytest.raises(EntryInvalid):
        make(EntryDraft(EntryType.PLAN_RECEIVED, "t", facts={"\U0001f600": 1, "\ufb33": 2}))


def test_time_is_utc_with_milliseconds():
    assert format_time(0) == "1970-01-01T00:00:00.000Z"
    assert format_time(1_795_226_400.1256) == "2026-11-21T02:00:00.125Z"
