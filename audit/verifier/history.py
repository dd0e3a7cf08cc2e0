"""The signed history of the gateway's keys, held against the log's own entries about them.

Who holds the key that signs the history could write another one. The entries they cannot change: a history that leaves
one out, names one that is not there, or says another thing of a key than its last entry does, is found out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from . import strict
from .collected import Collected
from .errors import EvidenceError
from .keys import Keys
from .report import Report, Verdict
from .segment import Leaves

_SECOND: Final = "checkpoint-pq"
HISTORY_MAX_BYTES: Final = 16 << 20
_KEY: Final[dict[str, type]] = {"kid": str, "purpose": str, "state": str, "entries": list}


def check_history(found: Collected, leaves: Leaves, report: Report, *, chained: bool) -> None:
    """Add to ``report`` what holds of the enclosed history.

    Args:
        chained: whether the enclosed entries are proved to be in the log, and those about its keys are the reader's.
    """
    what = "key history"
    if found.keys is None:
        raise EvidenceError("the bundle is not whole")
    try:
        claims, _ = found.keys.verify(found.history, "history+jws", "receipt", what, HISTORY_MAX_BYTES)
        members = claims.get("keys")
        if claims.get("v") != 1 or type(members) is not list or not all(type(one) is dict for one in members):
            raise EvidenceError(f"{what}: not a history of version 1")
        for one in members:
            strict.require(one, what, _KEY)
        places = [_place(entry, what) for one in members for entry in one["entries"]]
        if len(set(places)) != len(places):
            raise EvidenceError(f"{what}: it names an entry twice")
    except EvidenceError as exc:
        report.failed(what, str(exc))
        return
    wrong = [] if claims["iss"] == found.keys.origin else ["it is of another log"]
    wrong += _not_listed(members, found.keys)
    if chained:
        wrong += _unlike(members, found.changes, leaves)
    for text in wrong:
        report.failed(what, text)
    if wrong:
        return
    away = sum(not leaves.covers(entry[0], entry[0] + 1) for one in members for entry in one["entries"])
    if away or not chained:
        report.add(
            Verdict.LIMIT,
            what,
            "that the history of the gateway's keys is whole: not all of the entries that say so are here.",
        )
        return
    behind = [one["kid"] for one in members if _last_state(one) != one["state"]]
    if behind:
        report.add(
            Verdict.LIMIT, what, f"since when {len(behind)} keys are what they are now: no entry says it. {behind[0]}"
        )
    report.proved(
        what, f"{len(members)} keys and {len(found.changes)} changes of them are those that the log's entries tell of."
    )


def _place(entry: Any, what: str) -> int:
    """Index of an entry that the history names: ``[index, type, state]``."""
    if type(entry) is not list or [type(part) for part in entry] != [int, str, str]:
        raise EvidenceError(f"{what}: it names an entry that is none")
    return int(entry[0])


def _not_listed(members: Sequence[Mapping[str, Any]], keys: Keys) -> list[str]:
    """Whether the history is of the keys that ``keys.json`` lists, and says the same of each."""
    members = [one for one in members if one["purpose"] != _SECOND]  # keys.json lists those that sign by Ed25519
    named = [one["kid"] for one in members]
    if sorted(named) != sorted(keys.listed):
        return ["it is not of the keys that keys.json lists, each once"]
    wrong = []
    for one in members:
        key = keys.listed[one["kid"]]
        if one["purpose"] != key.purpose or _public(one) != key.public:
            wrong.append(f"it says another thing of the key {key.kid} than keys.json")
        if (one["state"] == "revoked") != (key.kid in keys.gone):
            wrong.append(f"the key {key.kid} is revoked in one of history and keys.json, and not in the other")
    return wrong


def _public(one: Mapping[str, Any]) -> bytes:
    x = one.get("x")
    return strict.base64url_bytes(x, "key history") if type(x) is str else b""


def _unlike(
    members: Sequence[Mapping[str, Any]], changes: Mapping[int, tuple[str, str, str, str]], leaves: Leaves
) -> list[str]:
    """Where the history and the enclosed entries differ."""
    said: dict[int, tuple[Any, ...]] = {}
    for one in members:
        for entry in one["entries"]:
            said[entry[0]] = (entry[1], one["kid"], one["purpose"], entry[2])
    wrong = [f"it leaves out entry {index}, which tells of a key" for index in sorted(changes.keys() - said.keys())]
    wrong += [
        f"it says of entry {index} what the entry does not"
        for index in sorted(said)
        if said[index] != changes.get(index) and leaves.covers(index, index + 1)
    ]
    wrong += [
        f"the key {one['kid']} is {one['state']}, and entry {one['entries'][-1][0]} says that it was revoked"
        for one in members
        if one["state"] != "revoked" and _last_state(one) == "revoked"
    ]
    return wrong[:10]


def _last_state(one: Mapping[str, Any]) -> str | None:
    return str(one["entries"][-1][2]) if one["entries"] else None
