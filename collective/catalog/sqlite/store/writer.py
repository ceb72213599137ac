"""The one writer: many queued changes share one COMMIT.

Owns the writing connection and the pool of one worker that alone touches it.  What is queued while a
batch is under way forms the next one.  Invariants: a caller is answered only after the COMMIT
that holds its change; a change that raises leaves nothing, unless its error says that it may have;
the commit sequence rises with every COMMIT that changed anything.

A savepoint costs a tenth of what a change costs (ADR 21).  So the changes of a batch have none, until one raises
that has written something: then the batch is rolled back and run again, each change in a savepoint.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import apsw

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.catalog.decisions.changes import Touched
from collective.catalog.sqlite.audit.writing import write_row
from collective.catalog.sqlite.changes.change_notifier import ChangeNotifier
from collective.catalog.sqlite.store.counting import settle
from collective.catalog.sqlite.store.custody import Custody
from collective.catalog.sqlite.store.rows import load_grants
from collective.core.clock import Clock
from collective.core.disk_errors import DiskFailedError, DiskFullError, DiskReadOnlyError
from collective.core.errors import (
    BusyError,
    CollectiveError,
    CorruptionError,
    DataDirError,
    InternalError,
    OperatorError,
)
from collective.core.world import Pool
from collective.model.calls import Call

T = TypeVar("T")

BATCH_MAX_OPERATIONS = 256
BATCH_MAX_S = 0.025
"""Work after which a batch is committed; the rest waits for the next."""
WARY_BATCHES: Final = 16
"""Batches with savepoints after one that had to be run again: where many changes fail, few run twice."""
STEP_MAX_S = 0.010
"""Work after which an operation on many items leaves the rest to another transaction."""
RUN_AGAIN_MAX_S: Final = 0.040
"""Work of both runs after which a batch that is run again is committed: one more step makes it 50 ms."""


@dataclass(slots=True)
class Counters:
    """The counting columns of ``state``: kept here, written once with every COMMIT."""

    sequence: int
    next_version: int
    next_generation: int
    files: int
    file_bytes: int
    chunks: int


@dataclass(slots=True)
class Deltas:
    """What is added to the counters by operations that succeed."""

    files: int = 0
    file_bytes: int = 0
    chunks: int = 0
    doubts: int = 0
    """Nodes that it put in doubt."""

    def add(self, more: Deltas) -> None:
        """Count ``more`` as well."""
        self.files += more.files
        self.file_bytes += more.file_bytes
        self.chunks += more.chunks
        self.doubts += more.doubts


class Transaction:
    """What one operation may use, on the writer's thread."""

    def __init__(
        self, db: apsw.Connection, clock: Clock, counters: Counters, book: GrantBook
    ) -> None:
        """Begin with the state after the operations before it."""
        self.db = db
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self.now_s = clock.wall_s()
        self.now_ms = int(self.now_s * 1000)
        self.deltas = Deltas()
        self.book = book
        self._counters = counters
        self._endings: list[Callable[[bool], None]] = []
        self.touched: list[Touched] = []
        """Names that this changed, for those who watch."""

    def at_end(self, function: Callable[[bool], None]) -> None:
        """Have ``function`` called on the writer's thread once this is durable, or undone (False)."""
        self._endings.append(function)

    def end(self, *, durable: bool) -> None:
        """Call what :meth:`at_end` collected."""
        for function in self._endings:
            function(durable)

    @property
    def is_spent(self) -> bool:
        """Whether this has worked for as long as an operation on many items may hold the writer."""
        return self._clock.monotonic_s() - self._began_s >= STEP_MAX_S

    def unspent(self, items: Iterable[T]) -> Iterator[T]:
        """Yield ``items`` until this is spent, the first one always.

        A clock may stand still meanwhile, so the number of items is to be bounded as well.
        """
        for item in items:
            yield item
            if self.is_spent:
                return

    def run(self, sql: str, *params: Any) -> apsw.Cursor:
        """Execute one statement.

        One with RETURNING goes through :meth:`all`: until it is read to its end, no change is counted.
        """
        return self.db.execute(sql, params)

    def one(self, sql: str, *params: Any) -> Any:
        """Return the first row as a tuple, or None."""
        return self.db.execute(sql, params).fetchone()

    def all(self, sql: str, *params: Any) -> list[Any]:
        """Return all rows."""
        return self.db.execute(sql, params).fetchall()

    def value(self, sql: str, *params: Any) -> Any:
        """Return the first column of the first row, or None."""
        row = self.db.execute(sql, params).fetchone()
        return None if row is None else row[0]

    def next_version(self) -> int:
        """Return a version number never used before."""
        self._counters.next_version += 1
        return self._counters.next_version - 1

    @property
    def has_versions(self) -> bool:
        """Whether a file was ever committed."""
        return self._counters.next_version > 1

    @property
    def given_generations(self) -> int:
        """The generation that is given out next: all below it were given out, or left out."""
        return self._counters.next_generation

    def next_generation(self) -> int:
        """Return a copy generation never used before."""
        self._counters.next_generation += 1
        return self._counters.next_generation - 1

    def skip_numbers(self, generations: int, versions: int) -> None:
        """Leave out numbers that a lost future of this catalogue may have used."""
        self._counters.next_generation += generations
        self._counters.next_version += versions

    def decider(self, caller: Call) -> Decider:
        """Return the decisions for ``caller`` as of this transaction."""
        return Decider(caller, self.book, self.now_s)

    def audit(self, caller: Call, action: str, target: str, detail: str = "") -> None:
        """Write the audit row of this change."""
        self.audit_of(str(caller.principal), action, target, detail, caller.request_id)

    def audit_of(
        self,
        actor: str,
        action: str,
        target: str,
        detail: str,
        request_id: str = "",
        *,
        row: int | None = None,
    ) -> int:
        """Write the audit row of what ``actor`` did, who need be no caller; see :func:`write_row`."""
        return write_row(self.db, self.now_ms, actor, action, target, detail, request_id, row=row)


