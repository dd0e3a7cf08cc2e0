"""A report's document as the gateway gives it, and one as a hostile gateway would."""

from typing import Any

HOSTILE = "</td><script>alert(1)</script>\"'&\u202e=cmd|x!A0\n# [x](https://evil.example) @everyone"


def report(text: str = "plain") -> dict[str, Any]:
    """Evidence by control with ``text`` wherever a text may stand."""
    evidence = {
        "type": "PLNRCV",
        "label": text,
        "count": 1234567,
        "first": {"index": 0, "time": "2026-01-01T00:00:00.000Z"},
        "last": {"index": 9, "time": "2026-01-09T00:00:00.000Z"},
    }

    def expected(name: str, state: str) -> dict[str, Any]:
        return {"id": name, "title": text, "entries": ["PLNRCV"], "state": state, "detail": text, "remedy": text}

    def control(control_id: str, status: str, *evidences: Any, expectations: Any = ()) -> dict[str, Any]:
        return {
            "id": control_id,
            "title": text,
            "area": text,
            "status": status,
            "evidence": list(evidences),
            "expectations": list(expectations),
            "not_written_yet": ["ERADON"],
        }

    return {
        "v": 1,
        "framework": "gdpr",
        "title": text,
        "source": text,
        "origin": text,
        "tenant": text,
        "from": "2026-01-01T00:00:00.000Z",
        "to": "2026-04-01T00:00:00.000Z",
        "made_at": "2026-04-01T00:00:00.000Z",
        "tree_size": 10,
        "range": {"first": 0, "end": 10, "dropped": 0},
        "checkpoint": text,
        "summary": {"missing": 1, "evidence": 1, "none": 1},
        "controls": [
            control("5(1)(f)", "missing", evidence, expectations=[expected("log-verified", "missing")]),
            control("30", "evidence", evidence, expectations=[expected("use-recorded", "met")]),
            control("17", "none"),
        ],
        "samples": [{"type": "PLNRCV", "index": 4, "entry": text, "proof": text}],
    }


def access(text: str = "plain") -> dict[str, Any]:
    """An access review."""
    when = "2026-04-01T00:00:00.000Z" if text == "plain" else text  # a hostile gateway writes what it likes
    added = {"index": 3, "time": "2026-01-01T00:00:00.000Z", "by": text}
    key = {"id": text, "expires_at": when, **added}
    return {
        "v": 1,
        "origin": text,
        "tenant": text,
        "at": when,
        "made_at": when,
        "tree_size": 10,
        "end": 9,
        "checkpoint": text,
        "principals": [
            {"pseudonym": text, "id": text, "roles": [text], "hands": None, "keys": [key], "approval_keys": [key],
             "links": [{"id": text, "kind": text, **added}], "added": added},
            {"pseudonym": text, "id": None, "roles": [text], "hands": [], "keys": [], "approval_keys": [],
             "links": [], "added": added},
        ],
        "issuers": [
            {"pseudonym": text, "id": text, "speaks_for": [text], "attests_request": True, "keys": [key],
             "added": added},
            {"pseudonym": text, "id": None, "speaks_for": None, "attests_request": False, "keys": [], "added": added},
        ],
        "policy": {"digest": text, "grants": {text: [text]}, **added},
        "hands": [{"hand": text, "manifest_digest": text, **added}],
        "permissions": {text: [text]},
    }  # fmt: skip


def processing(text: str = "plain") -> dict[str, Any]:
    """A record of processing activities."""
    when = "2026-04-01T00:00:00.000Z" if text == "plain" else text
    return {
        "v": 1,
        "origin": text,
        "tenant": text,
        "from": "1970-01-01T00:00:00.000Z",
        "to": when,
        "made_at": when,
        "tree_size": 1,
        "controller": {"name": text, "contact": None, "representative": None, "data_protection_officer": None},
        "data_region": text,
        "activities": [
            {
                "hand": text, "configured": True, "pinned": True, "purposes": [text], "legal_basis": text,
                "data_categories": [text], "subject_categories": [text], "recipient": text, "retention": text,
                "transfer_safeguard": None, "region": text, "transfer": "unknown", "missing": [text],
                "actions": [
                    {"action": text, "side_effects": None, "data_subjects": [text], "roles": {text: text},
                     "calls": 5, "first": when, "last": when},
                ],
            },
        ],
        "security_measures": [text],
        "missing": [text],
    }  # fmt: skip
