"""Files coming in: open, allocate, record, commit, abort, resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import apsw

from collective.access.permissions import Decider
from collective.catalog.decisions.quotas import require_few
from collective.catalog.decisions.uploads import (
    UploadState,
    never_settles,
    require_active,
    require_attributes,
    require_batch,
    require_known,
)
from collective.catalog.interface.values import Allocation, Upload
from collective.catalog.sqlite.files.allocation import allocate_chunk, pin_chunk, targets_of
from collective.catalog.sqlite.files.committing import (
    check_quota,
    entry_from,
    entry_text,
    flip,
    target_of,
)
from collective.catalog.sqlite.files.reads import extent_value
from collective.catalog.sqlite.files.rechecking import Step, check_page, is_behind
from collective.catalog.sqlite.files.recording import (
    add_holes,
    check_complete,
    clear_upload,
    count_receipts,
    end_upload,
    record,
)
from collective.catalog.sqlite.files.upload_rows import (
    ACTIVE,
    COMMITTED,
    COMMITTED_UNCLEARED,
    SELECT_UPLOAD,
    UploadRow,
    active_upload,
    keep_alive,
    load_upload,
    upload_row,
)
from collective.catalog.sqlite.names.datastores import copies_for, datastore_of
from collective.catalog.sqlite.names.entries import Changed, check_condition, counted
from collective.catalog.sqlite.names.quota_rows import make_place, reserve
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import AT_COMMIT, OPEN
from collective.catalog.sqlite.store.writer import Transaction
from collective.core import limits
from collective.core.errors import (
    CollectiveError,
    NotEnoughCopiesError,
    NotFoundError,
)
from collective.core.ids import NodeId, UploadKey
from collective.core.paths import FilePath
from collective.core.randomness import hex_id
from collective.model.calls import Call
from collective.model.copies import VerifiedReceipt
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition
from collective.placement.node_choice import Offers
from collective.placement.quorum import quorum_of

CLEAR_AT_COMMIT = 256
"""Chunks up to which an upload is cleared within its commit; larger ones are cleared later."""
ANSWER_KEPT_MS = 3_600_000
"""So long a commit that is repeated has its answer."""
CHECKS_MAX = 8
"""Times that one call checks everything again because yet another node went."""


class SqliteUploads:
    """Files coming in."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def open(
        self,
        caller: Call,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        intents: Sequence[Extent],
        offers: Offers,
        *,
        absent: frozenset[NodeId] = frozenset(),
        holes: Sequence[Hole] = (),
    ) -> Upload:
        """Begin an upload and allocate its first batch, in one transaction."""
        require_attributes(attributes)
        require_batch(intents)
        require_batch(holes)
        upload = UploadKey(hex_id(self._engine.randomness))
        settings = self._engine.settings

        def work(tx: Transaction) -> Upload:
            decider = tx.decider(caller)
            decider.require(Right.WRITE, path)
            _, existing = target_of(tx, path)
            check_condition(tx.db, path, existing[1] if existing else None, condition)
            make_place(tx, caller)
            copies = copies_for(tx.db, path, settings.copies)
            datastore = datastore_of(tx.db, path)
            modified_ms, modified_ns, mode = rows.attribute_columns(attributes, 0)
            tx.run(
                "INSERT INTO versions (number, state, size, recorded, chunk_count, modified_ms,"
                " modified_ns, mode, content_type, metadata, digest, home)"
                " VALUES (0,?,0,0,0,?,?,?,?,?,x'',?)",
                OPEN,
                modified_ms,
                AT_COMMIT if attributes.modified_ns is None else modified_ns,
                mode,
                attributes.content_type,
                json.dumps(dict(attributes.metadata)),
                datastore,
            )
            expires_ms = tx.now_ms + int(settings.upload_life_s * 1000)
            tx.run(
                "INSERT INTO uploads (id, principal, path, version, state, copies, if_version,"
                " if_absent, expires_ms, datastore, touched_ms, checked_epoch)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                upload,
                str(caller.principal),
                str(path),
                tx.db.last_insert_rowid(),
                ACTIVE,
                copies,
                condition.if_version,
                int(condition.if_absent),
                expires_ms,
                datastore,
                tx.now_ms,
                tx.value("SELECT trust_epoch FROM state"),
            )
            row = upload_row(tx.one(SELECT_UPLOAD, upload, str(caller.principal)))
            add_holes(tx, row.version, holes)
            allocations = _allocate(tx, decider, row, intents, offers, absent)
            return Upload(upload, path, copies, quorum_of(copies), expires_ms, allocations)

        return await self._engine.write(work, caller=caller, action="write", target=str(path))

    async def allocate(
        self,
        caller: Call,
        upload: UploadKey,
        intents: Sequence[Extent],
        offers: Offers,
        *,
        absent: frozenset[NodeId] = frozenset(),
        holes: Sequence[Hole] = (),
    ) -> Sequence[Allocation]:
        """Record holes, write intent rows for a batch and pin what is stored already."""
        require_batch(intents)
        require_batch(holes)

        def work(tx: Transaction) -> Sequence[Allocation]:
            found, decider = active_upload(tx, caller, upload)
            keep_alive(tx, upload, self._engine.settings.upload_life_s)
            add_holes(tx, found.version, holes)
            return _allocate(tx, decider, found, intents, offers, absent)

        return await self._engine.write(work, caller=caller, action="write", target=upload)

    async def record_extents(
        self,
        caller: Call,
        upload: UploadKey,
        extents: Sequence[Extent],
        receipts: Sequence[VerifiedReceipt],
        *,
        absent: frozenset[NodeId] = frozenset(),
    ) -> int:
        """Count receipts, record extents whose chunks have quorum; return all bytes recorded."""
        require_batch(extents)

        def work(tx: Transaction) -> int:
            found, decider = active_upload(tx, caller, upload)
            keep_alive(tx, upload, self._engine.settings.upload_life_s)
            count_receipts(tx, upload, receipts)
            record(
                tx,
                decider,
                upload,
                found.version,
                found.copies,
                extents,
                absent=absent,
                strict=False,
            )
            reserve(tx, upload, found.path, found.datastore)
            return int(tx.value("SELECT recorded FROM versions WHERE id = ?", found.version))

        return await self._engine.write(work, caller=caller, action="write", target=upload)

    async def commit(
        self,
        caller: Call,
        upload: UploadKey,
        extents: Sequence[Extent],
        receipts: Sequence[VerifiedReceipt],
        size_bytes: int,
        *,
        absent: frozenset[NodeId] = frozenset(),
        holes: Sequence[Hole] = (),
    ) -> Entry:
        """Flip the current version; repeating a commit that succeeded returns the same entry."""
        require_batch(extents)
        require_batch(holes)

        def work(tx: Transaction) -> Changed | None:
            found = load_upload(tx, caller, upload)
            decider = tx.decider(caller)
            decider.require(Right.WRITE, found.path)
            if found.state.is_committed:
                return entry_from(found.result or "", found)
            require_active(found.state, found.expires_ms, tx.now_ms)
            parent, existing = target_of(tx, found.path)
            check_condition(tx.db, found.path, existing[1] if existing else None, found.condition)
            count_receipts(tx, upload, receipts)
            add_holes(tx, found.version, holes)
            record(
                tx,
                decider,
                upload,
                found.version,
                found.copies,
                extents,
                absent=absent,
                strict=True,
            )
            if is_behind(tx.db, found):
                keep_alive(tx, upload, self._engine.settings.upload_life_s)
                return None
            pieces = check_complete(tx, found.version, size_bytes)
            tx.run("UPDATE versions SET size = ? WHERE id = ?", size_bytes, found.version)
            require_few(pieces.extents, size_bytes - pieces.hole_bytes)
            require_few(pieces.holes, pieces.hole_bytes, "holes")
            check_quota(tx, found, existing)
            copies = self._engine.settings.copies
            cleared = clear_upload(tx, upload, CLEAR_AT_COMMIT)
            changed = flip(tx, found, parent, existing, size_bytes, pieces.extents, copies)
            tx.run(
                "UPDATE uploads SET state = ?, result = ?, expires_ms = ? WHERE id = ?",
                COMMITTED if cleared else COMMITTED_UNCLEARED,
                entry_text(changed.entry),
                tx.now_ms + ANSWER_KEPT_MS,
                upload,
            )
            tx.audit(caller, "write", str(found.path), f"{size_bytes} bytes")
            return changed

        for _ in range(CHECKS_MAX):
            try:
                changed = await self._engine.write(
                    work, caller=caller, action="write", target=upload
                )
            except NotEnoughCopiesError:  # and of what the receipts say nothing was noted
                with suppress(CollectiveError):  # the first one is the one to tell
                    await self.record_extents(caller, upload, (), receipts, absent=absent)
                raise
            if changed is not None:
                return await counted(self._engine, changed)
            await self._check_again(caller, upload)
        raise never_settles()

    async def _check_again(self, caller: Call, upload: UploadKey) -> None:
        """Go through all extents, page by page.

        Raises:
            BusyError: nodes or copies stopped counting while it went on, time and again.
            NotEnoughCopiesError: extents had to be dropped.
        """

        def work(tx: Transaction) -> Step:
            found, _ = active_upload(tx, caller, upload)
            return check_page(tx, found)

        lost: NotEnoughCopiesError | None = None
        is_done = False
        starts = 0
        while not is_done:
            step = await self._engine.write(work, caller=caller, action="write", target=upload)
            is_done, lost = step.is_done, lost or step.lost
            starts += step.is_first
            if starts > CHECKS_MAX:
                raise never_settles()
        if lost is not None:
            raise lost

    async def abort(self, caller: Call, upload: UploadKey) -> None:
        """Forget an upload; its chunks become collectable.  Unknown and ended ones are ignored."""

        def work(tx: Transaction) -> None:
            try:
                found = load_upload(tx, caller, upload)
            except NotFoundError:
                return
            if found.state is UploadState.ACTIVE:
                end_upload(tx, upload)

        await self._engine.write(work, caller=caller, action="write", target=upload)

    async def get(
        self, caller: Call, upload: UploadKey, *, from_offset: int, limit: int
    ) -> tuple[Upload, Sequence[Extent], bool]:
        """Return an upload of this caller, a page of its extents, and whether more follow.

        Before the first page, extents are checked again where that is due.
        """
        life_s = self._engine.settings.upload_life_s

        def is_stale(db: apsw.Connection) -> bool:
            return is_behind(db, self._readable(db, caller, upload))

        if from_offset == 0 and await self._engine.read_for(caller, "write", upload, is_stale):
            with suppress(NotEnoughCopiesError):  # what was dropped is not among what is returned
                await self._check_again(caller, upload)

        def work(db: apsw.Connection) -> tuple[Upload, Sequence[Extent], bool]:
            found = self._readable(db, caller, upload)
            size = min(limit or limits.BATCH_MAX_CHUNKS, limits.LIST_PAGE_MAX_ENTRIES)
            page: Any = db.execute(
                "SELECT e.offset, e.length, c.hash, c.stored_length, e.format, e.plain_id"
                " FROM extents e JOIN chunks c ON c.id = e.chunk"
                " WHERE e.version = ? AND e.offset >= ? ORDER BY e.offset LIMIT ?",
                (found.version, from_offset, size + 1),
            ).fetchall()
            value = Upload(
                upload, found.path, found.copies, quorum_of(found.copies), found.expires_ms, ()
            )
            return value, [extent_value(row) for row in page[:size]], len(page) > size

        answer = await self._engine.read_for(caller, "write", upload, work)
        await self._engine.change(lambda tx: keep_alive(tx, upload, life_s))
        return answer

    async def check(self, caller: Call, upload: UploadKey) -> None:
        """Raise unless the upload is there still and the caller may write where it goes."""

        def work(db: apsw.Connection) -> None:
            self._readable(db, caller, upload)

        await self._engine.read_for(caller, "write", upload, work)

    def _readable(self, db: apsw.Connection, caller: Call, upload: UploadKey) -> UploadRow:
        found = upload_row(rows.fetch(db, SELECT_UPLOAD, upload, str(caller.principal)))
        self._engine.decider(caller).require(Right.WRITE, found.path)
        require_known(found.state, found.expires_ms, self._engine.now_ms())
        return found


def _allocate(
    tx: Transaction,
    decider: Decider,
    upload: UploadRow,
    intents: Sequence[Extent],
    offers: Offers,
    absent: frozenset[NodeId],
) -> list[Allocation]:
    """Pin a batch, find room for it in the quota, and then nodes."""
    wanted = {(intent.chunk, intent.stored_length): intent for intent in intents}
    pins = {
        key: pin_chunk(tx, decider, upload.id, intent, upload.copies)
        for key, intent in wanted.items()
    }
    new = [wanted[key] for key, pinned in pins.items() if pinned.is_new]
    reserve(
        tx,
        upload.id,
        upload.path,
        upload.datastore,
        end=max((intent.offset + intent.length for intent in intents), default=0),
        new=new,
    )
    if not pins:
        return []
    targets = targets_of(tx, offers)
    done = {
        key: allocate_chunk(tx, upload, key, pinned, targets, absent)
        for key, pinned in pins.items()
    }
    return [done[intent.chunk, intent.stored_length] for intent in intents]
