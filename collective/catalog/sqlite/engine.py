"""What every part of the engine stands on: the writer, the readers, and noting refusals."""

from __future__ import annotations

import asyncio
import collections
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import apsw

from collective.access.decision import Decider
from collective.access.model import Caller
from collective.catalog.sqlite.leases import Leases
from collective.catalog.sqlite.settings import CatalogSettings
from collective.catalog.sqlite.writer import Transaction, Writer, translate
from collective.core.clock import Clock
from collective.core.disk import DiskLock
from collective.core.errors import PermissionDeniedError
from collective.core.randomness import Randomness

T = TypeVar("T")

DENIALS_MAX = 1000
"""Refusals kept until they are written; more in one period are only counted."""


class Engine:
    """Connections and threads of one open catalogue."""

    def __init__(
        self,
        data_dir: str,
        writer_db: apsw.Connection,
        connect: Callable[[], apsw.Connection],
        lock: DiskLock,
        clock: Clock,
        randomness: Randomness,
        settings: CatalogSettings,
    ) -> None:
        """Own everything given; see :meth:`SqliteCatalog.open`."""
        self.data_dir = data_dir
        self.clock = clock
        self.randomness = randomness
        self.settings = settings
        self.connect = connect
        self._lock = lock
        self._readers: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()
        self._all_readers = [connect() for _ in range(settings.readers)]
        for reader in self._all_readers:
            self._readers.put(reader)
        self.executor = ThreadPoolExecutor(settings.readers, thread_name_prefix="catalog-reader")
        row = writer_db.execute("SELECT catalog_id, epoch, restored, lease_key FROM state")
        self.catalog_id, self.epoch, restored, lease_key = row.fetchone()  # type: ignore[misc]
        self.restored = bool(restored)
        self.claims_are_own = False
        """Whether the claims of repairs that an earlier process left were given up."""
        self.leases = Leases(clock, randomness, lease_key, settings.lease_life_s)
        self._denials: collections.deque[tuple[int, str, str, str, str]] = collections.deque(
            maxlen=DENIALS_MAX
        )
        self.writer = Writer(writer_db, clock, settings.queue_max)

    async def write(
        self, operation: Callable[[Transaction], T], *, caller: Caller, action: str, target: str
    ) -> T:
        """Run a change for ``caller``; a refusal is noted for the audit."""
        try:
            return await self.writer.write(operation)
        except PermissionDeniedError as error:
            self.note_denial(caller, action, target)
            error.is_audited = True
            raise

    async def change(self, operation: Callable[[Transaction], T]) -> T:
        """Run a change of the coordinator's own."""
        return await self.writer.write(operation)

    async def read(self, function: Callable[[apsw.Connection], T]) -> T:
        """Run ``function`` on a reading connection, in one read transaction, off the loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, self._read, function)

    async def read_for(
        self, caller: Caller, action: str, target: str, function: Callable[[apsw.Connection], T]
    ) -> T:
        """As :meth:`read`; a refusal is noted for the audit."""
        try:
            return await self.read(function)
        except PermissionDeniedError as error:
            self.note_denial(caller, action, target)
            error.is_audited = True
            raise

    def _read(self, function: Callable[[apsw.Connection], T]) -> T:
        db = self._readers.get()
        try:
            db.execute("BEGIN")
            try:
                return function(db)
            finally:
                db.execute("COMMIT")
        except apsw.Error as error:
            raise translate(error) from error
        finally:
            self._readers.put(db)

    def decider(self, caller: Caller) -> Decider:
        """Return the decisions for ``caller`` as of the last COMMIT."""
        return Decider(caller, self.writer.book, self.clock.wall_s())

    def note_denial(self, caller: Caller, action: str, target: str) -> None:
        """Keep a refusal until the next :meth:`flush_denials`."""
        at_ms = int(self.clock.wall_s() * 1000)
        self._denials.append((at_ms, str(caller.principal), action, target, caller.request_id))

    async def flush_denials(self) -> None:
        """Write the refusals noted so far into the audit."""
        pending = [self._denials.popleft() for _ in range(len(self._denials))]
        if not pending:
            return

        def work(tx: Transaction) -> None:
            tx.db.executemany(
                "INSERT INTO audit (at_ms, actor, action, target, detail, request_id)"
                " VALUES (?,?,?,?,'denied',?)",
                pending,
            )

        await self.change(work)

    async def close(self) -> None:
        """Finish what was accepted and release files, threads and the lock."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.executor, self.writer.close)
        self.executor.shutdown(wait=True)
        for reader in self._all_readers:
            reader.close()
        self._lock.release()


class Part:
    """A part of the catalogue: methods over one engine."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine
