"""What the process does for the catalogue itself: expiry, snapshots, proofs that changes get through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import apsw

from collective.catalog.interface.values import Health
from collective.catalog.sqlite.copies.repair import end_repair
from collective.catalog.sqlite.files.recording import end_upload
from collective.catalog.sqlite.files.upload_rows import ACTIVE, expire_in_time
from collective.catalog.sqlite.names.quota_rows import end_idle_uploads
from collective.catalog.sqlite.nodes.removal import Removal, lift_marks
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.online_backup import copy_database, is_sound
from collective.catalog.sqlite.store.sweeping import SWEEPS
from collective.catalog.sqlite.store.writer import Transaction, translate
from collective.core.errors import DataDirError
from collective.core.randomness import hex_id

EXPIRE_BATCH = 200


class SqliteUpkeep:
    """Expiry, snapshots, and whether changes get through."""

    def __init__(self, engine: Engine, removal: Removal) -> None:
        """Use ``engine``; marks that ``removal`` has under way stay."""
        self._engine = engine
        self._removal = removal

    async def expire(self, *, makes_room: bool = False) -> None:
        """End uploads, leases and repair claims whose time has passed; write refusals noted.

        ``makes_room``: uploads that stand still end too, those that do so for longest first.
        What ended long ago is deleted: see ``sweeping``.
        """
        self._engine.leases.expire()
        await self._engine.flush_denials()

        lift = partial(lift_marks, under_way=list(self._removal.under_way))
        for work in (lift, self._end_uploads, _end_repairs, *SWEEPS):
            await self._engine.change(work)
        if makes_room:
            await self._engine.change(partial(end_idle_uploads, limit=EXPIRE_BATCH))

    def _end_uploads(self, tx: Transaction) -> None:
        for (upload,) in tx.all(
            f"SELECT id FROM uploads WHERE expires_ms <= ? AND state = {ACTIVE} LIMIT ?",  # noqa: S608
            tx.now_ms,
            EXPIRE_BATCH,
        ):
            end_upload(tx, upload)
        expire_in_time(tx, self._engine.settings.upload_life_s, EXPIRE_BATCH)

    async def snapshot(self) -> str:
        """Write a consistent, checksummed snapshot into the data dir; return its path."""
        engine = self._engine
        position = engine.position()

        def work(db: apsw.Connection) -> str:
            def copy(path: str) -> None:
                sqlite, threads = engine.world.sqlite, engine.world.threads
                pause = _do_not_pause if sqlite.is_exclusive else threads.pause
                try:
                    copy_database(db, path, vfs=sqlite.vfs, disk=engine.world.disk, pause=pause)
                except apsw.Error as error:
                    raise translate(error) from error

            vfs = engine.world.sqlite.vfs
            path = engine.snapshots.write(copy, partial(is_sound, vfs=vfs), position)
            mark = hex_id(engine.randomness)[:8]
            engine.custody.note(position.epoch, position.sequence, mark=mark)
            return path

        return await engine.copy_out(work)

    async def prove(self) -> None:
        """Make a change that says nothing durable; raises as any change where that fails."""
        await self._engine.change(lambda tx: tx.run("UPDATE state SET sequence = sequence"))
        await self._engine.world.threads.run(self._engine.reserve.keep)

    def health(self) -> Health:
        """Tell whether changes get through; never blocks."""
        writer = self._engine.writer
        return Health(writer.waiting_s(), writer.trouble)

    async def notices(self) -> tuple[str, ...]:
        """Return what the operator must know of this start, and of the files under it."""
        told = self._engine.notices
        try:
            self._engine.custody.require()
        except DataDirError as error:
            return (error.message, *told)
        return told

    def watch_writer(self, observe: Callable[[str, float], None]) -> None:
        """Tell ``observe`` the ``work`` and the ``flush`` of each batch in seconds, on any thread."""
        self._engine.writer.observe = observe


def _end_repairs(tx: Transaction) -> None:
    for (repair,) in tx.all(
        "SELECT id FROM repairs WHERE expires_ms <= ? LIMIT ?", tx.now_ms, EXPIRE_BATCH
    ):
        end_repair(tx, repair, stored=False)


def _do_not_pause(seconds: float) -> None:
    """Go on: in an exclusive world nobody else has a turn meanwhile."""
