"""One group commit: many appends, one transaction, one move of the head.

    1 build      canonical entries (no database yet); a draft that cannot be an entry fails alone
    2 lock       the head row; if another writer moved it, what it wrote, and the tree's right edge again; whoever
                 decided by less than that is refused
    3 guards     names that are somebody's; then all inserts at once; where one conflicts, each alone in a savepoint
    4 finalise   with the indices, for rows that name them
    5 insert     entries with the subtrees they close, sealed payloads, then the callers' rows grouped by statement
    6 head       UPDATE ... WHERE tree_size = the size that was read
    7 claim      nobody who gave up waiting may be written
    8 commit

Until 8 nothing is decided: a redo starts again at 2, so guards and ``finalise`` may run more than once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from audit.database import is_conflict
from audit.driver import BulkInsert, Driver, Statements
from audit.entry import COLUMNS, Built, build
from audit.errors import AuditError, LogMisconfigured, LogUnavailable
from audit.job import Job
from audit.merkle import EMPTY_ROOT, Frontier
from audit.others import Others
from audit.reader import load_frontier
from audit.rows import pass_guards, translated
from audit.rows import write as write_rows
from audit.sealing import Sealed, Sealer
from audit.session import Session, describe, is_lost, is_outage
from audit.tables import checkpoints, data_keys, entries, head, key_buckets, payload_keys, payloads
from gateway.commitments import Committed
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Outdated, Overtaken
from gateway.model import DEFAULT_TENANT
from gateway.ports import Write
from gateway.reasons import Reason
from gateway.times import format_time

_REDO_MAX: Final = 20

Result = TypeVar("Result")


class _Redo(Exception):
    """Roll back and start the transaction again with the jobs that are left."""


class Committer:
    """The database side of the writer. Belongs to one thread.

    Args:
        claim: called right before COMMIT with the jobs about to become durable; ``False`` where one of them was
            abandoned meanwhile. After ``True`` the outcome of a job nobody heard of is uncertain.
        abandoned: whether nobody waits for a job any more.
        others: to be told what other writers appended.
    """

    def __init__(
        self,
        engine: Engine,
        origin: str,
        gateway_id: str,
        controls: Mapping[EntryType, tuple[str, ...]],
        sealer: Sealer,
        claim: Callable[[Sequence[Job]], bool],
        abandoned: Callable[[Job], bool],
        others: Others,
    ) -> None:
        self._session = Session(engine)
        self._others = others
        self._origin = origin
        self._gateway_id = gateway_id
        self._controls = controls
        self._sealer = sealer
        others.on_forgetting(sealer.forget)
        self._claim = claim
        self._abandoned = abandoned
        self._edge: Frontier | None = None
        self._seen = Frontier()
        dialect = engine.dialect
        self._statements = Statements(dialect)
        self._insert_head = BulkInsert(dialect, head, ("id", "tree_size", "root", "origin"), "ON CONFLICT DO NOTHING")
        self._insert_entries = BulkInsert(dialect, entries, ("idx", *COLUMNS, "reasons", "body", "hashes", "fields"))
        self._insert_keys = BulkInsert(
            dialect, data_keys, ("key_id", "tenant", "subject", "bucket", "wrapped", "created_at")
        )
        self._insert_buckets = BulkInsert(dialect, key_buckets, ("bucket", "epoch", "wrapped", "created_at"))
        self._insert_payloads = BulkInsert(
            dialect,
            payloads,
            ("commitment", "tenant", "key_id", "owners", "sealed", "idx", "created_at"),
            "ON CONFLICT (commitment) DO NOTHING",  # several entries may commit to one value: it is stored once
        )
        self._insert_owners = BulkInsert(dialect, payload_keys, ("commitment", "key_id"), "ON CONFLICT DO NOTHING")
        self._insert_checkpoint = BulkInsert(dialect, checkpoints, ("tree_size", "note"))
        mark = "?" if dialect.paramstyle == "qmark" else "%s"
        lock = " FOR UPDATE" if dialect.name == "postgresql" else ""
        self._lock_head = f"SELECT tree_size, root, origin FROM {head.name} WHERE id = 1{lock}"  # noqa: S608
        self._stored = f"SELECT tree_size FROM {checkpoints.name} WHERE tree_size = {mark}"  # noqa: S608
        self._move_head = (
            f"UPDATE {head.name} SET tree_size = {mark}, root = {mark} WHERE id = 1 AND tree_size = {mark}"  # noqa: S608
        )

    @property
    def connection(self) -> Connection | None:
        """The open connection, where there is one."""
        return self._session.connection

    @property
    def size(self) -> int:
        """Entries in the log as far as this writer knows."""
        return 0 if self._edge is None else self._edge.size

    def write(self, jobs: Sequence[Job], now: float) -> None:
        """Make ``jobs`` durable together; one job's fault settles that job alone.

        Raises:
            LogUnavailable: for every job that is not settled; nothing of those is durable.
            LogUncertain: for every job that is not settled.
        """
        time = format_time(now)
        for job in jobs:
            self._build(job, time)
        reconnected = False
        for _ in range(_REDO_MAX):
            live = [job for job in jobs if not job.settled and not self._abandoned(job)]
            if not live:
                return
            try:
                self._attempt(live, now, time)
            except _Redo:
                continue
            except LogUnavailable:
                raise
            except SQLAlchemyError as exc:
                if not is_outage(exc):
                    self._isolate(live, now, exc)
                    return
                self.drop()
                if is_lost(exc) and not reconnected:
                    reconnected = True
                elif not is_conflict(exc):
                    raise LogUnavailable(describe(exc)) from exc
            except Exception as exc:  # noqa: BLE001 - a value that driver or sealer cannot take is one job's fault
                self._isolate(live, now, exc)
                return
            else:
                return
        raise LogUnavailable("the batch did not settle")

    def probe(self) -> None:
        """An append without entries: lock, write, commit. Raises as :meth:`write`."""

        def touch(connection: Connection, driver: Driver) -> None:
            edge = self._load_head(connection, driver)
            self._move(driver, edge, edge)

        self.transact(touch)

    def ready(self) -> None:
        """Whether an append would succeed now: :meth:`probe`, and room for it, which a probe does not need."""
        self.probe()
        self._session.require_room()

    def checkpoint(self, sign: Callable[[int, bytes], str]) -> tuple[int, str]:
        """Sign the committed head and store it; returns its size and the note. Raises as :meth:`write`.

        It is signed between two transactions: a key in a service takes its time, and other writers do not wait for it.
        """
        edge = self.transact(self._load_head)
        note = sign(edge.size, edge.root())

        def store(connection: Connection, driver: Driver) -> None:
            self._load_head(connection, driver)  # writers of checkpoints take turns
            if not driver.fetch(self._stored, (edge.size,)):
                self._insert_checkpoint.execute(driver, [(edge.size, note)])

        self.transact(store)
        return edge.size, note

    def transact(self, work: Callable[[Connection, Driver], Result]) -> Result:
        """Run ``work`` in a transaction of the writer's own connection, durably. Raises as :meth:`write`."""
        for attempt in (1, 2):
            connection, driver = self._session.open()
            try:
                connection.begin()
                result = work(connection, driver)
            except BaseException as exc:
                self._roll_back(exc)
                if isinstance(exc, _Redo) or (isinstance(exc, SQLAlchemyError) and is_lost(exc) and attempt == 1):
                    continue
                if isinstance(exc, SQLAlchemyError):
                    raise LogUnavailable(describe(exc)) from exc
                raise
            self._session.commit()
            return result
        raise LogUnavailable("the head moved twice")

    def drop(self) -> None:
        """Forget the connection and what was read through it; the next use connects anew."""
        self._edge = None
        self._session.drop()

    # --- the steps ---------------------------------------------------------------------------------------------------

    def _build(self, job: Job, time: str) -> None:
        if not job.built:
            try:
                job.built = [self._entry(draft, time) for draft in job.item.entries]
            except HandrailError as exc:
                job.failure = exc
            except Exception as exc:  # noqa: BLE001 - an ill-typed draft must not touch the other appends
                job.failure = translated(exc, "a draft")

    def _entry(self, draft: EntryDraft, time: str) -> Built:
        return build(
            draft, time=time, origin=self._origin, gateway=self._gateway_id, controls=self._controls[draft.type]
        )

    def _attempt(self, live: list[Job], now: float, time: str) -> None:
        connection, driver = self._session.open()
        try:
            connection.begin()
            before = self._load_head(connection, driver)
            outdated = [job for job in live if not self._others.all_in_step(job.item.rests_on)]
            sound = [job for job in live if job not in outdated] if outdated else live
            sound, taken = self._without_taken(driver, sound)
            accepted, refusals = pass_guards(connection, driver, self._statements, sound)
            refusals.update(taken)
            refusals.update((job, Outdated()) for job in outdated)
            if accepted:
                edge = before.copy()
                opening = [] if edge.size else [self._entry(EntryDraft(EntryType.LOG_OPENED, DEFAULT_TENANT), time)]
                indices = _assign(accepted, edge.size + len(opening))
                writes = self._finalise(accepted, indices)
                self._insert_tree(driver, edge, opening + [built for job in accepted for built in job.built])
                namings = [one for job in accepted for one in job.item.namings]
                sealed = self._sealer.seal(driver, _committed(accepted, indices), now, namings)
                self._insert_sealed(driver, sealed)
                _require_not_overtaken(connection, accepted, indices)
                write_rows(driver, self._statements, writes)
                self._move(driver, before, edge)
                if not self._claim(accepted):
                    raise _Redo
        except BaseException as exc:
            self._roll_back(exc)
            raise
        if accepted:
            self._session.commit()
            self._edge = self._seen = edge
            self._others.own(edge.size)
            self._sealer.remember(sealed)
            self._others.told({draft.type for job in accepted for draft in job.item.entries}, edge.size)
            for job in accepted:
                job.indices, job.durable = indices[job], True
        else:
            self._roll_back(None)
        for job, refusal in refusals.items():
            job.refusal = refusal

    def _without_taken(self, driver: Driver, live: list[Job]) -> tuple[list[Job], dict[Job, HandrailError]]:
        """The jobs that give no name that is somebody's, and why the others are refused."""
        if not any(job.item.namings for job in live):
            return live, {}
        taken = self._sealer.taken(driver, [one for job in live for one in job.item.namings])
        refusals = {}
        for job in live:
            for naming in job.item.namings:
                if naming in taken:
                    try:
                        naming.on_taken()
                    except Exception as exc:  # noqa: BLE001 - a caller's callback: its fault must not touch the others
                        refusals[job] = translated(exc, "on_taken")
        return [job for job in live if job not in refusals], refusals

    def _load_head(self, connection: Connection, driver: Driver) -> Frontier:
        self._session.require_in_place()
        try:
            rows = driver.fetch(self._lock_head)
        except ProgrammingError as exc:
            raise LogMisconfigured(describe(exc)) from exc
        size, root, origin = rows[0] if rows else (0, b"", "")
        self._require_seen(connection, size)
        if not rows:
            self._make_head(connection, driver)
            self._edge = Frontier()
        elif origin != self._origin:
            raise LogMisconfigured(f"the database holds the log {origin}")
        elif self._edge is None or self._edge.size != size:
            edge = load_frontier(connection, size)
            if edge.root() != root:
                raise LogMisconfigured("the head does not match the stored tree: run fsck")
            self._others.look(driver, size)  # only now: a head that is not true would count as others' entries
            self._edge = edge
        self._seen = self._edge or Frontier()
        return self._seen

    def _make_head(self, connection: Connection, driver: Driver) -> None:
        """The first writer of a database makes its head. Of several that start together one does, and the others wait
        for its commit and then find that head."""
        if not self._insert_head.execute(driver, [(1, 0, EMPTY_ROOT, self._origin)]):
            raise _Redo
        if connection.execute(select(entries.c.idx).limit(1)).first() is not None:
            raise LogMisconfigured("the head row is gone but entries exist: run fsck")

    def _require_seen(self, connection: Connection, size: int) -> None:
        """Once for each connection: the log still holds what it held through an earlier one. It would not after a
        fail-over to a copy that lags, or over a database that was put back.
        """
        if self._session.vouched:
            return
        if size < self._seen.size:
            raise LogMisconfigured(f"the log has {size} entries and had {self._seen.size}")
        if self._seen.size and load_frontier(connection, self._seen.size).root() != self._seen.root():
            raise LogMisconfigured(f"another log: its first {self._seen.size} entries are not those that were here")
        self._session.vouched = True

    def _finalise(self, accepted: list[Job], indices: Mapping[Job, Sequence[int]]) -> list[Write]:
        writes: list[Write] = []
        failed = False
        for job in accepted:
            writes.extend(job.item.writes)
            if job.item.finalise is not None:
                try:
                    writes.extend(job.item.finalise(indices[job]))
                except Exception as exc:  # noqa: BLE001 - a caller's callback: its fault must not touch the others
                    job.failure, failed = translated(exc, "finalise"), True
        if failed:
            raise _Redo  # the others' indices change
        return writes

    def _insert_tree(self, driver: Driver, edge: Frontier, built: list[Built]) -> None:
        rows = []
        for one in built:
            index, closed = edge.size, edge.append(one.leaf)
            rows.append((index, *one.columns, one.reasons, one.body, b"".join((one.leaf, *closed)), one.fields))
        try:
            self._insert_entries.execute(driver, rows)
        except IntegrityError as exc:
            raise LogMisconfigured("rows exist beyond the head: run fsck") from exc

    def _insert_sealed(self, driver: Driver, sealed: Sealed) -> None:
        self._insert_buckets.execute(driver, [astuple(row) for row in sealed.bucket_rows])
        self._insert_keys.execute(driver, sealed.key_rows)
        self._insert_payloads.execute(driver, sealed.payload_rows)
        self._insert_owners.execute(driver, sealed.owner_rows)

    def _move(self, driver: Driver, old: Frontier, new: Frontier) -> None:
        if driver.execute(self._move_head, (new.size, new.root(), old.size)) != 1:
            raise _Redo

    def _isolate(self, live: list[Job], now: float, error: Exception) -> None:
        """Somebody's rows do not fit: find out whose by committing each job alone."""
        if len(live) == 1:
            live[0].failure = (
                error if isinstance(error, HandrailError) else AuditError(Reason.INTERNAL, describe(error))
            )
            return
        for job in live:
            self.write([job], now)

    # --- the connection ----------------------------------------------------------------------------------------------

    def _roll_back(self, cause: BaseException | None) -> None:
        self._edge = None
        self._session.roll_back(cause)


def _require_not_overtaken(connection: Connection, accepted: Iterable[Job], indices: Mapping[Job, range]) -> None:
    """Refuse those whose ``Append.unless`` finds something. One too many is harmless: it looks again."""
    overtaken = False
    for job in accepted:
        for one in job.item.unless:
            if connection.execute(one.query, {**one.parameters, "before": indices[job].start}).first() is not None:
                job.refusal, overtaken = Overtaken(), True
                break
    if overtaken:
        raise _Redo  # the others' indices change


def _assign(jobs: Iterable[Job], first: int) -> dict[Job, range]:
    indices: dict[Job, range] = {}
    for job in jobs:
        indices[job] = range(first, first + len(job.built))
        first += len(job.built)
    return indices


def _committed(jobs: Iterable[Job], indices: Mapping[Job, Sequence[int]]) -> Iterator[tuple[str, Committed, int]]:
    for job in jobs:
        for draft, index in zip(job.item.entries, indices[job], strict=True):
            for committed in draft.fields.values():
                yield draft.tenant, committed, index
