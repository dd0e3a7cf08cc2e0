"""Exports of the log for auditors: put on record before the first byte, then streamed.

An export is of one tree size from its beginning to its end, also where it breaks off and is gone on with. What is on
record of it says who took what kind of thing out, how much of it and from which log; not what was in it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from audit.errors import NoteInvalid
from audit.export import bundle
from audit.export.heads import Head, Heads
from audit.export.lines import FORMATS, PAGE, Format
from audit.export.source import LogSource, Selection
from audit.log import Log
from audit.query import Filter, StoredEntry
from audit.threads import at_length
from gateway import scope
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Malformed, Refused
from gateway.model import DEFAULT_TENANT, Principal
from gateway.permissions import Permission, require
from gateway.policy.bundle import assemble, read
from gateway.ports import Append, Purpose, Signer, Typ
from gateway.reasons import Conflict, Reason, because
from gateway.store.bundles import SqlBundles
from gateway.store.receipts import SqlReceipts

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What an auditor asks for.

    Attributes:
        first, end: log indices; ``None`` is the whole log.
        payloads: whether a bundle opens values that entries commit to.
        kept: sizes of checkpoints that the auditor has (bundle).
        uncosigned: whether a bundle is of everything that is in the log now, also where not enough witnesses have
            cosigned it yet.
        wait_seconds: how long to wait until they have cosigned what is in the log now (bundle).
        tree_size: of the export that broke off, to go on with it: after the entry ``after`` (lines), or after
            ``offset`` bytes whose SHA-256 is ``sha256`` (bundle).
        checkpoint: the note that a bundle was begun with, to go on with it.
        keys_sha256: of the parts about keys that it was begun with (``audit.export.bundle.keys_sha256``).
    """

    format: Format
    wanted: Filter
    first: int = 0
    end: int | None = None
    payloads: bool = False
    kept: Sequence[int] = ()
    uncosigned: bool = False
    wait_seconds: float = 0.0
    tree_size: int | None = None
    after: int | None = None
    offset: int = 0
    sha256: str = ""
    checkpoint: str = ""
    keys_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Export:
    """One that is on record and can be streamed.

    Attributes:
        head: the checkpoint that it is made under.
        entries: how many are to come.
        dropped: how many entries of the range were dropped when their retention was over, but for those that stand.
        later: how many are left out because they came after the checkpoint.
    """

    media_type: str
    head: Head
    entries: int
    chunks: AsyncIterator[bytes]
    dropped: int = 0
    later: int = 0


