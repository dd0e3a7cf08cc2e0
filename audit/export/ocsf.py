"""Entries as events of the Open Cybersecurity Schema Framework, one JSON object a line."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from audit.export.ocsf_classes import EVENTS, OTHER, VERSION, Event, OcsfClass, Status
from audit.query import StoredEntry
from gateway.entries import LABELS, EntryType

_PRODUCT: Final = {"name": "Handrail", "vendor_name": "Handrail"}
_SHA_256: Final = 3
"""``algorithm_id`` of a fingerprint."""
_AI_ASSISTANT: Final = 3
"""``ai_role_id``: whoever asked for the call is an agent."""


def event(stored: StoredEntry) -> dict[str, Any]:
    """The OCSF event of an entry."""
    entry = orjson.loads(stored.body)
    kind = EntryType(stored.code)
    about = EVENTS[kind]
    reasons = entry["reasons"]
    told: dict[str, Any] = {
        "class_uid": int(about.ocsf),
        "category_uid": about.ocsf // 1000,
        "activity_id": about.activity,
        "type_uid": about.ocsf * 100 + about.activity,
        "severity_id": int(about.severity),
        "status_id": int(about.status),
        "time": round(datetime.fromisoformat(entry["time"]).timestamp() * 1000),
        "message": LABELS[kind],
        "metadata": _metadata(stored, entry),
        "raw_data": stored.body.decode(),
        "raw_data_size": len(stored.body),
        "raw_data_hash": {"algorithm_id": _SHA_256, "value": hashlib.sha256(stored.body).hexdigest()},
        "unmapped": {"index": stored.index, "effect": entry.get("effect"), "facts": entry.get("facts", {})},
    }
    if about.activity == OTHER:
        told["activity_name"] = LABELS[kind]
    if about.status is Status.OTHER:
        told["status"] = LABELS[kind]
    if reasons:
        told["status_code"], told["status_detail"] = reasons[0], ", ".join(reasons)
    return told | _OF_CLASS[about.ocsf](about, kind, entry)


def line(stored: StoredEntry) -> bytes:
    """:func:`event` as a line."""
    return orjson.dumps(event(stored), option=orjson.OPT_SORT_KEYS) + b"\n"


def _metadata(stored: StoredEntry, entry: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "version": VERSION,
        "product": _PRODUCT,
        "uid": f"{entry['origin']}/{stored.index}",
        "sequence": stored.index,
        "event_code": stored.code,
        "log_name": entry["origin"],
        "log_provider": entry["gateway"],
        "tenant_uid": entry["tenant"],
        "labels": entry["controls"],
    }
    if "plan_id" in entry:
        found["correlation_uid"] = entry["plan_id"]
    if EVENTS[EntryType(stored.code)].ocsf is OcsfClass.API_ACTIVITY:
        found["profiles"] = ["ai_operation"]
    return found


def _actor(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Who acted: a pseudonym, or the gateway itself."""
    if "principal" in entry:
        return {"user": {"uid": entry["principal"]}, "app_uid": entry["gateway"]}
    return {"app_name": "Handrail", "app_uid": entry["gateway"]}


def _user(entry: Mapping[str, Any]) -> dict[str, str]:
    return {"uid": entry["principal"]} if "principal" in entry else {"name": "unknown"}


def _call(entry: Mapping[str, Any], otherwise: str) -> str:
    if "hand" not in entry:
        return otherwise
    return f"{entry['hand']}.{entry['action']}" if "action" in entry else str(entry["hand"])


def _api_activity(_about: Event, kind: EntryType, entry: Mapping[str, Any]) -> dict[str, Any]:
    source = str(entry.get("facts", {}).get("source", ""))
    told: dict[str, Any] = {
        "actor": _actor(entry),
        "api": {"operation": _call(entry, LABELS[kind]), "service": {"name": entry.get("hand", "Handrail")}},
        "src_endpoint": {"uid": entry["gateway"], "svc_name": "Handrail"} | ({"name": source} if source else {}),
    }
    resources = [
        {"type": what, "uid": entry[name]}
        for what, name in (("plan", "plan_id"), ("step", "step_id"), ("policy", "policy_digest"))
        if name in entry
    ]
    if resources:
        told["resources"] = resources
    if "context_id" in entry:
        told["message_context"] = {
            "uid": entry["context_id"],
            "ai_role_id": _AI_ASSISTANT,
            "service": {"name": "Handrail", "uid": entry["gateway"]},
        }
    return told


def _authentication(_about: Event, _kind: EntryType, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"user": _user(entry), "service": {"name": "Handrail", "uid": entry["gateway"]}}


def _authorize_session(_about: Event, _kind: EntryType, entry: Mapping[str, Any]) -> dict[str, Any]:
    session = f"{entry['plan_id']}/{entry['step_id']}" if "plan_id" in entry and "step_id" in entry else ""
    return {
        "user": _user(entry),
        "actor": _actor(entry),
        "privileges": [_call(entry, "one call")],
    } | ({"session": {"uid": session}} if session else {})


def _entity_management(about: Event, _kind: EntryType, entry: Mapping[str, Any]) -> dict[str, Any]:
    facts = entry.get("facts", {})
    named = next((str(facts[name]) for name in _NAMES if name in facts), entry.get("hand", about.entity))
    return {"actor": _actor(entry), "entity": {"type": about.entity, "name": about.entity, "uid": named}}


def _network_activity(_about: Event, _kind: EntryType, entry: Mapping[str, Any]) -> dict[str, Any]:
    host = str(entry.get("facts", {}).get("host", ""))
    return {
        "src_endpoint": {"uid": entry["gateway"], "svc_name": entry.get("hand", "Handrail")},
    } | ({"dst_endpoint": {"hostname": host}} if host else {})


_NAMES: Final = ("kid", "proposal", "digest", "id", "principal", "issuer")
"""Facts that name what an entry is about, the most telling first."""
_OF_CLASS: Final = {
    OcsfClass.API_ACTIVITY: _api_activity,
    OcsfClass.AUTHENTICATION: _authentication,
    OcsfClass.AUTHORIZE_SESSION: _authorize_session,
    OcsfClass.ENTITY_MANAGEMENT: _entity_management,
    OcsfClass.NETWORK_ACTIVITY: _network_activity,
}
