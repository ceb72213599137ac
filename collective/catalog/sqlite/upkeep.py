"""The catalogue's own life: position, restores, expiry, snapshots, closing."""

from __future__ import annotations

import apsw

from collective.access.model import Caller
from collective.catalog.model import Position
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.fallback import GENERATIONS_SKIPPED, VERSIONS_SKIPPED
from collective.catalog.sqlite.quotas import expire_in_time
from collective.catalog.sqlite.recording import ACTIVE, COMMITTED, end_upload
from collective.catalog.sqlite.repairs import end_repair
from collective.catalog.sqlite.sweeping import sweep
from collective.catalog.sqlite.writer import Transaction, translate
from collective.core.errors import ConflictError, DataDirError
from collective.core.randomness import hex_id

EXPIRE_BATCH = 200


class UpkeepPart(Part):
    """The methods of ``Upkeep``."""

    async def position(self) -> Position:
        """Return catalogue id, epoch and the last durable commit sequence."""
        engine = self._engine
        return Position(engine.catalog_id, engine.epoch, engine.writer.sequence)

    async def observe_position(self, seen: Position) -> bool:
        """Learn what a node has seen; True if this catalogue is behind and is now *restored*.

        A node that saw another catalogue (this one was made anew over its nodes) counts as well,
        once for each such catalogue.
        """
        engine = self._engine
        known = seen.catalog_id == engine.catalog_id
        if known and (seen.epoch, seen.sequence) <= (engine.epoch, engine.writer.sequence):
            return False

        def work(tx: Transaction) -> bool:
            epoch, sequence = tx.one("SELECT epoch, sequence FROM state")
            if known:
                if (seen.epoch, seen.sequence) <= (epoch, sequence):
                    return False
            elif tx.value("SELECT 1 FROM strangers WHERE catalog_id = ?", seen.catalog_id):
                return False
            else:
                tx.run("INSERT INTO strangers VALUES (?)", seen.catalog_id)
            new_epoch = max(epoch, seen.epoch if known else 0) + 1
            tx.run("UPDATE state SET epoch = ?, restored = 1", new_epoch)
            tx.run("UPDATE codes SET revoked = 1 WHERE uses_left > 0")
            tx.skip_numbers(GENERATIONS_SKIPPED, VERSIONS_SKIPPED)
            detail = f"a node has seen epoch {seen.epoch} sequence {seen.sequence}"
            tx.audit_of("coordinator", "restored", seen.catalog_id, detail)
            tx.at_end(lambda durable: self._adopt(new_epoch, restored=True, durable=durable))
            return True

        return await engine.change(work)

    async def is_restored(self) -> bool:
        """Tell whether collection waits for the operator."""
        return self._engine.restored

    async def confirm_restore(self, actor: Caller) -> int:
        """Let collection go on; return the epoch; ConflictError where nothing was restored."""

        def work(tx: Transaction) -> int:
            tx.decider(actor).require_admin("confirm a restore")
            epoch, restored = tx.one("SELECT epoch, restored FROM state")
            if not restored:
                raise ConflictError(
                    "This catalogue is not restored from a backup, so there is nothing to confirm."
                )
            tx.run("UPDATE state SET restored = 0")
            tx.audit(actor, "confirm-restore", str(epoch))
            tx.at_end(lambda durable: self._adopt(epoch, restored=False, durable=durable))
            return int(epoch)

        return await self._engine.write(
            work, caller=actor, action="confirm-restore", target="catalogue"
        )

    async def expire(self) -> None:
        """End uploads, leases and repair claims whose time has passed; write refusals noted.

        What ended long ago is deleted: see ``sweeping``.
        """
        self._engine.leases.expire()
        await self._engine.flush_denials()

        def work(tx: Transaction) -> None:
            for upload, state in tx.all(
                "SELECT id, state FROM uploads WHERE expires_ms <= ? AND state IN (?, ?) LIMIT ?",
                tx.now_ms,
                ACTIVE,
                COMMITTED,
                EXPIRE_BATCH,
            ):
                if state == ACTIVE:
                    end_upload(tx, upload)
                else:
                    tx.run("DELETE FROM uploads WHERE id = ?", upload)
            for (repair,) in tx.all(
                "SELECT id FROM repairs WHERE expires_ms <= ? LIMIT ?", tx.now_ms, EXPIRE_BATCH
            ):
                end_repair(tx, repair, stored=False)
            expire_in_time(tx, self._engine.settings.upload_life_s, EXPIRE_BATCH)
            sweep(tx)

        await self._engine.change(work)

    async def snapshot(self) -> str:
        """Write a consistent, checksummed snapshot into the data dir; return its path."""
        engine = self._engine
        position = await self.position()

        def work(db: apsw.Connection) -> str:
            def copy(path: str) -> None:
                try:
                    db.execute("VACUUM INTO ?", (path,))
                except apsw.Error as error:
                    raise translate(error) from error

            path = engine.snapshots.write(copy, position)
            mark = hex_id(engine.randomness)[:8]
            engine.custody.note(position.epoch, position.sequence, mark=mark)
            return path

        return await engine.copy_out(work)

    async def notices(self) -> tuple[str, ...]:
        """Return what the operator must know of this start, and of the files under it."""
        told = self._engine.notices
        try:
            self._engine.custody.require()
        except DataDirError as error:
            return (error.message, *told)
        return told

    async def close(self) -> None:
        """Finish what was accepted and release the files."""
        try:
            if self._engine.custody.is_ours():
                await self._engine.flush_denials()
        finally:
            await self._engine.close()

    def _adopt(self, epoch: int, *, restored: bool, durable: bool) -> None:
        if durable:
            self._engine.epoch = epoch
            self._engine.restored = restored
