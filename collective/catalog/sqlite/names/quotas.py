"""Quotas: what counts towards one, as rows have it; ``decisions/quotas.py`` decides.

What was replaced or removed counts no more; collection keeps it for its grace, and beyond that for
readers only as much as the quota says (:func:`beyond_quota`).
"""

# ruff: noqa: S608 - statements are put together from constants of this file alone

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

import apsw

from collective.catalog.decisions.quotas import (
    IDLE_MS,
    Recorded,
    Reservation,
    beyond,
    excess_of,
    giving_way,
    grown,
    no_room,
    too_many_open,
)
from collective.catalog.decisions.weights import Weight, catalog_bytes
from collective.catalog.sqlite.files.recording import end_upload
from collective.catalog.sqlite.files.upload_rows import ACTIVE, COMMITTED
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.rows import RETIRED
from collective.catalog.sqlite.store.writer import StepsFirstError, Transaction
from collective.core.ids import UploadKey
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.extents import Extent

ENDED_AT_ONCE: Final = 50
"""Idle uploads that a change ends itself; more of them are ended in steps before it."""
_IS_OPEN: Final = f"state = {ACTIVE}"
"""A literal: SQLite would plan a statement anew at each use whose parameter decides about an index."""
_IS_IDLE: Final = f"{_IS_OPEN} AND (touched_ms <= ? OR touched_ms > ?)"
_WEIGHT = (
    "v.chunk_count, v.hole_count, v.hole_bytes, length(CAST(v.metadata AS BLOB))"
    " + length(CAST(v.content_type AS BLOB)) + coalesce(length(v.target), 0)"
)
WEIGHT_COLUMNS = f"v.target IS NOT NULL, v.size, {_WEIGHT}"
"""See :func:`weight_from`."""


def require_room(
    tx: Transaction, datastore: int, more_bytes: int, *, upload: str = "", also_open: bool = True
) -> None:
    """Raise NoSpaceError if ``more_bytes`` (of ``upload``) that count would pass the quota.

    ``also_open``: count what other open uploads have reserved; idle ones are ended if that helps.
    """
    row = tx.one(
        "SELECT d.quota, f.data + f.overhead, e.name FROM datastores d"
        " JOIN entries e ON e.id = d.entry JOIN folders f ON f.entry = d.entry"
        " WHERE d.entry = ? AND d.quota > 0",
        datastore,
    )
    if row is None or more_bytes <= 0:
        return
    quota, used, name = row
    lacking = used + more_bytes - quota
    if also_open and lacking <= 0:
        lacking += tx.value(
            "SELECT coalesce(sum(max(reserved - credit, 0)), 0) FROM uploads"
            f" WHERE datastore = ? AND {_IS_OPEN} AND id <> ? AND expires_ms > ?",
            datastore,
            upload,
            tx.now_ms,
        )
        if lacking > 0:
            lacking -= _end_idle(tx, datastore, upload, lacking)
    if lacking > 0:
        raise no_room(name, quota, lacking)


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
    require_room(tx, datastore, after.reserved_bytes - credit, upload=upload)
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


def keep_alive(tx: Transaction, upload: str, life_s: float) -> None:
    """Note that its client is at work: an open upload and its reservation live for ``life_s`` on."""
    tx.run(
        f"UPDATE uploads SET touched_ms = ?, expires_ms = ? WHERE id = ? AND {_IS_OPEN}",
        tx.now_ms,
        tx.now_ms + int(life_s * 1000),
        upload,
    )


def expire_in_time(tx: Transaction, life_s: float, limit: int) -> None:
    """Let no upload live longer than ``life_s`` from now: a clock that was ahead gave more."""
    latest_ms = tx.now_ms + int(life_s * 1000)
    for state in (ACTIVE, COMMITTED):
        tx.run(
            "UPDATE uploads SET expires_ms = ?1 WHERE id IN"
            f" (SELECT id FROM uploads WHERE state = {state} AND expires_ms > ?1 LIMIT ?2)",
            latest_ms,
            limit,
        )


def require_place(tx: Transaction, caller: Call) -> None:
    """Bound the open uploads of one caller: their idle ones make place, else BusyError.

    Those of a peer count together, whoever its people are.
    """
    first = last = str(caller.principal)
    if caller.via is not None:
        first, last = f"spiffe://{caller.via}/", f"spiffe://{caller.via}0"  # '0' follows '/'
    of_them = f"principal BETWEEN ? AND ? AND {_IS_OPEN}"
    excess = excess_of(tx.value(f"SELECT count(*) FROM uploads WHERE {of_them}", first, last))
    if not excess:
        return
    idle = tx.all(
        f"SELECT id FROM uploads WHERE {of_them} AND {_IS_IDLE} ORDER BY touched_ms LIMIT ?",
        first,
        last,
        *_idle(tx),
        excess,
    )
    if len(idle) < excess:
        raise too_many_open()
    for (upload,) in idle:
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


def _end_idle(tx: Transaction, datastore: int, but: str, needed_bytes: int) -> int:
    """End uploads that stand still, the longest first, if ``needed_bytes`` are free then; return how many.

    Raises:
        StepsFirstError: these are many.
    """
    sql = (
        f"SELECT id, reserved - credit FROM uploads WHERE datastore = ? AND {_IS_IDLE}"
        " AND id <> ? AND expires_ms > ? AND reserved > credit ORDER BY touched_ms"
    )
    with closing(tx.run(sql, datastore, *_idle(tx), but, tx.now_ms)) as found:
        idle = ((UploadKey(upload), freed) for upload, freed in found)
        chosen, freed = giving_way(idle, needed_bytes)
    if len(chosen) > ENDED_AT_ONCE:
        raise StepsFirstError(chosen, _end_each, ENDED_AT_ONCE)
    _end_each(tx, chosen)
    return freed


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
