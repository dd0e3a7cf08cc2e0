"""Write an evidence bundle: one file that the stand-alone verifier checks with no network and no gateway.

Parts come in a fixed order, as ``audit.verifier.check`` reads them. Each is written from one page of the log, or from a
bounded part of the values that a page commits to, so memory does not grow with the export. The manifest, with the hash
of every part, comes last: a bundle that was cut off is none. Everything before it (:meth:`Bundle.content`) follows from
the log, its keys and the request alone, so the same request gives the same bytes, and an export that broke off can be
gone on with. The manifest (:meth:`Bundle.ending`) is made anew each time.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from audit.export.heads import Head
from audit.export.openings import Payloads, opened
from audit.export.source import LogSource, Selection
from audit.query import StoredEntry
from audit.threads import at_length
from audit.verifier.archive import END, header, padding
from audit.verifier.segment import ENTRIES_MAX
from audit.verifier.tree import Node, spans
from gateway.canonical import canonical

MEDIA_TYPE: Final = "application/x-tar"
KEPT_MAX: Final = 16
KEYS: Final = "keys.json"
HISTORY: Final = "history.jws"
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the rest of the gateway gives to a bundle.

    Attributes:
        origin, by: the log, and the pseudonym of who asked.
        head: the checkpoint, of ``selection.tree_size``.
        later: how many entries that pass the filters stand behind it, and are left out.
        keys: the trust document.
        history: the signed history of the gateway's keys (``history+jws``).
        controls: the control matrix: entry type -> ids.
        receipts: the receipts that name these entries, in the entries' order.
        policy: digest -> files of a bundle, ``None`` where it is not at hand.
        payloads: what commitments stand for; ``None`` where no payloads were asked for.
        sign: the manifest's hash -> ``export+jws``.
        kept: sizes of checkpoints that the reader has: the hashes are parted there.
        now: seconds since the epoch, for the manifest.
    """

    origin: str
    by: str
    head: Head
    later: int
    keys: Mapping[str, Any]
    history: str
    controls: Mapping[str, Sequence[str]]
    receipts: Callable[[Sequence[StoredEntry]], Awaitable[Sequence[str]]]
    policy: Callable[[str], Awaitable[Mapping[str, str] | None]]
    payloads: Payloads | None
    sign: Callable[[bytes], str]
    kept: Sequence[int] = ()
    now: int = 0


@dataclass(slots=True)
class _Written:
    """What was written so far."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    entries: int = 0
    whole: bool = True
    """No leaf of the range was skipped."""
    digests: dict[str, None] = field(default_factory=dict)

    def part(self, name: str, raw: bytes) -> bytes:
        """A part with its header, as it goes into the file."""
        self.parts.append({"name": name, "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()})
        return header(name, len(raw)) + raw + padding(len(raw))

    def streamed(self, name: str, size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same for a part of ``size`` bytes that is never in memory whole."""
        digest = hashlib.sha256()
        yield header(name, size)
        for piece in pieces:
            digest.update(piece)
            yield piece
        yield padding(size)
        self.parts.append({"name": name, "size": size, "sha256": digest.hexdigest()})


class Bundle:
    """One bundle: :meth:`content` to its end, then :meth:`ending`."""

    def __init__(self, source: LogSource, selection: Selection, around: Around) -> None:
        self._source = source
        self._selection = selection
        self._around = around
        self._written = _Written()
        self._asked = _asked(selection, around)
        self._missing: list[str] = []

    async def content(self) -> AsyncIterator[bytes]:
        """Every part but those of the manifest.

        Raises:
            LogUnavailable: the database cannot be read.
            HandrailError: what the gateway's surroundings raise.
        """
        written, around, selection = self._written, self._around, self._selection
        yield written.part("asked.json", canonical(self._asked))
        yield written.part("checkpoint.txt", around.head.note.encode())
        yield written.part(KEYS, canonical(dict(around.keys)))
        yield written.part(HISTORY, around.history.encode("ascii"))
        matrix = {code: list(ids) for code, ids in sorted(around.controls.items())}
        yield written.part("controls.json", canonical({"v": 1, "entries": matrix}))
        place, number = 0, 0
        while True:
            page = await at_length(self._source.page, selection, place - 1, ENTRIES_MAX)
            last = len(page) < ENTRIES_MAX
            end = selection.tree_size if last else page[-1].index + 1
            text = await at_length(_tree, self._source, around.kept, page, place, end)
            if text or not number:
                yield written.part(f"tree/{number:06d}.txt", text)
            if page:
                async for part in _segment(written, f"{number:06d}", page, around):
                    yield part
            written.whole = written.whole and _follow(page, place, end, selection)
            place, number = end, number + 1
            if last:
                break
        for digest in sorted(written.digests):
            files = await around.policy(digest)
            if files is None:
                self._missing.append(digest)
            else:
                yield written.part(f"policies/{digest}.json", canonical({"files": dict(files)}))

    async def ending(self) -> AsyncIterator[bytes]:
        """The manifest, its signature and what ends the file. Raises as :meth:`content`."""
        written, around, selection = self._written, self._around, self._selection
        dropped = await at_length(self._source.dropped, selection)
        manifest = canonical(
            {
                "v": 1,
                "asked": self._asked,
                "made_at": around.now,
                "entries": written.entries,
                "complete": written.whole,
                "statement": _statement(selection, dropped, whole=written.whole) + _of_the_head(around),
                "head": {
                    "cosignatures": around.head.cosignatures,
                    "needed": around.head.needed,
                    "log_size": around.head.log_size,
                    "later": around.later,
                },
                "dropped": [list(stretch) for stretch in dropped],
                "policies_missing": self._missing,
                "parts": written.parts,
            }
        )
        yield written.part(MANIFEST, manifest)
        sha256 = hashlib.sha256(manifest).hexdigest()
        claims = {"v": 1, "iss": around.origin, "iat": around.now, "manifest_sha256": sha256}
        yield written.part("manifest.sig", around.sign(canonical(claims)).encode("ascii"))
        yield END


