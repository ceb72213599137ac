"""The whole catalogue, put together."""

from __future__ import annotations

import os

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite.copies.chunk_copies import ChunkCopiesPart
from collective.catalog.sqlite.copies.chunk_health import ChunkHealthPart
from collective.catalog.sqlite.copies.collection import CollectionPart
from collective.catalog.sqlite.copies.copies import CopiesPart
from collective.catalog.sqlite.copies.guarded import GivingUpPart
from collective.catalog.sqlite.copies.inventories import InventoriesPart
from collective.catalog.sqlite.copies.quarantine import QuarantinePart
from collective.catalog.sqlite.copies.repair import RepairsPart
from collective.catalog.sqlite.copies.totals import TotalsPart
from collective.catalog.sqlite.files.reads import ReadsPart
from collective.catalog.sqlite.files.uploads import UploadsPart
from collective.catalog.sqlite.names.attributes import AttributesPart
from collective.catalog.sqlite.names.datastores import DatastoresPart
from collective.catalog.sqlite.names.names import NamesPart
from collective.catalog.sqlite.names.policies import PoliciesPart, follow_setting
from collective.catalog.sqlite.nodes.history import AdoptionPart
from collective.catalog.sqlite.nodes.nodes import NodesPart, begin_catalogue
from collective.catalog.sqlite.nodes.removal import RemovalPart, lift_marks
from collective.catalog.sqlite.people.codes import CodesPart
from collective.catalog.sqlite.people.grants import GrantsPart
from collective.catalog.sqlite.people.identities import IdentitiesPart
from collective.catalog.sqlite.people.keys import KeysPart
from collective.catalog.sqlite.people.redeeming import RedeemingPart
from collective.catalog.sqlite.people.revocations import RevocationsPart
from collective.catalog.sqlite.store.custody import DATABASE
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.opening import connect, lock_data_dir, open_database
from collective.catalog.sqlite.store.reserve import Reserve
from collective.catalog.sqlite.store.upkeep import UpkeepPart
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.world import World


class SqliteCatalog(
    NamesPart,
    AttributesPart,
    UploadsPart,
    ReadsPart,
    NodesPart,
    CopiesPart,
    InventoriesPart,
    ChunkCopiesPart,
    ChunkHealthPart,
    GivingUpPart,
    RepairsPart,
    RemovalPart,
    CollectionPart,
    PoliciesPart,
    TotalsPart,
    CodesPart,
    RedeemingPart,
    IdentitiesPart,
    KeysPart,
    RevocationsPart,
    GrantsPart,
    DatastoresPart,
    AdoptionPart,
    QuarantinePart,
    UpkeepPart,
):
    """A :class:`~collective.catalog.interface.Catalog` in one SQLite file."""

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

        reserve = Reserve(data_dir, world.disk, world.randomness)

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
