"""What stands beside the entries in a bundle, each checked against the entries that it is about: receipts, commitments
and their openings, policy bundles.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from . import strict
from .errors import EvidenceError
from .keys import Key, Keys

SALT_BYTES: Final = 16
POLICY_MAX_BYTES: Final = 128 << 20
ENTRY_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "succeeded": frozenset({"STPEXE"}),
    "failed": frozenset({"STPFAI"}),
    "ambiguous": frozenset({"STPAMB"}),
    "skipped": frozenset({"STPSKP"}),
    "cancelled": frozenset({"STPCAN"}),
    "released": frozenset({"STPREL"}),
    "expired": frozenset({"APREXP"}),
    "denied": frozenset({"POLDNY", "SCHREJ", "APRREF", "APRVOI", "CRDREF"}),
}
"""Status of a step in its receipt -> the entry types that record it (the codes of ``gateway.entries``)."""
_CLAIMS: Final = {
    "v": int, "iss": str, "tenant": str, "plan_commitment": str, "step_id": str, "hand": str, "action": str,
    "status": str, "log": dict, "decision": dict,
}  # fmt: skip


def receipt(token: str, keys: Keys, entries: Mapping[int, dict[str, Any]], what: str) -> tuple[int, Key]:
    """Check a receipt: signed, and saying of its step what the enclosed entry says that it names.

    Returns:
        The entry's index, and the key that signed.

    Raises:
        EvidenceError: it does not hold.
    """
    claims, key = keys.verify(token, "receipt+jws", "receipt", what)
    strict.require(claims, what, _CLAIMS)
    strict.require(claims["log"], what, {"origin": str, "index": int})
    strict.require(claims["decision"], what, {"effect": str, "reasons": list})
    index = claims["log"]["index"]
    entry = entries.get(index)
    if entry is None:
        raise EvidenceError(f"{what}: names entry {index}, which does not stand beside it")
    if claims["iss"] != entry["origin"] or claims["log"]["origin"] != entry["origin"]:
        raise EvidenceError(f"{what}: names another log")
    if entry["type"] not in ENTRY_TYPES.get(claims["status"], frozenset()):
        raise EvidenceError(f"{what}: says {claims['status']}, and entry {index} is {entry['type']}")
    said = {name: claims[name] for name in ("tenant", "step_id", "hand", "action")}
    said["policy_digest"] = claims["decision"].get("policy_digest")
    if said["policy_digest"] is not None:
        said["effect"] = claims["decision"]["effect"]
    differ = sorted(name for name, value in said.items() if entry.get(name) != value)
    codes = claims["decision"]["reasons"]
    # The entry may add the gateway's own code for how the step ended.
    if entry["reasons"][: len(codes)] != codes:
        differ.append("reasons")
    if differ:
        raise EvidenceError(f"{what}: differs from entry {index} in {', '.join(differ)}")
    return index, key


def fields(raw: bytes, entries: Mapping[int, dict[str, Any]], what: str) -> dict[str, str]:
    """A line of ``fields/N.ndjson``: field -> commitment of an entry, as the entry vouches for them.

    Raises:
        EvidenceError: they are not what the entry's own commitment stands for.
    """
    line = strict.document(raw, what, {"index": int, "fields": dict})
    entry = entries.get(line["index"])
    if entry is None:
        raise EvidenceError(f"{what}: about entry {line['index']}, which does not stand beside it")
    found = line["fields"]
    if not found or not all(type(value) is str and name.isascii() for name, value in found.items()):
        raise EvidenceError(f"{what}: a commitment of entry {line['index']} is no text")
    if hashlib.sha256(strict.canonical_texts(found)).hexdigest() != entry.get("commitment"):
        raise EvidenceError(f"{what}: not the commitments that entry {line['index']} stands for")
    return dict(found)


def opening(raw: bytes, committed: frozenset[str], what: str) -> str:
    """A line of ``openings/N-M.ndjson``: the commitment that it opens.

    Raises:
        EvidenceError: salt and value do not hash to it, or no entry beside it commits to it.
    """
    line = strict.document(raw, what, {"commitment": str, "salt": str, "value": str})
    salt, value = (strict.base64url_bytes(line[name], what) for name in ("salt", "value"))
    if len(salt) != SALT_BYTES or hashlib.sha256(salt + value).hexdigest() != line["commitment"]:
        raise EvidenceError(f"{what}: the value is not the one that was committed to ({line['commitment'][:16]}...)")
    if line["commitment"] not in committed:
        raise EvidenceError(f"{what}: opens a commitment of no entry beside it")
    return str(line["commitment"])


def policy(raw: bytes, digest: str, what: str) -> Mapping[str, str]:
    """The files of a policy bundle, path -> text.

    The digest is SHA-256 over the RFC 8785 form of ``[[path, hex SHA-256 of the file], ...]``, sorted by path.

    Raises:
        EvidenceError: they have another digest.
    """
    files = strict.document(raw, what, {"files": dict})["files"]
    if not files or not all(type(text) is str for text in files.values()):
        raise EvidenceError(f"{what}: no policy files in it")
    listed = [[path, hashlib.sha256(text.encode()).hexdigest()] for path, text in sorted(files.items())]
    found = hashlib.sha256(strict.canonical_texts(listed)).hexdigest()
    if found != digest:
        raise EvidenceError(f"{what}: its files have the digest {found}")
    return dict(files)
