"""Verify receipts offline: from the receipt file and a trust document alone.

A receipt file is ``{v: 1, receipt_id, receipt, entry, log_index, fields, openings, proof}``: what the gateway answers
at ``/v1/receipts/{id}``, and the text of ``/v1/receipts/{id}/proof`` as ``proof``. The trust document is what it
answers at ``/v1/trust``, obtained once over a channel that is trusted. Nothing in the file is believed: each of the
numbered steps below proves one more thing, and :class:`~handrail.errors.VerificationError` names the step that failed.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from handrail import jws, merkle, note
from handrail.errors import MalformedError, VerificationError
from handrail.strict import b64url_decode, canonical, parse
from handrail.times import written
from handrail.trust import CompromisedKey, Trust

FILE_MAX_BYTES: Final = 67_108_864


STEPS: Final = (
    "file",
    "receipt signature",
    "log entry",
    "checkpoint signature",
    "inclusion in the log",
    "receipt and log name the same place",
    "receipt and entry say the same",
    "commitments",
    "openings",
)
"""Titles of the numbered steps, the first being number 1."""

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
"""Status of a step -> the entry types that record it (the codes of ``gateway.entries``)."""

_FILE_TYPES: Final[Mapping[str, type]] = {
    "v": int, "receipt_id": str, "receipt": str, "entry": str, "log_index": int, "fields": dict, "openings": dict,
    "proof": str,
}  # fmt: skip
_CLAIM_TYPES: Final[Mapping[str, type]] = {
    "v": int, "receipt_id": str, "iss": str, "tenant": str, "plan_commitment": str, "step_id": str, "hand": str,
    "action": str, "decision": dict, "approvals": list, "status": str, "log": dict, "iat": int,
}  # fmt: skip
_OPTIONAL_CLAIM_TYPES: Final[Mapping[str, type]] = {
    "step_jti": str, "args_commitment": str, "result_commitment": str, "jail": dict, "attempts": int,
}  # fmt: skip
_ENTRY_TYPES: Final[Mapping[str, type]] = {"v": int, "type": str, "origin": str, "tenant": str, "commitment": str}
_RAN: Final = frozenset({"succeeded", "failed", "ambiguous", "released"})


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step that held, in plain words."""

    number: int
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class ReceiptReport:
    """What a verified receipt proves.

    Attributes:
        reasons: reason codes of the decision.
        opened: field name -> value bytes, for the openings in the file; each was shown to be what the log committed to.
    """

    receipt_id: str
    origin: str
    log_index: int
    tree_size: int
    tenant: str
    step_id: str
    hand: str
    action: str
    effect: str
    reasons: tuple[str, ...]
    policy_digest: str | None
    """``None`` where the step never reached policy."""
    status: str
    issued_at: int
    opened: Mapping[str, bytes]
    compromised: bool
    """The key that signed was stolen later; the log vouches for what the receipt and its entry both say."""
    steps: tuple[StepReport, ...]

    def document(self) -> dict[str, Any]:
        """The report as JSON, with the opened fields named but not shown."""
        return {
            "receipt_id": self.receipt_id,
            "origin": self.origin,
            "log_index": self.log_index,
            "tree_size": self.tree_size,
            "tenant": self.tenant,
            "step_id": self.step_id,
            "hand": self.hand,
            "action": self.action,
            "effect": self.effect,
            "reasons": list(self.reasons),
            "policy_digest": self.policy_digest,
            "status": self.status,
            "issued_at": written(self.issued_at),
            "opened": sorted(self.opened),
            "compromised": self.compromised,
            "steps": [{"number": step.number, "title": step.title, "text": step.text} for step in self.steps],
        }


@dataclass(slots=True)
class _State:
    """What the steps so far have established."""

    raw: bytes
    trust: Trust
    file: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    proof: note.Proof | None = None
    checkpoint: note.Checkpoint | None = None
    opened: dict[str, bytes] = field(default_factory=dict)
    compromised: CompromisedKey | None = None


def verify_receipt(raw: bytes, trust: Trust) -> ReceiptReport:
    """Check one receipt file against ``trust``. No network, no clock.

    Raises:
        VerificationError: with the number of the first step that does not hold and why.
    """
    state = _State(raw, trust)
    reports: list[StepReport] = []
    for number, (title, step) in enumerate(zip(STEPS, _STEPS, strict=True), start=1):
        try:
            text = step(state)
        except MalformedError as exc:
            raise VerificationError(number, title, str(exc)) from None
        reports.append(StepReport(number, title, text))
    claims, decision = state.claims, state.claims["decision"]
    return ReceiptReport(
        receipt_id=claims["receipt_id"],
        origin=claims["iss"],
        log_index=claims["log"]["index"],
        tree_size=_checkpoint(state).size,
        tenant=claims["tenant"],
        step_id=claims["step_id"],
        hand=claims["hand"],
        action=claims["action"],
        effect=decision["effect"],
        reasons=tuple(decision["reasons"]),
        policy_digest=decision.get("policy_digest"),
        status=claims["status"],
        issued_at=claims["iat"],
        opened=state.opened,
        compromised=state.compromised is not None,
        steps=tuple(reports),
    )


