"""The whole check of a bundle, part after part, in one pass and in bounded memory. No network, no clock, no gateway.

What the parts claim is collected as they pass; it is believed only when the last hash of the tree is in and gives the
root that a key of the reader's signed. The order of the parts is fixed, so nothing can stand where it is not looked at.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from . import attachments, segment, strict
from .archive import Part, parts
from .collected import Collected, Request
from .conclude import conclude
from .errors import EvidenceError
from .keys import Keys
from .note import LOG, NOTE_MAX_BYTES, SECOND, Note, Vkey
from .report import Report

MANIFEST_MAX_BYTES: Final = 256 << 20
DOCUMENT_MAX_BYTES: Final = 16 << 20
SIGNATURE_MAX_BYTES: Final = 65_536
PARTS_MAX: Final = 1_000_000
LINE_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What the reader believes, and wants to know.

    Attributes:
        keys: verifier keys of the log.
        trust: a trust document from a channel of the reader's own.
        witnesses: of whom ``quorum`` must have cosigned.
        kept: (name, checkpoint) that the reader has from earlier.
        post_quantum: whether the trust document's ML-DSA-44 keys are required as well; a key in ``keys`` always is.
    """

    keys: Sequence[Vkey]
    trust: bytes | None = None
    witnesses: Sequence[Vkey] = ()
    quorum: int = 0
    kept: Sequence[tuple[str, bytes]] = ()
    post_quantum: bool = False


def verify(stream: BinaryIO, asked: Criteria) -> Report:
    """Check a bundle. Whatever the file holds, this gives a report and raises nothing but what reading it raises.

    Raises:
        EvidenceError: a key, trust document or checkpoint of the reader's own is none.
        OSError: the file cannot be read.
    """
    report = Report()
    check = _Check(asked, report)
    try:
        check.run(stream)
    except EvidenceError as exc:
        report.failed("bundle", str(exc))
    except (RecursionError, MemoryError) as exc:
        report.failed("bundle", f"it is made to exhaust its reader ({type(exc).__name__})")
    return report


