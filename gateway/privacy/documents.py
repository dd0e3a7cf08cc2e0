"""What is held about a person, as they are shown it (GDPR art. 15): JSON documents. Pure."""

import base64
from typing import Any

import orjson

from audit.access import HeldValue
from audit.query import StoredEntry
from audit.subjects import Hold
from gateway.times import format_time


def value_document(value: HeldValue) -> dict[str, Any]:
    """A sealed value: JSON as it is, else text, else base64; ``fault`` where it does not open."""
    document: dict[str, Any] = {
        "commitment": value.commitment,
        "index": value.index,
        "created_at": format_time(value.created_at),
        "shared_with": value.shared_with,
    }
    if value.value is None:
        return {**document, "fault": "unreadable"}
    try:
        return {**document, "value": orjson.loads(value.value)}
    except orjson.JSONDecodeError:
        pass
    try:
        return {**document, "text": value.value.decode("utf-8")}
    except UnicodeDecodeError:
        return {**document, "base64": base64.b64encode(value.value).decode("ascii")}


def entry_document(entry: StoredEntry) -> dict[str, Any]:
    """An entry of the log that names a person."""
    return {"index": entry.index, "fields": entry.fields, "entry": orjson.loads(entry.body)}


def hold_document(hold: Hold) -> dict[str, Any]:
    """A hold on a person's data; times are RFC 3339."""
    return {
        "hold_id": hold.hold_id,
        "code": hold.code,
        "set_at": format_time(hold.set_at),
        "set_by": hold.set_by,
        "until": format_time(hold.until),
    }
