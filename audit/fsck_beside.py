"""What ``fsck`` looks at beside the tree: the inverted index, and the word of witnesses."""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, func, select

from audit import indexing
from audit.checkpoint import KEY_ID_BYTES, note_text, signature_line, signature_lines
from audit.cosignature import WitnessKey, time_of, verified
from audit.errors import NoteInvalid
from audit.findings import Fault, Finding
from audit.postings import BLOCK, differing
from audit.tables import checkpoints, cosignatures, posting_blocks, postings

_TERMS_MAX: Final = 16
"""Terms of one block that are named."""
_COSIGNATURES: Final = (
    select(cosignatures, checkpoints.c.note)
    .join_from(cosignatures, checkpoints, cosignatures.c.tree_size == checkpoints.c.tree_size, isouter=True)
    .order_by(cosignatures.c.tree_size, cosignatures.c.witness, cosignatures.c.key_id, cosignatures.c.time)
)


def index(connection: Connection) -> Iterator[Finding]:
    """Hold the postings of each block against its entries; a term that is missing would hide entries from a query."""
    for kept, due in indexing.stored(connection):
        first, last = kept[0] * BLOCK, (kept[0] + 1) * BLOCK - 1
        if due is None:
            yield Finding(Fault.INDEX, "the index counts entries that are not all there, or not whole", first, last)
            continue
        for _, term in differing(kept[1], due[1])[:_TERMS_MAX]:
            yield Finding(Fault.INDEX, f"the index of {term} does not follow from the entries", first, last)
        if kept[2:] != due[2:]:
            yield Finding(Fault.INDEX, "the index has other times than the entries", first, last)
    strays = select(func.count(postings.c.block.distinct())).where(
        postings.c.block.not_in(select(posting_blocks.c.block))
    )
    if connection.execute(strays).scalar():
        yield Finding(Fault.INDEX, "the index holds postings of a block that it does not count")


def cosigned(connection: Connection, keys: Sequence[WitnessKey]) -> Iterator[Finding]:
    """Hold each cosignature against the stored checkpoint of its size, which the tree was held against: with the key of
    its witness all of it, else that it is one of that witness and time.
    """
    for row in connection.execute(_COSIGNATURES):
        label = f"the cosignature of {row.witness} over size {row.tree_size}"
        if row.note is None:
            yield Finding(Fault.COSIGNATURE, f"{label}: there is no checkpoint of that size")
            continue
        try:
            [(name, blob)] = signature_lines(row.line)
            said = (name, blob[:KEY_ID_BYTES].hex(), time_of(name, blob), signature_line(name, blob))
            if said != (row.witness, row.key_id, row.time, row.line):
                yield Finding(Fault.COSIGNATURE, f"{label}: its line is of another witness or time")
                continue
            verified(note_text(row.note), [(name, blob)], keys)
        except (NoteInvalid, ValueError, TypeError, AttributeError) as exc:
            detail = exc.detail if isinstance(exc, NoteInvalid) else "not one signature line"
            yield Finding(Fault.COSIGNATURE, f"{label}: {detail}")