class _Check:
    """One pass. A method for each kind of part; :data:`_ONCE` and :data:`_BESIDE` say where each may stand."""

    def __init__(self, asked: Criteria, report: Report) -> None:
        self.asked = asked
        self.report = report
        self.found = Collected()
        self.trusted = None if asked.trust is None else Keys.parse(asked.trust, "your trust document")
        second = self.trusted.second if self.trusted is not None and asked.post_quantum else ()
        listed = () if self.trusted is None else _log_keys(self.trusted)
        self.log_keys = [*asked.keys, *listed, *map(Vkey.parse, second)]
        if asked.post_quantum and not any(key.kind == SECOND for key in self.log_keys):
            raise EvidenceError("no ML-DSA-44 key of the log is known: give it, or a trust document that names one")
        self.found.kept = [(name, self._kept(name, raw)) for name, raw in asked.kept]
        self.sizes = {note.checkpoint.size for _, note in self.found.kept}
        self.leaves = segment.Leaves(self._at_size)
        self.seen: list[dict[str, Any]] = []
        self.segments = 0
        self.entries: dict[int, dict[str, Any]] = {}
        self.beside: set[str] = {"entries"}
        self.committed: frozenset[str] = frozenset()
        self.receipted: set[int] = set()
        self.opened = 0

    def run(self, stream: BinaryIO) -> None:
        """See :func:`verify`."""
        place = 0
        for part in parts(stream):
            if len(self.seen) >= PARTS_MAX:
                raise EvidenceError("more parts than a bundle has")
            place = self._next(part, place)
            self.seen.append({"name": part.name, "size": part.size, "sha256": part.sha256})
        if place != len(_ONCE):
            raise EvidenceError(f"the bundle is not whole: it ends before its {_ONCE[place][0]}")
        revoked = () if self.trusted is None else self.trusted.listed.values()
        asked = self.asked
        conclude(self.found, self.leaves, self.seen, asked.witnesses, asked.quorum, revoked, self.report)

    def _next(self, part: Part, place: int) -> int:
        """Check a part that may stand at ``place``; returns the place of the next one."""
        beside = _BESIDE.fullmatch(part.name)
        if beside is not None:
            kind = beside[1] or beside[3]
            self._stands_beside(part.name, kind, beside[2] or beside[4], beside[5])
            _READ_BESIDE[kind](self, part)
            return place
        while place < len(_ONCE):
            _, pattern, read = _ONCE[place]
            matched = pattern.fullmatch(part.name)
            repeated = pattern.groups > 0
            if matched is not None:
                self._segment_is_whole()
                read(self, part, *matched.groups())
                return place if repeated else place + 1
            if not repeated:
                break
            place += 1
        raise EvidenceError(f"{part.name}: no part of a bundle, or not in its place")

    # --- parts that stand alone --------------------------------------------------------------------------------------

    def _request(self, part: Part) -> None:
        self.found.asked = Request.parse(part.whole(DOCUMENT_MAX_BYTES))

    def _checkpoint(self, part: Part) -> None:
        note = self.found.note = Note.parse(part.whole(NOTE_MAX_BYTES), "checkpoint")
        origin, size = self._request_of().document["origin"], self._request_of().document["tree_size"]
        if (note.checkpoint.origin, note.checkpoint.size) != (origin, size):
            self.report.failed("checkpoint", "it is not of the log and size that asked.json names")
        try:
            self.found.signers = note.signed_by(self.log_keys, "checkpoint")
        except EvidenceError as exc:
            self.report.failed("checkpoint", str(exc).removeprefix("checkpoint: "))
        if self.found.signers and note.checkpoint.origin not in {key.name for key in self.found.signers}:
            self.report.failed("checkpoint", f"it is of the log {note.checkpoint.origin!r}, and your key is another's")

    def _keys(self, part: Part) -> None:
        enclosed = Keys.parse(part.whole(DOCUMENT_MAX_BYTES), "keys.json")
        if enclosed.origin != self._origin():
            self.report.failed("keys.json", f"they are the keys of {enclosed.origin!r}")
        self.found.keys = enclosed
        for known in () if self.trusted is None else self.trusted.listed.values():
            if known.kid in enclosed.listed:
                enclosed.bound(known)
                enclosed.vouch(known.kid, known.purpose, "your trust document")

    def _history(self, part: Part) -> None:
        self.found.history = part.whole(DOCUMENT_MAX_BYTES).decode("ascii", errors="replace")

    def _controls(self, part: Part) -> None:
        entries = strict.document(part.whole(DOCUMENT_MAX_BYTES), "controls.json", {"v": int, "entries": dict})[
            "entries"
        ]
        if not all(type(ids) is list for ids in entries.values()):
            raise EvidenceError("controls.json: not a control matrix")
        self.found.controls = entries

    def _tree(self, part: Part, number: str) -> None:
        if number != f"{self.segments:06d}":
            raise EvidenceError(f"{part.name}: segment {self.segments} must come next")
        self.segments += 1
        indices = self.leaves.expect(part.whole(segment.TREE_MAX_BYTES), part.name)
        self.entries = {index: {} for index in indices}
        self.beside, self.committed, self.receipted, self.opened = set(), frozenset(), set(), 0
        if not indices:
            self.beside.add("entries")
            self.leaves.grow(iter(()))

    def _policy(self, part: Part, digest: str) -> None:
        try:
            attachments.policy(part.whole(attachments.POLICY_MAX_BYTES), digest, part.name)
        except EvidenceError as exc:
            self.report.failed("policies", str(exc))
        else:
            self.found.policies.add(digest)

    def _manifest(self, part: Part) -> None:
        self.found.manifest = part.whole(MANIFEST_MAX_BYTES)

    def _signature(self, part: Part) -> None:
        self.found.signature = part.whole(SIGNATURE_MAX_BYTES).decode("ascii", errors="replace")

    # --- parts that stand beside a segment of the tree ---------------------------------------------------------------

    def _enclosed(self, part: Part) -> None:
        lines = self._entry_lines(part)
        self.leaves.grow(lines)
        next(lines, None)  # to its end, where it is noticed that something follows

    def _entry_lines(self, part: Part) -> Iterator[bytes]:
        """The bytes of each entry, each looked at before it is given."""
        lines = segment.lines(part, segment.ENTRY_MAX_BYTES)
        asked = self._request_of()
        for index in self.entries:
            raw = next(lines, None)
            if raw is None:
                raise EvidenceError(f"{part.name}: ends before entry {index}")
            entry = self.entries[index] = segment.entry(raw, f"entry {index}")
            misfit = asked.misfit(index, entry)
            if misfit:
                self.report.failed("entries", f"entry {index} is {misfit}, and nobody asked for that")
            self.found.take(index, entry)
            yield raw
        if next(lines, None) is not None:
            raise EvidenceError(f"{part.name}: more entries than the tree has places for")

    def _receipts(self, part: Part) -> None:
        for what, raw in _lines(part):
            try:
                token = strict.document(raw, what, {"receipt": str})["receipt"]
                index, key = attachments.receipt(token, self._keys_of(), self.entries, what)
                if index in self.receipted:
                    raise EvidenceError(f"{what}: a second receipt for entry {index}")
            except EvidenceError as exc:
                self.report.failed("receipts", str(exc))
                continue
            self.receipted.add(index)
            self.found.receipts += 1
            self.found.used[key.kid] = max(index, self.found.used.get(key.kid, 0))

    def _fields(self, part: Part) -> None:
        committed: set[str] = set()
        for what, raw in _lines(part):
            try:
                committed.update(attachments.fields(raw, self.entries, what).values())
            except EvidenceError as exc:
                self.report.failed("commitments", str(exc))
        self.committed = frozenset(committed)
        self.found.commitments += len(committed)

    def _openings(self, part: Part) -> None:
        for number, raw in enumerate(segment.lines(part), start=1):
            try:
                attachments.opening(raw, self.committed, f"{part.name}, line {number}")
            except EvidenceError as exc:
                self.report.failed("openings", str(exc))
            else:
                self.found.openings += 1

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _at_size(self, size: int, root: Callable[[], bytes]) -> None:
        if size in self.sizes:
            self.found.roots[size] = root()

    def _kept(self, name: str, raw: bytes) -> Note:
        what = f"your checkpoint {name}"
        note = Note.parse(raw, what)
        note.signed_by(self.log_keys, what)
        return note

    def _stands_beside(self, name: str, kind: str, number: str, which: str | None) -> None:
        """Each kind stands there once; of openings there may be several parts, counted from 0."""
        repeated = kind in self.beside if which is None else which != f"{self.opened:06d}"
        if number != f"{self.segments - 1:06d}" or repeated or not self.entries:
            raise EvidenceError(f"{name}: no part of a bundle, or not in its place")
        if kind != "entries":
            self._segment_is_whole()
        self.beside.add(kind)
        self.opened += which is not None

    def _segment_is_whole(self) -> None:
        if "entries" not in self.beside:
            raise EvidenceError(f"entries/{self.segments - 1:06d}.ndjson: missing")

    def _request_of(self) -> Request:
        if self.found.asked is None:
            raise EvidenceError("asked.json: missing")
        return self.found.asked

    def _origin(self) -> str:
        return str(self._request_of().document["origin"])

    def _keys_of(self) -> Keys:
        if self.found.keys is None:
            raise EvidenceError("keys.json: missing")
        return self.found.keys


