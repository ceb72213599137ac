"""The whole catalogue, put together: its subjects over one engine."""

from __future__ import annotations

import os
from contextlib import suppress

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite.audit.reading import SqliteAudit
from collective.catalog.sqlite.changes.changes import SqliteChanges
from collective.catalog.sqlite.collection.guarded import SqliteGuardedCopies
from collective.catalog.sqlite.collection.unreferenced import SqliteCollection
from collective.catalog.sqlite.copies.copies import SqliteCopies
from collective.catalog.sqlite.copies.figures import SqliteFigures
from collective.catalog.sqlite.copies.quarantine import SqliteQuarantine
from collective.catalog.sqlite.copies.repair import SqliteRepair
from collective.catalog.sqlite.files.reads import SqliteReads
from collective.catalog.sqlite.files.uploads import SqliteUploads
from collective.catalog.sqlite.names.datastores import SqliteDatastores
from collective.catalog.sqlite.names.names import SqliteNames
from collective.catalog.sqlite.names.policies import follow_setting
from collective.catalog.sqlite.nodes.nodes import SqliteNodes
from collective.catalog.sqlite.nodes.removal import Removal, lift_marks
from collective.catalog.sqlite.nodes.restores import SqliteRestores
from collective.catalog.sqlite.nodes.standing import begin_catalogue
from collective.catalog.sqlite.people.certificates import SqliteCertificates
from collective.catalog.sqlite.people.codes import SqliteCodes
from collective.catalog.sqlite.people.grants import SqliteGrants
from collective.catalog.sqlite.people.identities import SqliteIdentities
from collective.catalog.sqlite.people.peers import SqlitePeers
from collective.catalog.sqlite.people.revocations import SqliteRevocations
from collective.catalog.sqlite.store.custody import DATABASE
from collective.catalog.sqlite.store.emergency_reserve import EmergencyReserve
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.opening import connect, lock_data_dir, open_database
from collective.catalog.sqlite.store.upkeep import SqliteUpkeep
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.errors import CorruptionError
from collective.core.world import World


class SqliteCatalog:
    """A :class:`~collective.catalog.interface.Catalog` in one SQLite file."""

    def __init__(self, engine: Engine) -> None:
        """Own ``engine``; see :meth:`open`."""
        self._engine = engine
        removal = Removal(engine)
        self.names = SqliteNames(engine)
        self.uploads = SqliteUploads(engine)
        self.reads = SqliteReads(engine)
        self.changes = SqliteChanges(engine, engine.key)
        self.datastores = SqliteDatastores(engine)
        self.nodes = SqliteNodes(engine, removal)
        self.copies = SqliteCopies(engine)
        self.repair = SqliteRepair(engine)
        self.guarded = SqliteGuardedCopies(engine)
        self.collection = SqliteCollection(engine)
        self.quarantine = SqliteQuarantine(engine)
        self.figures = SqliteFigures(engine)
        self.codes = SqliteCodes(engine)
        self.identities = SqliteIdentities(engine)
        self.certificates = SqliteCertificates(engine)
        self.revocations = SqliteRevocations(engine)
        self.peers = SqlitePeers(engine)
        self.grants = SqliteGrants(engine)
        self.audit = SqliteAudit(engine)
        self.restores = SqliteRestores(engine)
        self.upkeep = SqliteUpkeep(engine, removal)

    @classmethod
    async def open(
        cls,
        data_dir: str,
        world: World,
        settings: CatalogSettings | None = None,
        *,
        synchronous: str = "FULL",
    ) -> SqliteCatalog:
        """Open or make the catalogue in ``data_dir``.

        ``synchronous`` weakens flushing, for fault tests.  Raises DataDirError (held by another process, newer schema, not usable),
        CorruptionError (damaged) and NoSpaceError.
        """
        chosen = settings or CatalogSettings()

        reserve = EmergencyReserve(data_dir, world.disk, world.randomness)

        def work() -> Engine:
            lock = lock_data_dir(data_dir, world.disk)

            def opening() -> Engine:
                opened = open_database(data_dir, world, synchronous)
                path = os.path.join(data_dir, DATABASE)
                return Engine(
                    data_dir,
                    opened,
                    lambda: connect(path, world.sqlite, writing=False, synchronous=synchronous),
                    lock,
                    world,
                    chosen,
                    reserve,
                )

            try:
                return reserve.opened(opening)
            except BaseException:
                lock.release()
                raise

        catalog = cls(await world.threads.run(work))

        def begin(tx: Transaction) -> None:
            begin_catalogue(tx, world.randomness)
            follow_setting(tx, chosen.copies)
            lift_marks(tx)

        try:
            await catalog._engine.change(begin)
        except BaseException:
            await catalog.close()
            raise
        catalog._engine.inspect()
        return catalog

    @property
    def settings(self) -> CatalogSettings:
        """The settings it was opened with."""
        return self._engine.settings

    def interrupt(self) -> None:
        """Give up what runs and what waits, before :meth:`close`; nothing of it was acknowledged."""
        self._engine.interrupt()

    async def close(self) -> None:
        """Finish what was accepted and release the files."""
        try:
            if self._engine.custody.is_ours():
                with suppress(CorruptionError):  # nothing is written into a damaged database
                    await self._engine.flush_denials()
        finally:
            await self._engine.close()
