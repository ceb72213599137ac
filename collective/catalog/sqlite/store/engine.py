"""What every subject stands on: the writer, the readers, and refusals for the audit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import apsw

from collective.access.permissions import Decider
from collective.catalog.decisions.refusals import Counted, RefusalBook
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite.audit.retention import Retention
from collective.catalog.sqlite.audit.trimming import drop
from collective.catalog.sqlite.audit.writing import write_refusal
from collective.catalog.sqlite.files.leases import Leases
from collective.catalog.sqlite.store.checkpoints import Checkpoints
from collective.catalog.sqlite.store.custody import DATABASE
from collective.catalog.sqlite.store.emergency_reserve import EmergencyReserve
from collective.catalog.sqlite.store.inspection import Inspection
from collective.catalog.sqlite.store.opening import Opened
from collective.catalog.sqlite.store.snapshot import Snapshots
from collective.catalog.sqlite.store.writer import StepsFirstError, Transaction, Writer, translate
from collective.core.disk import DiskLock
from collective.core.errors import BusyError, PermissionDeniedError
from collective.core.world import World
from collective.model.audit import Refusal
from collective.model.calls import Call
from collective.model.nodes import Position

T = TypeVar("T")
R = TypeVar("R")

_STEPS_BETWEEN_LOOKS: Final = 50_000
"""Steps of SQLite's machine between two looks whether to go on: a few milliseconds."""
_TRIES: Final = 4
"""Times that a change is handed in before which steps are to be done."""
_DROP_STEPS: Final = 200
"""Transactions of one round that shorten the audit; other writes have their turn between them."""
_STEP_REFUSALS: Final = 200
"""Refusals that one transaction writes into the audit."""


@dataclass(slots=True, eq=False)
class _Ticket:
    """One reading, and whether somebody still waits for it."""

    is_dropped: bool = False


