"""That the log was verified, put on record by whoever verified it: next to a running gateway, or without one.

It needs no key: the entry seals nothing, and no checkpoint is signed here. The gateway signs the next one, so that a
copy of a log on which somebody runs this by mistake never gets a signature that contradicts the original.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Engine

from audit import controls
from audit.committer import Committer
from audit.driver import Driver
from audit.errors import LogUnavailable, SealBroken
from audit.job import Job
from audit.others import Others
from audit.sealing import Sealed, Sealer
from gateway.commitments import Committed
from gateway.entries import EntryDraft, EntryType
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append, Naming


def record_verification(
    engine: Engine,
    origin: str,
    gateway_id: str,
    now: float,
    *,
    size: int,
    findings: int,
    signatures: bool,
    kept: int,
    payloads: bool,
) -> int:
    """Append the entry, and return its index.

    Args:
        gateway_id: of the gateway in whose home it was done.
        now: seconds since the epoch.
        size: entries that were looked at.
        findings: faults that were found.
        signatures: whether those of checkpoints were checked.
        kept: kept checkpoints that were compared.
        payloads: whether sealed values were opened.

    Raises:
        LogUnavailable: the database cannot be written, holds another log, or has a tree that does not fit its head.
    """
    facts = {
        "size": size,
        "findings": findings,
        "signatures": int(signatures),
        "kept": kept,
        "payloads": int(payloads),
    }
    job = Job(Append([EntryDraft(EntryType.LOG_VERIFIED, DEFAULT_TENANT, facts=facts)]))
    committer = Committer(
        engine,
        origin,
        gateway_id,
        controls.shipped().ids,
        _NothingToSeal(),
        lambda _jobs: True,
        lambda _job: False,
        Others(engine.dialect),
    )
    try:
        committer.write([job], now)
    finally:
        committer.drop()
    if job.failure is not None:
        raise job.failure
    if not job.durable:
        raise LogUnavailable("the entry was not written")
    return job.indices[0]


class _NothingToSeal(Sealer):
    """Of a writer without keys, whose entries hold nothing personal."""

    def __init__(self) -> None:
        """Nothing is opened."""

    def seal(
        self,
        driver: Driver,  # noqa: ARG002
        values: Iterable[tuple[str, Committed, int]],
        now: float,  # noqa: ARG002
        namings: Sequence[Naming] = (),
    ) -> Sealed:
        """No rows; raises ``SealBroken`` for a value or a name."""
        if namings or any(True for _ in values):
            raise SealBroken("there is no key to seal with")
        return Sealed()

    def remember(self, sealed: Sealed) -> None:
        """Nothing is kept."""

    def forget(self) -> None:
        """There is nothing to forget."""
