"""Under which checkpoint a bundle is made.

Where witnesses cosign the log, the newest checkpoint of all has no word of theirs yet; evidence is better under the
newest that enough of them cosigned, and what came after it is left out and counted. An export that is gone on with
brings the checkpoint that it began with, because by then there may be further cosignatures of the same size.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from audit.checkpoint import note_text, parse_checkpoint, signature_lines
from audit.cosignature import verified
from audit.errors import NoteInvalid
from audit.export.source import LogSource
from audit.log import Log
from audit.threads import at_length

_LOOK_SECONDS: Final = 0.5
"""How often it is looked whether witnesses have cosigned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A checkpoint that a bundle is made under.

    Attributes:
        note: the signed note, with its cosignatures.
        cosignatures: how many witnesses cosigned it; of whom ``needed`` are enough, or 0 where none is asked.
        log_size: how many entries the log had when this was chosen; ``tree_size`` of them are under it.
    """

    tree_size: int
    note: str
    cosignatures: int
    needed: int
    log_size: int


class Heads:
    """Chooses checkpoints. Every method raises ``LogUnavailable``."""

    def __init__(self, log: Log, source: LogSource) -> None:
        self._log = log
        self._source = source

    async def newest(self) -> Head:
        """Of everything that is in the log now, with the cosignatures that it has."""
        return await self._attached(*await self._log.signed_head())

    async def cosigned(self, least: int, wait_seconds: float = 0.0) -> Head:
        """The newest that enough witnesses cosigned, where one covers the first ``least`` entries; else
        :meth:`newest`.

        Args:
            wait_seconds: how long to wait for one that covers everything that is in the log now.
        """
        needed = self._log.cosigned.quorum.needed
        size, note = await self._log.signed_head()
        deadline = asyncio.get_running_loop().time() + wait_seconds
        while needed:
            waiting = asyncio.get_running_loop().time() < deadline
            found = await at_length(self._log.cosigned.newest, needed, (size if waiting else max(least, 1)) - 1)
            if found is not None:
                return Head(
                    tree_size=found.tree_size,
                    note=found.note,
                    cosignatures=len(found.cosignatures),
                    needed=needed,
                    log_size=max(size, found.tree_size),
                )
            if not waiting:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return await self._attached(size, note)

    async def of_size(self, tree_size: int) -> Head:
        """The stored checkpoint of exactly that size. Raises ``NotLogged``."""
        note = await at_length(self._source.checkpoint, tree_size)
        return await self._attached(tree_size, note)

    async def pinned(self, tree_size: int, note: str) -> Head:
        """The checkpoint of that size with the cosignatures that somebody brings back.

        Raises:
            NotLogged: none was stored.
            NoteInvalid: it is not the stored one, or what stands under it is not what known witnesses signed.
        """
        stored = await at_length(self._source.checkpoint, tree_size)
        if not note.startswith(stored):
            raise NoteInvalid("not the checkpoint of that size")
        lines = note[len(stored) :]
        found = verified(note_text(stored), signature_lines(lines), self._log.cosigned.quorum.keys) if lines else []
        witnesses = {(one.witness, one.key_id) for one in found}
        if "".join(one.line for one in found) != lines or len(witnesses) != len(found):
            raise NoteInvalid("not what witnesses of this log signed, each once")
        return await self._head(tree_size, note, len(found))

    async def _attached(self, size: int, note: str) -> Head:
        found = await at_length(self._log.cosigned.attach, size, note)
        return await self._head(size, found.note, len(found.cosignatures))

    async def _head(self, size: int, note: str, cosignatures: int) -> Head:
        whole, _ = await at_length(self._log.reader.head)
        needed = self._log.cosigned.quorum.needed
        return Head(
            tree_size=parse_checkpoint(note_text(note)).tree_size,
            note=note,
            cosignatures=cosignatures,
            needed=needed,
            log_size=max(size, whole),
        )