async def bundle(source: LogSource, selection: Selection, around: Around) -> AsyncIterator[bytes]:
    """The bytes of a bundle from its beginning to its end. Raises as :meth:`Bundle.content`."""
    made = Bundle(source, selection, around)
    async for part in made.content():
        yield part
    async for part in made.ending():
        yield part


def keys_sha256(keys: Mapping[str, Any], history: str) -> str:
    """What tells whether a bundle that broke off was begun with the same keys: of the parts that are about them."""
    return hashlib.sha256(canonical(dict(keys)) + history.encode("ascii")).hexdigest()


def _asked(selection: Selection, around: Around) -> dict[str, Any]:
    return {
        "v": 1,
        "origin": around.origin,
        "tree_size": selection.tree_size,
        "tenant": selection.wanted.tenant,
        "by": around.by,
        "first": selection.first,
        "end": selection.end,
        "filter": selection.filters(),
        "scope": selection.scope(),
        "kept": sorted(around.kept),
        "payloads": around.payloads is not None,
    }


def _statement(selection: Selection, dropped: Sequence[tuple[int, int]], *, whole: bool) -> str:
    about = f"from index {selection.first} up to, not including, {selection.end}"
    if whole:
        return f"Every entry {about} is enclosed; the hashes prove it."
    named = ", ".join(sorted(selection.filters())) or "none but the tenant"
    bound = selection.scope().get("hands")
    if bound is not None:
        named += f"; for a reader who is bound to the hands {', '.join(bound) or 'none'}"
    gone = sum(last - first + 1 for first, last in dropped)
    of_the_rest = (
        f" Of {gone} entries of the range only those that stand are left: their retention is over." if gone else ""
    )
    return (
        f"Enclosed are the entries {about} that pass the filters ({named}). That the gateway left out no other is its "
        "word: of what is not enclosed, the hashes prove only that it is there." + of_the_rest
    )


def _of_the_head(around: Around) -> str:
    """What is said of the witnesses, where the gateway asks for any."""
    head = around.head
    if not head.needed:
        return ""
    words = f" {head.cosignatures} witnesses have cosigned the checkpoint; the gateway asks for {head.needed}."
    if around.later:
        words += (
            f" {around.later} entries that would have passed came after it, to a log of {head.log_size}, and are left "
            "out: ask again for them."
        )
    return words


async def _segment(written: _Written, number: str, page: Sequence[StoredEntry], around: Around) -> AsyncIterator[bytes]:
    written.entries += len(page)
    for stored in page:
        digest = orjson.loads(stored.body).get("policy_digest")
        if digest:
            written.digests[digest] = None
    yield written.part(f"entries/{number}.ndjson", b"".join(stored.body + b"\n" for stored in page))
    receipts = await around.receipts(page)
    if receipts:
        lines = (canonical({"receipt": token}) + b"\n" for token in receipts)
        yield written.part(f"receipts/{number}.ndjson", b"".join(lines))
    if around.payloads is None:
        return
    committed = {stored.index: stored.fields for stored in page if stored.fields}
    if committed:
        lines = (canonical({"index": index, "fields": found}) + b"\n" for index, found in committed.items())
        yield written.part(f"fields/{number}.ndjson", b"".join(lines))
        place = 0
        async for openings in opened(around.payloads, committed):
            name = f"openings/{number}-{place:06d}.ndjson"
            for piece in written.streamed(name, openings.size, openings.pieces()):
                yield piece
            place += 1


def _tree(source: LogSource, kept: Sequence[int], page: Sequence[StoredEntry], place: int, end: int) -> bytes:
    """``tree/N.txt``: every leaf of ``[place, end)``, as an entry of the page or under a hash."""
    stretches = list(_stretches(page, place, end, kept))
    nodes: list[Node] = [node for word, a, b in stretches if word == "skip" for node in spans(a, b)]
    hashes = source.hashes(nodes)
    lines: list[str] = []
    for word, start, until in stretches:
        lines.append(f"{word} {start} {until}")
        if word == "skip":
            lines += [base64.b64encode(hashes[node]).decode("ascii") for node in spans(start, until)]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _stretches(
    page: Sequence[StoredEntry], place: int, end: int, kept: Sequence[int]
) -> Iterator[tuple[str, int, int]]:
    """``(word, start, end)`` of what is skipped, parted at the sizes that the reader keeps, and what is had."""
    run = place
    for stored in page:
        if stored.index != place:
            if run != place:
                yield "have", run, place
            yield from _skipped(place, stored.index, kept)
            run = stored.index
        place = stored.index + 1
    if run != place:
        yield "have", run, place
    yield from _skipped(place, end, kept)


def _skipped(start: int, end: int, kept: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    for size in (*sorted(size for size in set(kept) if start < size < end), end):
        if start < size:
            yield "skip", start, size
            start = size


def _follow(page: Sequence[StoredEntry], place: int, end: int, selection: Selection) -> bool:
    """Whether the page leaves nothing out of the part of the range that lies in ``[place, end)``."""
    first, last = max(place, selection.first), min(end, selection.end)
    return sum(first <= stored.index < last for stored in page) == max(0, last - first)
