"""Quotas as rows have them: what counts towards one is loaded and stored here; ``decisions/quotas.py`` decides.

What was replaced or removed counts no more; collection keeps it for its grace, and beyond that for
readers only as much as the quota says (:func:`beyond_quota`).
"""

# ruff: noqa: S608 - statements are put together from constants of this file alone

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final

import apsw

from collective.catalog.decisions.quotas import (
    IDLE_MS,
    QuotaUse,
    Recorded,
    Reservation,
    beyond,
    grown,
    require_place,
    require_room,
)
from collective.catalog.decisions.weights import Weight, catalog_bytes
from collective.catalog.sqlite.files.recording import end_upload
from collective.catalog.sqlite.files.upload_rows import IS_OPEN
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.rows import RETIRED
from collective.catalog.sqlite.store.writer import StepsFirstError, Transaction
from collective.core.ids import UploadKey
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.extents import Extent

ENDED_AT_ONCE: Final = 50
"""Idle uploads that a change ends itself; more of them are ended in steps before it."""
_IS_IDLE: Final = f"{IS_OPEN} AND (touched_ms <= ? OR touched_ms > ?)"
_WEIGHT = (
    "v.chunk_count, v.hole_count, v.hole_bytes, length(CAST(v.metadata AS BLOB))"
    " + length(CAST(v.content_type AS BLOB)) + coalesce(length(v.target), 0)"
)
WEIGHT_COLUMNS = f"v.target IS NOT NULL, v.size, {_WEIGHT}"
"""See :func:`weight_from`."""


def make_room(
    tx: Transaction, datastore: int, more_bytes: int, *, upload: str = "", also_open: bool = True
) -> None:
    """Find room in the quota for ``more_bytes`` (of ``upload``) that count; NoSpaceError where there is none.

    ``also_open``: count what other open uploads have reserved; idle ones are ended if that helps.

    Raises:
        StepsFirstError: those to be ended are many.
    """
    row = tx.one(
        "SELECT e.name, d.quota, f.data + f.overhead FROM datastores d"
        " JOIN entries e ON e.id = d.entry JOIN folders f ON f.entry = d.entry"
        " WHERE d.entry = ? AND d.quota > 0",
        datastore,
    )
    if row is None:
        return
    reserved = partial(_reserved_by_others, tx, datastore, upload)
    with closing(_idle_uploads(tx, datastore, upload)) as idle:
        chosen = require_room(
            QuotaUse(*row),
            more_bytes,
            reserved_by_others=reserved if also_open else None,
            idle=idle,
        )
    if len(chosen) > ENDED_AT_ONCE:
        raise StepsFirstError(chosen, _end_each, ENDED_AT_ONCE)
    _end_each(tx, chosen)


def _reserved_by_others(tx: Transaction, datastore: int, upload: str) -> int:
    """Return what all open uploads there but ``upload`` have reserved."""
    found: int = tx.value(
        "SELECT coalesce(sum(max(reserved - credit, 0)), 0) FROM uploads"
        f" WHERE datastore = ? AND {IS_OPEN} AND id <> ? AND expires_ms > ?",
        datastore,
        upload,
        tx.now_ms,
    )
    return found


def _idle_uploads(
    tx: Transaction, datastore: int, upload: str
) -> Generator[tuple[UploadKey, int], None, None]:
    """Yield the others that stand still, the longest first, and what each would free."""
    sql = (
        f"SELECT id, reserved - credit FROM uploads WHERE datastore = ? AND {_IS_IDLE}"
        " AND id <> ? AND expires_ms > ? AND reserved > credit ORDER BY touched_ms"
    )
    with closing(tx.run(sql, datastore, *_idle(tx), upload, tx.now_ms)) as found:
        for key, freed in found:
            yield UploadKey(key), freed


def reserve(
    tx: Transaction,
    upload: str,
    path: FilePath,
    datastore: int,
    *,
    end: int = 0,
    new: Sequence[Extent] = (),
) -> None:
    """Count what an upload is going to add before it is accepted; what is repeated counts once.

    What the file at ``path`` counts for now is credited, since it goes when this one comes.

    Args:
        tx: of the batch, of which extents are recorded already.
        upload: that asks.
        path: where it goes.
        datastore: in which it goes there.
        end: the highest end that the batch names.
        new: those of its extents whose chunks are new to the upload.

    Raises:
        NoSpaceError: the quota has no room.
        UsageError: the file would have more extents or holes than one of its size may have.
    """
    reach, pinned, pins, reserved_bytes, data, extents, holes, hole_bytes, attributes = tx.one(
        f"SELECT u.reach, u.pinned, u.pin_count, u.reserved, v.recorded, {_WEIGHT}"
        " FROM uploads u JOIN versions v ON v.id = u.version WHERE u.id = ?",
        upload,
    )
    before = Reservation(reach=reach, pinned_bytes=pinned, pins=pins, reserved_bytes=reserved_bytes)
    recorded = Recorded(
        data_bytes=data,
        extents=extents,
        holes=holes,
        hole_bytes=hole_bytes,
        attribute_bytes=attributes,
    )
    after = grown(before, recorded, end=end, new=new)
    if after.reserved_bytes == before.reserved_bytes and not new:
        return
    credit = charge_at(tx, path)
    make_room(tx, datastore, after.reserved_bytes - credit, upload=upload)
    tx.run(
        "UPDATE uploads SET reserved = ?, reach = ?, pinned = ?, pin_count = ?, credit = ?"
        " WHERE id = ?",
        after.reserved_bytes,
        after.reach,
        after.pinned_bytes,
        after.pins,
        credit,
        upload,
    )