Operation = Callable[[Transaction], T]


class StepsFirstError(Exception):
    """Raised by an operation before which so much is to be done that it would hold the writer.

    Nothing of the operation stays.  Who handed it in does the steps, and hands it in again.
    """

    def __init__(
        self,
        items: Sequence[Any],
        step: Callable[[Transaction, Sequence[Any]], Sequence[object]],
        most: int,
    ) -> None:
        """Take what ``Engine.change_each`` takes."""
        super().__init__("steps come first")
        self.items = items
        self.step = step
        self.most = most


@dataclass(slots=True)
class _Job:
    operation: Callable[[Transaction], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    queued_s: float
    result: Any = None
    error: BaseException | None = None
    transaction: Transaction | None = None

    def undo(self) -> None:
        """Be as if it had never run."""
        if self.transaction is not None:
            self.transaction.end(durable=False)
        self.result = self.error = self.transaction = None


class _LeftoverError(Exception):
    """A change raised, and what it had written stands among what others wrote."""


@dataclass(slots=True)
class _Ran:
    """What a transaction that is open still has done."""

    tried: int
    """Jobs that have their result or error."""
    book: GrantBook
    deltas: Deltas
    has_changed: bool


class Writer:
    """Queue and group commit."""

    def __init__(
        self, db: apsw.Connection, clock: Clock, pool: Pool, queue_max: int, custody: Custody
    ) -> None:
        """Own ``db``, a migrated writing connection, and ``pool``, which has one worker."""
        self._db = db
        self._custody = custody
        self._clock = clock
        self.pool: Final = pool
        """Where the writing connection is used; others may use it there in turn."""
        self._queue: deque[_Job] = deque()
        self._queue_max = queue_max
        self._queue_lock = threading.Lock()
        self._is_draining = False
        self.book = load_grants(db)
        self._counters = self._load_counters()
        self._is_counting_anew = False
        """Whether what was counted since the last COMMIT was undone."""
        self._wary = 0
        """Batches that are still to have savepoints."""
        self.sequence = self._counters.sequence
        """The last sequence that is durable."""
        self.totals = Deltas()
        """Files, bytes and chunks as of the last COMMIT."""
        self._publish(self.book)
        self.notifier: Final = ChangeNotifier()
        """Told, on the writer's thread, of what became durable."""
        self.doubts = 0
        """How often a node was put in doubt since the start."""
        self.trouble: CollectiveError | None = None
        """Why the last COMMIT that would have changed something did not; None since one did."""
        self._refusal: CollectiveError | None = None
        self._working_since_s: float | None = None
        self.observe: Callable[[str, float], None] = _unobserved
        """Told how long each batch took, in seconds: ``work`` and ``flush``; on the pool."""
        self._closed = False
        self._is_ending = False

    async def write(self, operation: Operation[T]) -> T:
        """Run ``operation`` in a transaction; return its result once it is durable.

        Cancelling the wait withdraws a change that was not begun; one that was is not undone.  Raises what
        the operation raises, BusyError when too many wait, DiskFullError when the disk is full.
        """
        if self._closed:
            raise InternalError("The catalogue is closed; the process is stopping.")
        loop = asyncio.get_running_loop()
        job = _Job(operation, loop, loop.create_future(), self._clock.monotonic_s())
        with self._queue_lock:
            if len(self._queue) >= self._queue_max:
                raise BusyError("The catalogue has too many changes waiting; try again.")
            self._queue.append(job)
            begins = not self._is_draining
            self._is_draining = True
        if begins:
            self.pool.start(self._drain)
        result: T = await job.future
        return result

    def waiting_s(self) -> float:
        """Return for how long the oldest change waits that is not committed yet; 0 for none."""
        with self._queue_lock:
            since_s = self._working_since_s
            if since_s is None and self._queue:
                since_s = self._queue[0].queued_s
        return 0.0 if since_s is None else max(0.0, self._clock.monotonic_s() - since_s)

    def refuse(self, why: CollectiveError) -> None:
        """Write nothing from now on, and tell everybody ``why``; on any thread."""
        self._refusal = self.trouble = why

    def interrupt(self) -> None:
        """Begin nothing more of what waits, and tell those who wait."""
        self._is_ending = True

    async def close(self, finish: Callable[[], None]) -> None:
        """Finish what was accepted, let ``finish`` close the connection, give the thread up; idempotent."""
        if not self._closed:
            self._closed = True
            await self.pool.run_to_end(finish)
            await self.pool.close()

    def _load_counters(self) -> Counters:
        row: Any = self._db.execute(
            "SELECT sequence, next_version, next_generation, files, file_bytes, chunks FROM state"
        ).fetchone()
        return Counters(*row)

    def _publish(self, book: GrantBook) -> None:
        counters = self._counters
        self.totals = Deltas(counters.files, counters.file_bytes, counters.chunks)
        self.book = book
        self.sequence = counters.sequence

    def _drain(self) -> None:
        """Commit batch after batch until nothing waits; on the pool."""
        while batch := self._take():
            self._working_since_s = batch[0].queued_s
            book = self.book
            tried = self._commit(batch)
            self._working_since_s = None
            self._put_back(batch[len(tried) :])
            for done in tried:
                if done.transaction is not None:
                    done.transaction.end(durable=done.error is None)
            _answer(tried)
            self._notify(tried, has_new_rights=self.book is not book)

    def _notify(self, tried: Sequence[_Job], *, has_new_rights: bool) -> None:
        """Wake those who watch what changed durably."""
        if has_new_rights:
            self.notifier.notify_all()
            return
        for done in tried:
            if done.error is None and done.transaction is not None:
                self.notifier.notify(done.transaction.touched)

    def _put_back(self, untried: Sequence[_Job]) -> None:
        """Have what a full batch left out form the next one, before what came later."""
        with self._queue_lock:
            self._queue.extendleft(reversed(untried))

    def _take(self) -> list[_Job]:
        """Return what waits, as much of it as one COMMIT takes; with nothing, the draining ends."""
        with self._queue_lock:
            if not self._queue:
                self._is_draining = False
            return [
                self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX_OPERATIONS))
            ]

    def _commit(self, batch: Sequence[_Job]) -> Sequence[_Job]:
        """Run ``batch`` and commit; return the jobs that have their result or error now.

        The batch closes after :data:`BATCH_MAX_S` of work; each takes one job at least.
        """
        obstacle = self._obstacle()
        if obstacle is not None:
            return _refused(batch, obstacle)
        is_saving = False
        began_s = self._clock.monotonic_s()
        try:
            ran = self._run(batch, began_s)
            if ran.has_changed:
                self._count(ran.deltas)
                self._store_counters()
            worked_s = self._clock.monotonic_s()
            is_saving = ran.has_changed
            self._db.execute("COMMIT")
            if ran.has_changed:
                self._publish(ran.book)
                self.doubts += ran.deltas.doubts
                self.trouble = None
            self.observe("work", worked_s - began_s)
            self.observe("flush", self._clock.monotonic_s() - worked_s)
        except apsw.Error as error:
            self._fail(batch, error, is_saving=is_saving)
            return batch
        return batch[: ran.tried]

    def _run(self, batch: Sequence[_Job], began_s: float) -> _Ran:
        """Run ``batch``, which began at ``began_s``, in a transaction, which stays open."""
        if self._wary > 0:
            self._wary -= 1
            return self._run_all(batch, began_s + BATCH_MAX_S, apart=True)
        try:
            return self._run_all(batch, began_s + BATCH_MAX_S, apart=False)
        except _LeftoverError:
            self._db.execute("ROLLBACK")
        self._is_counting_anew = True
        for job in batch:
            job.undo()
        self._wary = WARY_BATCHES
        return self._run_all(batch, began_s + RUN_AGAIN_MAX_S, apart=True)

    def _run_all(self, batch: Sequence[_Job], until_s: float, *, apart: bool) -> _Ran:
        """Run one job after the other (``apart``: each in a savepoint) in a new transaction.

        None is begun at ``until_s`` or later, but for the first.

        Raises:
            _LeftoverError: a job that is not apart raised, and others before it have written too.
        """
        self._begin()
        ran = _Ran(0, self.book, Deltas(), has_changed=False)
        for job in batch:
            if self._is_ending:
                raise apsw.InterruptError("the process ends")
            if not job.future.cancelled():  # else its caller has gone before it began
                self._run_one(job, ran, apart=apart)
            ran.tried += 1
            if self._clock.monotonic_s() >= until_s:
                break
        return ran

    def _run_one(self, job: _Job, ran: _Ran, *, apart: bool) -> None:
        changes = self._db.total_changes()
        if apart:
            self._db.execute("SAVEPOINT operation")
        done = self._attempt(job, ran.book)
        is_left = self._db.total_changes() != changes
        if done is not None:
            ran.book = done.book
            ran.deltas.add(done.deltas)
            ran.has_changed = ran.has_changed or is_left
        elif apart:
            self._db.execute("ROLLBACK TO operation")
        elif is_left and ran.has_changed:
            raise _LeftoverError
        elif is_left:  # alone so far: its error stands
            self._db.execute("ROLLBACK")
            self._begin()
        if apart:
            self._db.execute("RELEASE operation")

    def _begin(self) -> None:
        if self._is_counting_anew:
            self._counters = self._load_counters()
            self._is_counting_anew = False
        self._db.execute("BEGIN IMMEDIATE")

    def _obstacle(self) -> CollectiveError | None:
        """Return why nothing can be written; None where it can be tried."""
        if self._refusal is not None:
            return self._refusal
        try:
            self._custody.require()
        except DataDirError as error:
            self.trouble = error
            return error
        except OSError as error:
            self.trouble = DiskFailedError(
                f"The catalogue's disk failed ({error.strerror}), nothing was changed; check the disk."
            )
            self.trouble.__cause__ = error
            return self.trouble
        return None

    def _attempt(self, job: _Job, book: GrantBook) -> Transaction | None:
        """Run one job; None where it raised, and may have left something.

        Numbers that it was given are then given to the next: else some of a lost future, left out by it and
        undone, would seem to have been given out here, and a file to have been committed.
        """
        counters = self._counters
        version, generation = counters.next_version, counters.next_generation
        transaction = Transaction(self._db, self._clock, counters, book)
        job.transaction = transaction
        try:
            job.result = job.operation(transaction)
            settle(self._db)
        except apsw.ConstraintError as error:
            job.error = InternalError("The catalogue refused an inconsistent change; see the log.")
            job.error.__cause__ = error
        except apsw.Error:
            raise  # the whole transaction may be gone
        except Exception as error:  # noqa: BLE001 - the edge of the task: it goes to the caller
            job.error = error
        if job.error is None:
            return transaction
        counters.next_version, counters.next_generation = version, generation
        return None

    def _count(self, deltas: Deltas) -> None:
        self._counters.sequence += 1
        self._counters.files += deltas.files
        self._counters.file_bytes += deltas.file_bytes
        self._counters.chunks += deltas.chunks

    def _store_counters(self) -> None:
        counters = self._counters
        self._db.execute(
            "UPDATE state SET sequence = ?, next_version = ?, next_generation = ?, files = ?,"
            " file_bytes = ?, chunks = ?",
            (
                counters.sequence,
                counters.next_version,
                counters.next_generation,
                counters.files,
                counters.file_bytes,
                counters.chunks,
            ),
        )

    def _fail(self, batch: Sequence[_Job], error: apsw.Error, *, is_saving: bool) -> None:
        """Undo the whole transaction and tell everyone in it.

        ``is_saving``: it was the COMMIT that failed, of a transaction that changed something.
        """
        told = translate(error)
        is_undone = self._undo() and (not is_saving or self._write_over())
        if is_saving and not is_undone and isinstance(told, OperatorError):
            told = _uncertain(told)
        if isinstance(told, OperatorError | CorruptionError):
            self.trouble = told
        for job in batch:
            if job.error is None:
                job.error, job.result = told, None

    def _undo(self) -> bool:
        """Roll back; return whether that worked.  The counters are read again before they are used."""
        self._is_counting_anew = True
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except apsw.Error:
            return False
        return True

    def _write_over(self) -> bool:
        """Write over what a failed COMMIT left in the log; return whether nothing of it can come back.

        It may have failed after all of its frames were there, for what pads them or by a flush: the next
        start would take them for committed, though those who asked heard that nothing was.  The one
        frame written here goes where its first one began.  There is no room for it only where there
        was none for that.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE state SET sequence = sequence + 1")
            self._db.execute("COMMIT")
        except apsw.FullError:
            return self._undo()
        except apsw.Error:
            self._undo()
            return False
        return True


def _uncertain(told: OperatorError) -> CollectiveError:
    """Return ``told`` for a change of which nobody knows whether it is there."""
    what = "is read-only" if isinstance(told, DiskReadOnlyError) else "failed"
    kind = type(told) if isinstance(told, DiskReadOnlyError) else DiskFailedError
    found = kind(
        f"The catalogue's disk {what} since a change was being saved, which may be there or not;"
        " check the disk, and look before you repeat the change."
    )
    found.__cause__ = told.__cause__
    return found


def _unobserved(phase: str, seconds: float) -> None:
    """Nobody asked."""


def _refused(batch: Sequence[_Job], error: CollectiveError) -> Sequence[_Job]:
    for job in batch:
        job.error = error
    return batch


def translate(error: apsw.Error) -> CollectiveError:
    """Return what an error of the engine means to people."""
    told: CollectiveError
    if isinstance(error, apsw.FullError):
        told = DiskFullError("The catalogue's disk is full, nothing was changed; free some space.")
    elif isinstance(error, apsw.CorruptError | apsw.NotADBError):
        told = CorruptionError(
            "The catalogue is damaged; restart the coordinator, and it goes on from its newest good"
            " snapshot."
        )
    elif isinstance(error, apsw.InterruptError):
        told = BusyError("The coordinator is stopping, nothing was changed; try again later.")
    elif isinstance(error, apsw.ReadOnlyError):
        told = DiskReadOnlyError(
            "The catalogue's disk is read-only, nothing was changed; check its mount."
        )
    elif isinstance(error, apsw.IOError | apsw.CantOpenError):
        told = DiskFailedError("The catalogue's disk failed, nothing was changed; check the disk.")
    else:
        told = InternalError("The catalogue could not make this change; see the log.")
    told.__cause__ = error
    return told


def _answer(batch: Sequence[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in batch:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(_deliver, jobs)
            except RuntimeError:
                continue  # the loop closed meanwhile: nobody waits any more


def _deliver(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