def _log_keys(trusted: Keys) -> list[Vkey]:
    """Verifier keys of the log by a trust document, revoked ones too: what witnesses saw of those in time stands."""
    found = [Vkey.parse(text) for text in trusted.log]
    names = {trusted.origin, *(key.name for key in found)}
    checkpoints = [key for key in trusted.listed.values() if key.purpose == "checkpoint" and key.covered is not None]
    return found + [Vkey(name, LOG, key.public) for key in checkpoints for name in sorted(names)]


def _lines(part: Part) -> Iterator[tuple[str, bytes]]:
    """Each line of a part, and what to call it."""
    for number, raw in enumerate(segment.lines(part, LINE_MAX_BYTES), start=1):
        yield f"{part.name}, line {number}", raw


_ONCE: Final[Sequence[tuple[str, re.Pattern[str], Callable[..., None]]]] = (
    ("request", re.compile(r"asked\.json"), _Check._request),  # noqa: SLF001
    ("checkpoint", re.compile(r"checkpoint\.txt"), _Check._checkpoint),  # noqa: SLF001
    ("keys", re.compile(r"keys\.json"), _Check._keys),  # noqa: SLF001
    ("key history", re.compile(r"history\.jws"), _Check._history),  # noqa: SLF001
    ("controls", re.compile(r"controls\.json"), _Check._controls),  # noqa: SLF001
    ("tree", re.compile(r"tree/([0-9]{6,7})\.txt"), _Check._tree),  # noqa: SLF001
    ("policies", re.compile(r"policies/([0-9a-f]{64})\.json"), _Check._policy),  # noqa: SLF001
    ("manifest", re.compile(r"manifest\.json"), _Check._manifest),  # noqa: SLF001
    ("manifest's signature", re.compile(r"manifest\.sig"), _Check._signature),  # noqa: SLF001
)
"""The parts in their order. A pattern with a group may stand any number of times, also none."""
_BESIDE: Final = re.compile(
    r"(entries|receipts|fields)/([0-9]{6,7})\.ndjson|(openings)/([0-9]{6,7})-([0-9]{6})\.ndjson"
)
_READ_BESIDE: Final[dict[str, Callable[[_Check, Part], None]]] = {
    "entries": _Check._enclosed,  # noqa: SLF001
    "receipts": _Check._receipts,  # noqa: SLF001
    "fields": _Check._fields,
    "openings": _Check._openings,  # noqa: SLF001
}