def weigh(db: apsw.Connection, version: int) -> Weight:
    """Return what a version counts for where it is current."""
    sql = f"SELECT {WEIGHT_COLUMNS} FROM versions v WHERE v.id = ?"
    return weight_from(*rows.fetch(db, sql, version))


def weight_from(
    is_link: int, size: int, extents: int, holes: int, hole_bytes: int, attribute_bytes: int
) -> Weight:
    """Return the same from :data:`WEIGHT_COLUMNS`."""
    overhead = catalog_bytes(extents=extents, attribute_bytes=attribute_bytes, holes=holes)
    return Weight(1, 0 if is_link else 1, size, size - hole_bytes, overhead)


def charge_at(tx: Transaction, path: FilePath) -> int:
    """Return what the file or link at ``path`` counts for; 0 if there is none."""
    there = rows.find(tx.db, path)
    return weigh(tx.db, there[2]).charge_bytes if there is not None and there[2] else 0


def make_place(tx: Transaction, caller: Call) -> None:
    """Bound the open uploads of one caller: their idle ones make place, else BusyError.

    Those of a peer count together, whoever its people are.
    """
    first = last = str(caller.principal)
    if caller.via is not None:
        first, last = f"spiffe://{caller.via}/", f"spiffe://{caller.via}0"  # '0' follows '/'
    of_them = f"principal BETWEEN ? AND ? AND {IS_OPEN}"

    def idle(most: int) -> Sequence[UploadKey]:
        found = tx.all(
            f"SELECT id FROM uploads WHERE {of_them} AND {_IS_IDLE} ORDER BY touched_ms LIMIT ?",
            first,
            last,
            *_idle(tx),
            most,
        )
        return [UploadKey(upload) for (upload,) in found]

    count = tx.value(f"SELECT count(*) FROM uploads WHERE {of_them}", first, last)
    for upload in require_place(count, idle):
        end_upload(tx, upload)


def beyond_quota(db: apsw.Connection) -> frozenset[int]:
    """Return the versions that are not kept even for readers.

    In a datastore with a quota, the last that were replaced or removed are kept while readers lease
    them, in all as many bytes as the quota has.  What was replaced elsewhere is not looked at.
    """
    full: Any = db.execute(
        f"SELECT d.entry, d.quota FROM datastores d CROSS JOIN versions v ON v.datastore = d.entry"
        f" AND v.state = {RETIRED} WHERE d.quota > 0 GROUP BY d.entry"
        " HAVING sum(v.size - v.hole_bytes) > d.quota"
    ).fetchall()
    newest_first = (
        f"SELECT id, size - hole_bytes FROM versions WHERE datastore = ? AND state = {RETIRED}"
        " ORDER BY retired_ms DESC, id DESC"
    )
    return frozenset(
        version
        for datastore, quota in full
        for version in beyond(db.execute(newest_first, (datastore,)), quota)
    )


def end_idle_uploads(tx: Transaction, limit: int) -> None:
    """End uploads of anybody that stand still, those that do so for longest first."""
    found = tx.all(
        f"SELECT id FROM uploads WHERE {_IS_IDLE} ORDER BY touched_ms LIMIT ?", *_idle(tx), limit
    )
    for (upload,) in tx.unspent(found):
        end_upload(tx, upload)


def _end_each(tx: Transaction, uploads: Sequence[str]) -> Sequence[str]:
    """End those uploads that stand still yet, until the transaction is spent; return what was looked at."""
    seen = []
    for upload in tx.unspent(uploads):
        if tx.value(f"SELECT 1 FROM uploads WHERE id = ? AND {_IS_IDLE}", upload, *_idle(tx)):
            end_upload(tx, upload)
        seen.append(upload)
    return seen


def _idle(tx: Transaction) -> tuple[int, int]:
    """Return the parameters of ``_IS_IDLE``."""
    return tx.now_ms - IDLE_MS, tx.now_ms + IDLE_MS