@dataclass(slots=True)
class Exports:
    """Makes exports. One for a gateway.

    Attributes:
        trust: the trust document.
        history: the signed history of the gateway's keys.
        directory: of the policy bundle that decides, where it is one that people edit.
        controls: the control matrix: entry type -> ids.
    """

    log: Log
    source: LogSource
    receipts: SqlReceipts
    bundles: SqlBundles
    signer: Signer
    trust: Callable[[], Mapping[str, Any]]
    history: Callable[[], Awaitable[str]]
    directory: Path | None
    controls: Mapping[str, Sequence[str]]
    clock: Callable[[], float]

    async def open(self, asked: ExportRequest, principal: Principal) -> Export:
        """Put an export on record and give what is to be streamed.

        Raises:
            Refused: ``auth.forbidden`` for payloads where the principal may not have them, ``auth.bound`` for payloads
                where they are bound to hands, ``request.malformed`` for a range that the log does not have,
                ``request.not_found`` for a tree size without a checkpoint, ``request.conflict`` for a bundle that was
                begun with another checkpoint or other keys.
            Unavailable: ``log.unavailable``; nothing was exported.
        """
        if asked.payloads:
            require(principal, Permission.AUDIT_PAYLOADS)
            scope.require_every_hand(principal)
        head = await self._head(asked)
        selection = _selection(asked, principal, head.tree_size)
        later = await self._later(asked, head)
        after = -1 if asked.after is None else asked.after
        count = await at_length(self.source.count, selection, after)
        dropped = sum(last - first + 1 for first, last in await at_length(self.source.dropped, selection))
        around = await self._around(asked, principal, head, later) if asked.format is Format.BUNDLE else None
        draft = EntryDraft(
            EntryType.EXPORT_MADE,
            principal.tenant,
            principal=principal.pseudonym,
            facts={
                "format": str(asked.format),
                "filters": ",".join(sorted(selection.filters())) or "none",
                "first": selection.first,
                "end": selection.end,
                "count": count,
                "dropped": dropped,
                "tree_size": head.tree_size,
                "later": later,
                "payloads": int(asked.payloads),
                "resumed": int(asked.tree_size is not None),
            },
        )
        await self.log.append(Append([draft]))
        if around is None:
            lines = FORMATS[asked.format]
            return Export(lines.media_type, head, count, self._lines(asked.format, selection, after), dropped)
        chunks = _behind(bundle.Bundle(self.source, selection, around), asked.offset, asked.sha256)
        return Export(bundle.MEDIA_TYPE, head, count, chunks, dropped, later)

    async def _head(self, asked: ExportRequest) -> Head:
        """Of a bundle: the newest checkpoint that enough witnesses cosigned and that covers what is asked for, where
        there is one and nothing else was asked. Else of all that is in the log now, with the cosignatures it has."""
        heads = Heads(self.log, self.source)
        if asked.tree_size is None:
            if asked.format is not Format.BUNDLE or asked.uncosigned:
                return await heads.newest()
            end = asked.first if asked.end is None else asked.end
            return await heads.cosigned(max(end, *asked.kept, 0), asked.wait_seconds)
        if not asked.checkpoint:
            return await heads.of_size(asked.tree_size)
        try:
            return await heads.pinned(asked.tree_size, asked.checkpoint)
        except NoteInvalid as exc:
            raise Refused(Reason.REQUEST_CONFLICT, exc.detail, **because(Conflict.EXPORT_OTHER)) from None

    async def _later(self, asked: ExportRequest, head: Head) -> int:
        """How many entries that were asked for stand behind the checkpoint."""
        if asked.end is not None or asked.tree_size is not None or head.log_size == head.tree_size:
            return 0
        behind = Selection(asked.wanted, head.tree_size, head.log_size, head.log_size)
        return await at_length(self.source.count, behind)

    async def _lines(self, kind: Format, selection: Selection, after: int) -> AsyncIterator[bytes]:
        lines = FORMATS[kind]
        if after < 0 and lines.head:
            yield lines.head

        def page(after: int) -> tuple[int, bytes, bool]:
            found = self.source.page(selection, after, PAGE)
            return found[-1].index if found else after, b"".join(map(lines.line, found)), len(found) == PAGE

        more = True
        while more:
            after, raw, more = await at_length(page, after)
            if raw:
                yield raw

    async def _around(self, asked: ExportRequest, principal: Principal, head: Head, later: int) -> bundle.Around:
        keys, history = self.trust(), await self.history()
        while keys != (now := self.trust()):  # a key changed in between, and the two must say the same
            keys, history = now, await self.history()
        if asked.keys_sha256 and asked.keys_sha256 != bundle.keys_sha256(keys, history):
            raise Refused(Reason.REQUEST_CONFLICT, "begun with other keys", **because(Conflict.EXPORT_KEYS))
        return bundle.Around(
            origin=self.log.origin,
            by=principal.pseudonym,
            head=head,
            later=later,
            keys=keys,
            history=history,
            controls=self.controls,
            receipts=self._receipts,
            # A policy bundle grants to every tenant; the gateway's own shows it to no other (``Lifecycle.require``).
            policy=self._policy if principal.tenant == DEFAULT_TENANT else _no_policy,
            payloads=self.log.reads if asked.payloads else None,
            sign=lambda claims: self.signer.sign(Purpose.RECEIPT, Typ.EXPORT, claims),
            kept=asked.kept,
            now=int(self.clock()),
        )

    async def _receipts(self, page: Sequence[StoredEntry]) -> Sequence[str]:
        about = ((stored.index, orjson.loads(stored.body)) for stored in page)
        named = [(index, entry["plan_id"]) for index, entry in about if "plan_id" in entry and "step_id" in entry]
        return await self.receipts.naming(named)

    async def _policy(self, digest: str) -> Mapping[str, str] | None:
        """The files of a bundle that is still at hand and is what its digest says."""
        try:
            kept = await self.bundles.get(digest)
            if kept is not None:
                return {path: raw.decode() for path, raw in kept.signed.contents.items()}
            if self.directory is not None:
                files = await asyncio.to_thread(read, self.directory)
                if assemble(files).digest == digest:
                    return {path: raw.decode() for path, raw in files.items()}
        except HandrailError as error:
            _log.warning("a policy bundle stays out of an export", digest=digest, detail=error.detail)
        return None


def _selection(asked: ExportRequest, principal: Principal, size: int) -> Selection:
    end = size if asked.end is None else asked.end
    if not 0 <= asked.first <= end <= size:
        raise Malformed("range", parameter="end", expected=f"from first up to {size}, the size of the log")
    kept = [one for one in asked.kept if not 0 < one <= size]
    if kept or len(asked.kept) > bundle.KEPT_MAX:
        raise Malformed("kept", parameter="kept", expected=f"at most {bundle.KEPT_MAX} sizes from 1 to {size}")
    changes = asked.format is Format.BUNDLE and principal.tenant == DEFAULT_TENANT
    return Selection(asked.wanted, asked.first, end, size, key_changes=changes)


async def _behind(made: bundle.Bundle, offset: int, sha256: str) -> AsyncIterator[bytes]:
    """What comes after the first ``offset`` bytes, where these are the ones that the reader has.

    Raises:
        Refused: ``request.conflict`` where they are not: something of them was erased or dropped, a key has changed
            meanwhile, or they reach into the manifest, which is of now.
    """
    left, digest = offset, hashlib.sha256()
    async for chunk in made.content():
        if not left:
            yield chunk
            continue
        passed = chunk[:left]
        digest.update(passed)
        left -= len(passed)
        if not left:
            _same(digest.hexdigest(), sha256)
            if len(passed) < len(chunk):
                yield chunk[len(passed) :]
    if left:
        detail = "the content is shorter than what the reader has"
        raise Refused(Reason.REQUEST_CONFLICT, detail, **because(Conflict.EXPORT_ENDING))
    async for chunk in made.ending():
        yield chunk


def _same(found: str, expected: str) -> None:
    if found != expected:
        raise Refused(Reason.REQUEST_CONFLICT, "other bytes", **because(Conflict.EXPORT_OTHER))


async def _no_policy(_digest: str) -> None:
    return None


_FILES: Final = {Format.BUNDLE: "evidence.tar", Format.CSV: "entries.csv"}


def file_name(kind: Format) -> str:
    """What a browser calls the file."""
    return _FILES.get(kind, f"{kind}.ndjson")
