"""What ``fsck`` looks at beside the tree: sealed values, and the inverted index."""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, func, select

from audit import indexing
from audit.buckets import open_bucket
from audit.epochs import EpochKeys
from audit.errors import SealBroken
from audit.findings import Fault, Finding
from audit.postings import BLOCK, differing
from audit.sealing import OPENING, Opener, unseal
from audit.tables import entries, key_buckets, posting_blocks, postings
from audit.tables import payloads as table
from audit.wrapping import every_epoch

_CHUNK: Final = 512
"""Values opened at a time."""
_TERMS_MAX: Final = 16
"""Terms of one block that are named."""


def payloads(connection: Connection, epochs: EpochKeys) -> Iterator[Finding]:
    """Hold each value that can be opened against its commitment."""
    opener = Opener(epochs)
    statement = OPENING.order_by(table.c.commitment).limit(_CHUNK)
    after = ""
    while True:
        rows = connection.execute(statement.where(table.c.commitment > after)).all()
        for row in rows:
            commitment = row.commitment
            try:
                key = opener.ciphers(connection, [row]).get(commitment)
                if key is not None:  # a key of it was destroyed: erased, as it should be
                    unseal(key, commitment, row.sealed)
            except SealBroken as exc:
                found = connection.execute(
                    select(entries.c.idx).where(entries.c.fields.contains(commitment)).order_by(entries.c.idx).limit(1)
                ).scalar()
                yield Finding(Fault.PAYLOAD, exc.detail, found, found)
        if len(rows) < _CHUNK:
            break
        after = rows[-1].commitment
    every = {epoch.name: epoch for epoch in every_epoch(epochs)}
    for row in connection.execute(select(key_buckets).order_by(key_buckets.c.bucket)).all():
        try:
            open_bucket(row, every)
        except SealBroken as exc:
            yield Finding(Fault.PAYLOAD, exc.detail, None, None)


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
