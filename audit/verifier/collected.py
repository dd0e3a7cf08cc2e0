"""What the parts of a bundle claim, collected while they pass. Nothing in it is believed yet."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from . import strict
from .errors import EvidenceError
from .keys import Key, Keys
from .note import Note, Vkey

COUNTED_MAX: Final = 10_000
"""Different values of one kind that are told apart."""
KEY_CHANGES: Final = frozenset({"KEYCRE", "KEYROT", "KEYREV"})
"""Entry types that tell of the gateway's own keys; enclosed whatever was asked for, where they are the reader's."""
RESTORED: Final = "BAKRST"
"""The entry type that says that a log goes on under another name, after a restore; enclosed as those are."""
NAMES_MAX: Final = 1_000
"""Changes of a log's name that are followed."""
FILTERS: Final = frozenset(
    {
        "type", "effect", "context_id", "plan_id", "step_id", "hand", "action", "principal", "policy_digest", "reason",
        "control", "since", "until",
    }
)  # fmt: skip
_ASKED: Final = {
    "v": int, "origin": str, "tree_size": int, "tenant": str, "by": str, "first": int, "end": int, "filter": dict,
    "scope": dict, "kept": list, "payloads": bool,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """What the bundle says it was asked for (``asked.json``): entries of one tenant in ``[first, end)`` that pass a
    filter, and are within the scope of a reader who is bound to hands: of these hands, or of these types."""

    document: Mapping[str, Any]

    @classmethod
    def parse(cls, raw: bytes) -> "Request":
        """Raises ``EvidenceError``."""
        document = strict.document(raw, "asked.json", _ASKED)
        strange = sorted(document["filter"].keys() - FILTERS)
        if document["v"] != 1 or strange:
            raise EvidenceError(f"asked.json: of a version that this verifier does not read {' '.join(strange)}")
        if not all(type(value) is str for value in document["filter"].values()):
            raise EvidenceError("asked.json: a filter that is no text")
        scope = document["scope"]
        if scope and not (
            scope.keys() == {"hands", "types"}
            and all(type(one) is list and all(type(word) is str for word in one) for one in scope.values())
        ):
            raise EvidenceError("asked.json: a scope that is not one of hands and types")
        return cls(document)

    def misfit(self, index: int, entry: Mapping[str, Any]) -> str:
        """Why an entry should not be here; empty where it should."""
        asked = self.document
        if entry["tenant"] != asked["tenant"]:
            return f"of the tenant {entry['tenant']!r}"
        if entry["type"] in KEY_CHANGES or entry["type"] == RESTORED:
            return ""
        if not asked["first"] <= index < asked["end"]:
            return "outside of the range"
        scope = asked["scope"]
        if scope and entry.get("hand") not in scope["hands"] and entry["type"] not in scope["types"]:
            return "beyond the hands of the reader"
        failed = [name for name, value in asked["filter"].items() if not _passes(entry, name, value)]
        return f"of another {', '.join(failed)}" if failed else ""


def _passes(entry: Mapping[str, Any], name: str, value: str) -> bool:
    if name == "since":
        return bool(entry["time"] >= value)
    if name == "until":
        return bool(entry["time"] < value)
    if name in {"reason", "control"}:
        return value in entry[f"{name}s"]
    return bool(entry.get(name) == value)


@dataclass(slots=True)
class Collected:
    """Claims and counts. What is optional is ``None`` until its part has passed.

    Attributes:
        kept: checkpoints of the reader's own, and the roots that the tree had at their sizes.
        created: kid -> purpose, of keys that an enclosed entry says were made; and those that one says were revoked.
        used: keys that signed receipts.
        deciding: digest of a policy bundle -> enclosed entries that were decided by it.
        names: runs of enclosed entries that bear one log's name: first index, last index, name.
        restores: enclosed entries that change it: index, new name, and what they say of the old name and of its size.
    """

    asked: Request | None = None
    note: Note | None = None
    signers: Sequence[Vkey] = ()
    keys: Keys | None = None
    controls: Mapping[str, Sequence[str]] = field(default_factory=dict)
    kept: Sequence[tuple[str, Note]] = ()
    roots: dict[int, bytes] = field(default_factory=dict)
    created: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    used: dict[str, Key] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    deciding: Counter[str] = field(default_factory=Counter)
    policies: set[str] = field(default_factory=set)
    unmapped: set[str] = field(default_factory=set)
    names: list[tuple[int, int, str]] = field(default_factory=list)
    restores: list[tuple[int, str, Any, Any]] = field(default_factory=list)
    first_time: str = ""
    last_time: str = ""
    receipts: int = 0
    commitments: int = 0
    openings: int = 0
    manifest: bytes = b""
    signature: str = ""

    def take(self, index: int, entry: Mapping[str, Any]) -> None:
        """Remember what an enclosed entry says, for the end. Raises ``EvidenceError``."""
        self._name(index, entry)
        self.first_time = self.first_time or entry["time"]
        self.last_time = max(self.last_time, entry["time"])
        _count(self.types, entry["type"])
        if type(entry.get("policy_digest")) is str:
            _count(self.deciding, entry["policy_digest"])
        known = self.controls.get(entry["type"], ())
        self.unmapped.update(str(one) for one in entry["controls"] if one not in known and len(self.unmapped) < 100)
        facts = entry.get("facts")
        if entry["type"] in KEY_CHANGES and type(facts) is dict:
            kid, purpose = facts.get("kid"), facts.get("purpose")
            if type(kid) is str and type(purpose) is str and (kid in self.created or len(self.created) < COUNTED_MAX):
                self.created.setdefault(kid, purpose)
                if entry["type"] == "KEYREV":
                    self.revoked.add(kid)

    def _name(self, index: int, entry: Mapping[str, Any]) -> None:
        name = entry["origin"]
        if self.names and self.names[-1][2] == name:
            self.names[-1] = (self.names[-1][0], index, name)
        else:
            self.names.append((index, index, name))
        if entry["type"] == RESTORED:
            facts = entry.get("facts")
            said = facts if type(facts) is dict else {}
            self.restores.append((index, name, said.get("origin"), said.get("size")))
        if len(self.names) > NAMES_MAX or len(self.restores) > NAMES_MAX:
            raise EvidenceError("the log changes its name more often than any log is restored")


def _count(counter: Counter[str], value: str) -> None:
    if value in counter or len(counter) < COUNTED_MAX:
        counter[value] += 1
