"""From a draft to the canonical bytes that the tree commits to (AUDIT.md, 'Entry')."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from audit.errors import EntryInvalid
from audit.merkle import leaf_hash
from gateway.canonical import MAX_SAFE_INTEGER
from gateway.entries import EntryDraft

ENTRY_MAX_BYTES: Final = 65_535
"""A tlog-tiles entry bundle counts an entry's bytes in a uint16."""
VERSION: Final = 1

OPTIONAL_MEMBERS: Final = (
    "context_id",
    "plan_id",
    "step_id",
    "principal",
    "hand",
    "action",
    "effect",
    "policy_digest",
    "manifest_digest",
)
COLUMNS: Final = (
    "tenant",
    "type",
    "time",
    "context_id",
    "plan_id",
    "step_id",
    "principal",
    "hand",
    "action",
    "effect",
    "policy_digest",
)
"""Members that ``entries`` repeats as columns of the same name, for queries."""


@dataclass(frozen=True, slots=True)
class Built:
    """An entry ready for the tree.

    Attributes:
        body: RFC 8785 canonical JSON.
        leaf: its leaf hash.
        columns: values of :data:`COLUMNS`, in that order.
        reasons: JSON list, or ``None`` where there is none.
        fields: JSON object of name -> commitment, or ``None``.
    """

    body: bytes
    leaf: bytes
    columns: tuple[str | None, ...]
    reasons: str | None
    fields: str | None


def build(draft: EntryDraft, *, time: str, origin: str, gateway: str, controls: Sequence[str]) -> Built:
    """The entry of ``draft``; absent members are omitted, ``reasons`` and ``controls`` are always there.

    Raises:
        EntryInvalid: over 65,535 bytes, or a fact that is no string or safe integer.
    """
    reasons = [str(reason) for reason in draft.reasons]
    body: dict[str, Any] = {
        "v": VERSION,
        "type": draft.type.value,
        "time": time,
        "origin": origin,
        "gateway": gateway,
        "tenant": draft.tenant,
        "reasons": reasons,
        "controls": controls,
    }
    for name in OPTIONAL_MEMBERS:
        value = getattr(draft, name)
        if value is not None:
            body[name] = str(value)
    if draft.facts:
        body["facts"] = {_fact_name(name): _fact(name, value) for name, value in draft.facts.items()}
    fields = None
    try:
        if draft.fields or draft.commitments:
            # Names are ours and ASCII, values hex: this *is* the RFC 8785 form that ``model.fields_root`` hashes.
            fields = orjson.dumps(draft.all_commitments(), option=orjson.OPT_SORT_KEYS)
            body["commitment"] = hashlib.sha256(fields).hexdigest()
        # Members are ASCII and values are strings, safe integers and lists of strings: sorted compact JSON *is* the
        # RFC 8785 form, and a test holds it against the reference writer.
        raw = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as exc:
        raise EntryInvalid(f"{draft.type}: no canonical form: {exc}") from None
    if len(raw) > ENTRY_MAX_BYTES:
        raise EntryInvalid(f"{draft.type}: {len(raw)} bytes; commit to payloads, do not carry them")
    return Built(
        body=raw,
        leaf=leaf_hash(raw),
        columns=tuple([body.get(name) for name in COLUMNS]),
        reasons=reasons_column(reasons),
        fields=None if fields is None else fields.decode(),
    )


def reasons_column(reasons: Sequence[str]) -> str | None:
    """The ``reasons`` column of an entry with these codes."""
    return orjson.dumps(list(reasons)).decode() if reasons else None


def _fact_name(name: str) -> str:
    if not name.isascii():
        raise EntryInvalid("a fact's name must be ASCII")
    return name


def _fact(name: str, value: str | int) -> str | int:
    if isinstance(value, str):
        return str(value)
    if type(value) is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return value
    raise EntryInvalid(f"fact {name!r} is neither a string nor a safe integer")