class Engine:
    """Connections and threads of one open catalogue."""

    def __init__(
        self,
        data_dir: str,
        opened: Opened,
        connect: Callable[[], apsw.Connection],
        lock: DiskLock,
        world: World,
        settings: CatalogSettings,
        reserve: EmergencyReserve,
    ) -> None:
        """Own everything given; see :meth:`SqliteCatalog.open`."""
        self._is_ending = False
        self._reads: dict[int, _Ticket] = {}
        """For whom each connection reads now, by the connection's identity."""
        self._db = writer_db = self._interruptible(opened.db)
        self.custody = opened.custody
        self.notices = opened.notices
        self.snapshots = Snapshots(data_dir, world.disk, world.clock, opened.custody)
        self.data_dir = data_dir
        self.world = world
        self.clock = world.clock
        self.randomness = world.randomness
        self.settings = settings
        self.reserve = reserve
        self._connect = connect
        self._lock = lock
        writing = world.threads.pool(1, "catalog-writer")
        self._readers: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()
        self._all_readers: list[apsw.Connection] = []
        self._checkpoints = Checkpoints(writer_db, opened.custody)
        if world.sqlite.is_exclusive:  # reads take turns with the writing, on its connection
            self._reading = self._copying = writing
            self._readers.put(writer_db)
            self._checkpoints.start_alone()
        else:
            self._reading = world.threads.pool(settings.readers, "catalog-reader")
            self._copying = world.threads.pool(1, "catalog-copy")
            self._checkpoints.start(
                connect,
                lambda: world.disk.open(os.path.join(data_dir, DATABASE), "read"),
                world.threads.pool(1, "catalog-checkpoint"),
            )
            self._all_readers.extend(
                self._interruptible(connect()) for _ in range(settings.readers)
            )
            for reader in self._all_readers:
                self._readers.put(reader)
        row = writer_db.execute("SELECT catalog_id, epoch, restored, lease_key FROM state")
        self.catalog_id, self.epoch, restored, lease_key = row.fetchone()  # type: ignore[misc]
        self.restored = bool(restored)
        self.key: Final[bytes] = lease_key
        """The catalogue's own, from which others are derived."""
        self.leases = Leases(self.clock, self.randomness, lease_key, settings.lease_life_s)
        self._refusals = RefusalBook()
        self._flushing = asyncio.Lock()
        self._retention = Retention(settings.audit_changes_max, settings.audit_refusals_max)
        self.writer = Writer(writer_db, self.clock, writing, settings.queue_max, self.custody)
        self.inspection: Inspection | None = None
        if not opened.is_inspected:
            self.inspection = Inspection(connect, self.custody, self.writer)

    def inspect(self) -> None:
        """Have the database read through beside what comes, where the start did not do so."""
        if self.inspection is not None:
            self._copying.start(self.inspection.run)

    async def write(
        self,
        operation: Callable[[Transaction], T],
        *,
        caller: Call,  # noqa: ARG002 - read where it is called: for whom
        action: str,
        target: str,
    ) -> T:
        """Run a change for ``caller``; a refusal says what it was about."""
        try:
            return await self.change(operation)
        except PermissionDeniedError as error:
            error.concerns = (action, target)
            raise

    async def change(self, operation: Callable[[Transaction], T]) -> T:
        """Run a change of the coordinator's own, after the steps that it wants to come first."""
        for _ in range(_TRIES):
            try:
                return await self.writer.write(operation)
            except StepsFirstError as first:
                items, step, most = first.items, first.step, first.most
            await self.change_each(items, step, most)
        raise BusyError("Others change the same all the time; try again.")

    async def change_each(
        self,
        items: Sequence[T],
        step: Callable[[Transaction, Sequence[T]], Sequence[R]],
        most: int,
    ) -> list[R]:
        """Run a change of the coordinator's own for each of ``items``, in as many transactions as it takes.

        Other writes have their turn between these; cancelled half-way, what was done stays.

        Args:
            items: what is to be done, in this order.
            step: does the first of the items that it is given, and more until its transaction is spent;
                returns one result for each that it did.  One that does none ends it all.
            most: items of one step.
        """
        results: list[R] = []

        def work(tx: Transaction) -> Sequence[R]:
            return step(tx, items[len(results) : len(results) + most])

        while len(results) < len(items) and (done := await self.change(work)):
            results += done
        return results

    async def read(self, function: Callable[[apsw.Connection], T]) -> T:
        """Run ``function`` on a reading connection, in one read transaction, off the loop.

        Cancelled, it does not begin, or its statement ends within some thousand of its steps.
        """
        ticket = _Ticket()
        try:
            return await self._reading.run(self._read, function, ticket)
        except asyncio.CancelledError:
            ticket.is_dropped = True
            raise

    async def copy_out(self, function: Callable[[apsw.Connection], T]) -> T:
        """Run ``function``, which copies the whole database, apart from all that calls wait for.

        It gets a connection in no transaction, one such function at a time.  In an exclusive world the
        connection is the writing one.
        """

        def work() -> T:
            if self.world.sqlite.is_exclusive:
                db = self._readers.get()
                try:
                    return function(db)
                finally:
                    self._readers.put(db)
            self.custody.require()
            try:
                db = self._interruptible(self._connect())
            except apsw.Error as error:
                raise translate(error) from error
            try:
                db.execute("PRAGMA query_only = OFF")
                return function(db)
            finally:
                db.close()

        return await self._copying.run(work)

    async def read_for(
        self,
        caller: Call,  # noqa: ARG002 - as above
        action: str,
        target: str,
        function: Callable[[apsw.Connection], T],
    ) -> T:
        """As :meth:`read`; a refusal says what it was about."""
        try:
            return await self.read(function)
        except PermissionDeniedError as error:
            error.concerns = (action, target)
            raise

    def _read(self, function: Callable[[apsw.Connection], T], ticket: _Ticket) -> T:
        db = self._readers.get()
        try:
            if ticket.is_dropped:
                raise apsw.InterruptError("nobody waits for it")
            db.execute("BEGIN")
            self._reads[id(db)] = ticket
            try:
                return function(db)
            finally:
                del self._reads[id(db)]
                db.execute("COMMIT")
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            self._readers.put(db)

    def now_ms(self) -> int:
        """Return the time by the catalogue's clock."""
        return int(self.clock.wall_s() * 1000)

    def position(self) -> Position:
        """Return where the catalogue is, by the last durable commit."""
        return Position(self.catalog_id, self.epoch, self.writer.sequence, self.custody.stamp)

    def decider(self, caller: Call) -> Decider:
        """Return the decisions for ``caller`` as of the last COMMIT."""
        return Decider(caller, self.writer.book, self.clock.wall_s())

    def note_denial(self, refusal: Refusal) -> None:
        """Keep a refusal until the next :meth:`flush_denials`."""
        self._refusals.note(refusal, self.now_ms())

    async def flush_denials(self) -> None:
        """Write the refusals noted so far into the audit; keep it within its size."""
        async with self._flushing:
            pending = self._refusals.unwritten()
            rows = await self.change_each(pending, _write_refusals, _STEP_REFUSALS)
            for (counted, count, _), row in zip(pending, rows, strict=True):
                counted.row, counted.written = row, count
            self._refusals.forget_ended(self.now_ms())
            await self._keep_audit_small()

    async def _keep_audit_small(self) -> None:
        retention = self._retention
        retention.pending = await self.read(retention.plan)
        for _ in range(_DROP_STEPS):
            if not retention.pending:
                return
            retention.pending = await self.change(partial(drop, cuts=retention.pending))

    def interrupt(self) -> None:
        """Give up what runs and what waits: the process ends, and nothing of it was acknowledged.

        Its callers get BusyError.  A statement ends within some thousand of its steps.
        """
        self._is_ending = True
        self._stop_inspection()
        self.writer.interrupt()

    def _interruptible(self, db: apsw.Connection) -> apsw.Connection:
        number = id(db)

        def is_to_end() -> bool:
            ticket = self._reads.get(number)
            return self._is_ending or (ticket is not None and ticket.is_dropped)

        db.set_progress_handler(is_to_end, _STEPS_BETWEEN_LOOKS)
        return db

    async def close(self) -> None:
        """Finish what was accepted and release files, threads and the lock."""
        self._stop_inspection()
        if not self.world.sqlite.is_exclusive:
            await self._copying.close()
            await self._checkpoints.close()
            await self._reading.close()
            for reader in self._all_readers:
                reader.close()
        await self.writer.close(self._finish)
        self._lock.release()

    def _finish(self) -> None:
        """Close the database; leave it whole in one file, and say so, if it is still ours."""
        self._db.set_progress_handler(None)
        try:
            is_whole = self._is_sound() and self.custody.is_ours() and _move_log(self._db)
        finally:
            self._db.close()
            self._checkpoints.release()
        if is_whole:
            with contextlib.suppress(OSError):  # the next start looks for itself
                # First the record: a log that is gone or empty without it was lost by somebody.
                self.custody.closed(self.epoch, self.writer.sequence)
                for suffix in ("-wal", "-shm"):  # nothing that the database lacks
                    with contextlib.suppress(FileNotFoundError):
                        self.world.disk.unlink(os.path.join(self.data_dir, DATABASE + suffix))

    def _stop_inspection(self) -> None:
        if self.inspection is not None:
            self.inspection.stop()

    def _is_sound(self) -> bool:
        """Whether a clean end may be noted: the next start then trusts the database unread."""
        return self.inspection is None or self.inspection.is_through


def _move_log(db: apsw.Connection) -> bool:
    """Move everything from the log into the database; False where that cannot be."""
    try:
        row: Any = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except apsw.Error:
        return False
    is_busy, pages, moved = row
    return not is_busy and pages == moved


def _write_refusals(tx: Transaction, refusals: Sequence[tuple[Counted, int, str]]) -> Sequence[int]:
    return [write_refusal(tx.db, *one) for one in tx.unspent(refusals)]