def _read_file(state: _State) -> str:
    """1: the file is strict JSON with exactly the members of a receipt file."""
    if len(state.raw) > FILE_MAX_BYTES:
        raise MalformedError("the file is too large")
    document = parse(state.raw)
    if not isinstance(document, dict):
        raise MalformedError("the file is not a JSON object")
    _members(document, _FILE_TYPES)
    surplus = sorted(set(document) - set(_FILE_TYPES))
    if surplus:
        raise MalformedError(f"unknown member {surplus[0]!r}")
    if document["v"] != 1:
        raise MalformedError("the file is not of version 1")
    if not all(isinstance(value, str) for value in document["fields"].values()):
        raise MalformedError("fields: a commitment is not a text")
    state.file = document
    return "The file is a receipt file of version 1."


def _receipt(state: _State) -> str:
    """2: the receipt is signed by a receipt key of the trust document, and is what the file says it is."""
    claims = jws.verify(state.file["receipt"], "receipt+jws", state.trust.signers("receipt"))
    _members(claims, _CLAIM_TYPES)
    _members(claims, {name: kind for name, kind in _OPTIONAL_CLAIM_TYPES.items() if name in claims})
    decision = claims["decision"]
    _members(decision, {"effect": str, "reasons": list}, "decision.")
    if not isinstance(decision.get("policy_digest", ""), str | None):
        raise MalformedError("member decision.policy_digest has a wrong type")
    _members(claims["log"], {"origin": str, "index": int}, "log.")
    if claims["v"] != 1:
        raise MalformedError("the receipt is not of version 1")
    if not all(isinstance(code, str) for code in decision["reasons"]):
        raise MalformedError("decision.reasons holds something that is not a code")
    if claims["receipt_id"] != state.file["receipt_id"]:
        raise MalformedError("the file names another receipt than the one that was signed")
    if claims["status"] not in ENTRY_TYPES:
        raise MalformedError("the receipt's status is not a final one")
    state.claims = claims
    state.compromised = state.trust.compromised.get(jws.kid_of(state.file["receipt"]))
    if state.compromised is None:
        return "The receipt is signed by a receipt key of the trust document."
    return "The receipt is signed by a key that was stolen later: it stands if the log covered its entry before."


def _entry(state: _State) -> str:
    """3: the entry is canonical JSON, so that its hash has one meaning."""
    entry = parse(state.file["entry"])
    if not isinstance(entry, dict):
        raise MalformedError("the entry is not a JSON object")
    if canonical(entry) != state.file["entry"].encode():
        raise MalformedError("the entry is not in canonical form (RFC 8785)")
    _members(entry, _ENTRY_TYPES)
    state.entry = entry
    return f"The log entry is of type {entry['type']}."


def _checkpoint_signature(state: _State) -> str:
    """4: the proof's checkpoint is signed by a key of the trust document for the trusted origin, and by enough of the
    verifier's witnesses."""
    state.proof = note.parse_proof(state.file["proof"])
    keys = [key for key in state.trust.log_keys if key.name == state.trust.origin]
    stolen = state.trust.compromised_log_keys()
    state.checkpoint = note.open_checkpoint(
        state.proof.checkpoint, keys, state.trust.quorum, state.trust.required, stolen
    )
    if state.checkpoint.origin != state.trust.origin:
        raise MalformedError("the checkpoint is of another log")
    size = "1 entry" if state.checkpoint.size == 1 else f"{state.checkpoint.size} entries"
    text = f"The checkpoint of {size} is signed by the log {state.checkpoint.origin}"
    if state.trust.required:
        text += " twice (Ed25519 and ML-DSA-44)"
    if state.trust.quorum.keys:
        names = ", ".join(state.checkpoint.witnesses) or "none"
        text += f" and by {len(state.checkpoint.witnesses)} of {len(state.trust.quorum.keys)} witnesses ({names})"
    return text + "."


def _inclusion(state: _State) -> str:
    """5: exactly this entry is at the proof's index under the signed root."""
    proof, checkpoint = _proof(state), _checkpoint(state)
    leaf = merkle.leaf_hash(state.file["entry"].encode())
    merkle.verify_inclusion(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root)
    return f"The entry is number {proof.index} under the signed root."


