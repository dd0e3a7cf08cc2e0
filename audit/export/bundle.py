"""Write an evidence bundle: one file that the stand-alone verifier checks with no network and no gateway.

Parts come in a fixed order, as ``audit.verifier.check`` reads them, and each is written whole from one page of the log,
so memory does not grow with the export. The manifest, with the hash of every part, comes last: a bundle that was cut
off is none. Everything before it follows from the log and the request alone, so the same request gives the same bytes,
and an export that broke off can be gone on with.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from audit.export.source import Selection, Source
from audit.query import StoredEntry
from audit.threads import at_length
from audit.verifier.archive import END, header, padding
from audit.verifier.segment import ENTRIES_MAX, LINE_MAX_BYTES
from audit.verifier.tree import Node, spans
from gateway.canonical import b64url_encode, canonical

MEDIA_TYPE: Final = "application/x-tar"
VALUE_MAX_BYTES: Final = LINE_MAX_BYTES // 2
"""A value that is larger stays out: its line would be longer than a reader takes."""
_OPEN_AT_ONCE: Final = 32
KEPT_MAX: Final = 16

Opened = Mapping[str, tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the rest of the gateway gives to a bundle.

    Attributes:
        origin, by: the log, and the pseudonym of who asked.
        checkpoint: the signed note of ``selection.tree_size``, with its cosignatures.
        keys: the trust document.
        controls: the control matrix: entry type -> ids.
        receipts: the receipts that name these entries, in the entries' order.
        policy: digest -> files of a bundle, ``None`` where it is not at hand.
        opened: commitment -> (salt, value); ``None`` where no payloads were asked for.
        sign: the manifest's hash -> ``export+jws``.
        kept: sizes of checkpoints that the reader has: the hashes are parted there.
        now: seconds since the epoch, for the manifest.
    """

    origin: str
    by: str
    checkpoint: str
    keys: Mapping[str, Any]
    controls: Mapping[str, Sequence[str]]
    receipts: Callable[[Sequence[StoredEntry]], Awaitable[Sequence[str]]]
    policy: Callable[[str], Awaitable[Mapping[str, str] | None]]
    opened: Callable[[Sequence[str]], Awaitable[Opened]] | None
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


async def bundle(source: Source, selection: Selection, around: Around) -> AsyncIterator[bytes]:
    """The bytes of the bundle, part by part.

    Raises:
        LogUnavailable: the database cannot be read.
        HandrailError: what ``around`` raises.
    """
    written = _Written()
    asked = _asked(selection, around)
    yield written.part("asked.json", canonical(asked))
    yield written.part("checkpoint.txt", around.checkpoint.encode())
    yield written.part("keys.json", canonical(dict(around.keys)))
    matrix = {code: list(ids) for code, ids in sorted(around.controls.items())}
    yield written.part("controls.json", canonical({"v": 1, "entries": matrix}))
    place, number = 0, 0
    while True:
        page = await at_length(source.page, selection, place - 1, ENTRIES_MAX)
        last = len(page) < ENTRIES_MAX
        end = selection.tree_size if last else page[-1].index + 1
        text = await at_length(_tree, source, around.kept, page, place, end)
        if text or not number:
            yield written.part(f"tree/{number:06d}.txt", text)
        if page:
            async for part in _segment(written, f"{number:06d}", page, around):
                yield part
        written.whole = written.whole and _follow(page, place, end, selection)
        place, number = end, number + 1
        if last:
            break
    missing = []
    for digest in sorted(written.digests):
        files = await around.policy(digest)
        if files is None:
            missing.append(digest)
        else:
            yield written.part(f"policies/{digest}.json", canonical({"files": dict(files)}))
    dropped = await at_length(source.dropped, selection)
    manifest = canonical(
        {
            "v": 1,
            "asked": asked,
            "made_at": around.now,
            "entries": written.entries,
            "complete": written.whole,
            "statement": _statement(selection, dropped, whole=written.whole),
            "dropped": [list(stretch) for stretch in dropped],
            "policies_missing": missing,
            "parts": written.parts,
        }
    )
    yield written.part("manifest.json", manifest)
    claims = {"v": 1, "iss": around.origin, "iat": around.now, "manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    yield written.part("manifest.sig", around.sign(canonical(claims)).encode("ascii"))
    yield END


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
        "payloads": around.opened is not None,
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
    if around.opened is None:
        return
    committed = {stored.index: stored.fields for stored in page if stored.fields}
    if committed:
        lines = (canonical({"index": index, "fields": found}) + b"\n" for index, found in committed.items())
        yield written.part(f"fields/{number}.ndjson", b"".join(lines))
        openings = b"".join([line async for line in _openings(around.opened, committed)])
        if openings:
            yield written.part(f"openings/{number}.ndjson", openings)


async def _openings(
    opened: Callable[[Sequence[str]], Awaitable[Opened]], committed: Mapping[int, Mapping[str, str]]
) -> AsyncIterator[bytes]:
    """A line for each value that is still there, in the order in which entries first commit to them."""
    wanted = list(dict.fromkeys(commitment for found in committed.values() for commitment in found.values()))
    for start in range(0, len(wanted), _OPEN_AT_ONCE):
        some = wanted[start : start + _OPEN_AT_ONCE]
        found = await opened(some)
        for commitment in some:
            if commitment in found and len(found[commitment][1]) <= VALUE_MAX_BYTES:
                salt, value = (b64url_encode(raw) for raw in found[commitment])
                yield canonical({"commitment": commitment, "salt": salt, "value": value}) + b"\n"


def _tree(source: Source, kept: Sequence[int], page: Sequence[StoredEntry], place: int, end: int) -> bytes:
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