def _place(state: _State) -> str:
    """6: file, receipt, entry and proof name one log and one index."""
    origin, index = state.trust.origin, _proof(state).index
    for name, value in (
        ("the receipt's issuer", state.claims["iss"]),
        ("the receipt's log", state.claims["log"]["origin"]),
        ("the entry", state.entry["origin"]),
    ):
        if value != origin:
            raise MalformedError(f"{name} names another log")
    for name, number in (("the receipt", state.claims["log"]["index"]), ("the file", state.file["log_index"])):
        if number != index:
            raise MalformedError(f"{name} names entry {number}, the proof is for entry {index}")
    if state.compromised is None:
        return f"Receipt, entry and proof name entry {index} of {origin}."
    state.compromised.check(index, state.claims["iat"])
    return (
        f"Receipt, entry and proof name entry {index} of {origin}, and a checkpoint covered it before the key of the "
        "receipt was stolen. What the entry does not say (the approvals, the jail) is the receipt's word alone."
    )


def _agreement(state: _State) -> str:
    """7: the entry records what the receipt says."""
    claims, entry = state.claims, state.entry
    decision, status = claims["decision"], claims["status"]
    if entry["type"] not in ENTRY_TYPES[status]:
        raise MalformedError(f"an entry of type {entry['type']} does not record a step that {status}")
    said = {name: claims[name] for name in ("tenant", "step_id", "hand", "action")}
    said["policy_digest"] = decision.get("policy_digest")
    if said["policy_digest"] is not None:
        said["effect"] = decision["effect"]
    elif decision["effect"] != "deny" or entry.get("effect") is not None:
        raise MalformedError("a step that no policy decided can only be denied")
    for name, value in said.items():
        if entry.get(name) != value:
            raise MalformedError(f"{name} of the receipt is not {name} of the entry")
    facts = entry.get("facts")
    if claims.get("attempts") != (facts.get("attempts") if isinstance(facts, dict) else None):
        raise MalformedError("attempts of the receipt is not attempts of the entry")
    codes = entry.get("reasons")
    # The entry may add the gateway's own code for how the step ended.
    if not isinstance(codes, list) or codes[: len(decision["reasons"])] != decision["reasons"]:
        raise MalformedError("reasons of the receipt are not reasons of the entry")
    if status in _RAN and decision["effect"] not in {"allow", "ask"}:
        raise MalformedError(f"a step that was not allowed cannot have {status}")
    if status in _RAN and decision["effect"] == "ask" and not claims["approvals"]:
        raise MalformedError("the step needed an approval and the receipt names none")
    return f"The entry records the same call, decision and ending: step {claims['step_id']} {status}."


def _commitments(state: _State) -> str:
    """8: the commitments in the file are the ones under the entry's root, and the receipt names them."""
    fields, claims = state.file["fields"], state.claims
    root = hashlib.sha256(canonical(fields)).hexdigest() if fields else ""
    if root != state.entry["commitment"]:
        raise MalformedError("the commitments do not have the root that the entry carries")
    for claim, name in (("plan_commitment", "plan"), ("args_commitment", "args"), ("result_commitment", "result")):
        if claims.get(claim) != fields.get(name):
            raise MalformedError(f"{claim} of the receipt is not what the entry commits to")
    return f"The entry commits to {len(fields)} field(s), and the receipt names the same commitments."


def _openings(state: _State) -> str:
    """9: each opened value is the one that was committed to."""
    fields = state.file["fields"]
    for name, opening in state.file["openings"].items():
        if name not in fields:
            raise MalformedError(f"{name!r} is opened, but nothing was committed to under that name")
        if not isinstance(opening, dict) or set(opening) != {"salt", "value"}:
            raise MalformedError(f"the opening of {name!r} is not a salt and a value")
        if not isinstance(opening["salt"], str) or not isinstance(opening["value"], str):
            raise MalformedError(f"the opening of {name!r} is not a salt and a value")
        salt, value = b64url_decode(opening["salt"]), b64url_decode(opening["value"])
        if len(salt) != 16:
            raise MalformedError(f"the salt of {name!r} is not 16 bytes long")
        if hashlib.sha256(salt + value).hexdigest() != fields[name]:
            raise MalformedError(f"the value of {name!r} is not the one that was committed to")
        state.opened[name] = value
    return f"{len(state.opened)} of {len(fields)} committed field(s) are opened, and match."


_STEPS: Final[tuple[Callable[[_State], str], ...]] = (
    _read_file,
    _receipt,
    _entry,
    _checkpoint_signature,
    _inclusion,
    _place,
    _agreement,
    _commitments,
    _openings,
)


def _proof(state: _State) -> note.Proof:
    if state.proof is None:
        raise MalformedError("the proof was not read")
    return state.proof


def _checkpoint(state: _State) -> note.Checkpoint:
    if state.checkpoint is None:
        raise MalformedError("the checkpoint was not checked")
    return state.checkpoint


def _members(document: Mapping[str, Any], types: Mapping[str, type], prefix: str = "") -> None:
    """Each member of ``types`` is there with exactly that type (a bool is not an integer)."""
    for name, kind in types.items():
        if name not in document:
            raise MalformedError(f"member {prefix}{name} is missing")
        if type(document[name]) is not kind:
            raise MalformedError(f"member {prefix}{name} has a wrong type")
