"""Counting receipts, recording extents, and clearing up after an upload."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collective.access.permissions import Decider
from collective.catalog.decisions.allocation import usable
from collective.catalog.decisions.extents import (
    Around,
    Fit,
    place_extent,
    place_hole,
    require_complete,
)
from collective.catalog.decisions.receipts import Proof, SentCopy, proof_of, require_of_upload
from collective.catalog.decisions.uploads import may_use_still, never_asked
from collective.catalog.sqlite.collection.dooming import doom_intent
from collective.catalog.sqlite.files.allocation import is_kept, known_copies, may_use
from collective.catalog.sqlite.files.upload_rows import ENDED
from collective.catalog.sqlite.nodes.doubt import doubt_node
from collective.catalog.sqlite.store.references import too_few, trusted_standings
from collective.catalog.sqlite.store.rows import COLLECTED, INTENT, OPEN, STORED
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId
from collective.model.copies import CopyState, VerifiedReceipt
from collective.model.extents import Extent, Hole
from collective.model.nodes import Standing
from collective.placement import quorum


def count_receipts(tx: Transaction, upload: str, receipts: Sequence[VerifiedReceipt]) -> None:
    """Mark copies stored, by what ``decisions/receipts.py`` says that each receipt proves."""
    for receipt in receipts:
        require_of_upload(receipt, upload)
        row = tx.one(
            "SELECT c.chunk, c.node, c.state, k.stored_length, s.received FROM chunks k"
            " JOIN nodes n ON n.name = ? AND n.removed = 0"
            " JOIN copies c ON c.chunk = k.id AND c.node = n.id AND c.generation = ?"
            " JOIN sent s ON s.upload = ? AND s.chunk = k.id AND s.node = n.id"
            " AND s.generation = c.generation WHERE k.hash = ?",
            receipt.node,
            receipt.generation,
            upload,
            receipt.chunk,
        )
        if row is None:
            continue  # that copy is not wanted any more
        chunk, node, state, length, is_received = row
        sent = SentCopy(CopyState(state), length, bool(is_received))
        proof = proof_of(receipt.stored_length, sent)
        if proof is Proof.LIE:
            doubt_node(tx, receipt.node, "it signed a receipt of another length than its ticket's")
        if proof in {Proof.CONTENT, Proof.COPY}:
            tx.run(
                "UPDATE sent SET received = 1 WHERE upload = ? AND chunk = ? AND node = ?",
                upload,
                chunk,
                node,
            )
        if proof is Proof.COPY:
            tx.run("UPDATE copies SET state = ? WHERE chunk = ? AND node = ?", STORED, chunk, node)


def record(
    tx: Transaction,
    decider: Decider,
    upload: str,
    version: int,
    copies: int,
    extents: Sequence[Extent],
    *,
    absent: frozenset[NodeId],
    strict: bool,
) -> None:
    """Record extents whose chunks have a quorum; ``strict``: the others raise, else are left out.

    Copies on nodes in ``absent`` count only by this upload's own receipts.
    """
    enough: dict[tuple[bytes, int], tuple[int, list[Standing]]] = {}
    added = count = 0
    for extent in extents:
        key = (extent.chunk, extent.stored_length)
        if key not in enough:
            enough[key] = _standings(tx, decider, upload, version, key, copies, absent)
        chunk, standings = enough[key]
        if not quorum.is_quorum(standings, copies):
            if strict:
                raise too_few(extent.offset, copies, standings)
            continue
        grown = _add_extent(tx, version, chunk, extent)
        added += grown
        count += grown > 0
    if added:
        tx.run(
            "UPDATE versions SET recorded = recorded + ?, chunk_count = chunk_count + ?"
            " WHERE id = ?",
            added,
            count,
            version,
        )


def _standings(
    tx: Transaction,
    decider: Decider,
    upload: str,
    version: int,
    key: tuple[bytes, int],
    copies: int,
    absent: frozenset[NodeId],
) -> tuple[int, list[Standing]]:
    """Return a chunk's row, and the standing of each node whose copy may count for the upload.

    The receipts that an upload shows prove that it has the content.  When it has shown a quorum of
    them, every copy on a trusted node counts, wherever repair has moved the copies since.
    """
    row = tx.one(
        "SELECT k.id, p.authorised FROM chunks k"
        " LEFT JOIN pins p ON p.upload = ? AND p.chunk = k.id"
        " WHERE k.hash = ? AND k.stored_length = ?",
        upload,
        *key,
    )
    if row is None or row[1] is None:
        raise never_asked()
    chunk, authorised = row
    if _is_proven(tx, upload, version, chunk, copies):
        return chunk, trusted_standings(tx.db, chunk)
    is_theirs = may_use_still(
        is_authorised=bool(authorised),
        is_kept=lambda: is_kept(tx, chunk),
        may_use=lambda: may_use(tx, decider, upload, chunk, retired=True),
    )
    found = usable(known_copies(tx, upload, chunk), is_authorised=is_theirs, absent=absent)
    return chunk, [one.standing for one in found]


def _is_proven(tx: Transaction, upload: str, version: int, chunk: int, copies: int) -> bool:
    """Tell whether the upload has recorded the chunk before, or has shown a quorum of receipts."""
    if tx.value("SELECT 1 FROM extents WHERE chunk = ? AND version = ? LIMIT 1", chunk, version):
        return True
    shown = tx.all(
        "SELECT n.standing FROM sent s JOIN nodes n ON n.id = s.node"
        " WHERE s.upload = ? AND s.chunk = ? AND s.received = 1",
        upload,
        chunk,
    )
    return quorum.is_quorum((Standing(one) for (one,) in shown), copies)


def _add_extent(tx: Transaction, version: int, chunk: int, extent: Extent) -> int:
    """Insert one extent; return the bytes by which what is recorded grew."""
    around, before = _around(tx, version, extent)
    if place_extent(extent, around) is Fit.THERE:
        if before != chunk:
            tx.run(
                "UPDATE extents SET chunk = ?, format = ?, plain_id = ?"
                " WHERE version = ? AND offset = ?",
                chunk,
                extent.format,
                extent.plain_id,
                version,
                extent.offset,
            )
        return 0
    tx.run(
        "INSERT INTO extents (version, offset, length, chunk, format, plain_id)"
        " VALUES (?,?,?,?,?,?)",
        version,
        extent.offset,
        extent.length,
        chunk,
        extent.format,
        extent.plain_id,
    )
    return extent.length


def _around(tx: Transaction, version: int, extent: Extent) -> tuple[Around, int | None]:
    """Return what lies around an extent, and the chunk of the one that begins there or before."""
    before = tx.one(
        "SELECT offset, length, chunk FROM extents WHERE version = ? AND offset <= ?"
        " ORDER BY offset DESC LIMIT 1",
        version,
        extent.offset,
    )
    after, hole_end = tx.one(
        "SELECT (SELECT min(offset) FROM extents WHERE version = ?1 AND offset > ?2),"
        " (SELECT offset + length FROM holes WHERE version = ?1 AND offset < ?3"
        " ORDER BY offset DESC LIMIT 1)",
        version,
        extent.offset,
        extent.offset + extent.length,
    )
    offset, length, chunk = before or (None, 0, None)
    around = Around(
        before_offset=offset, before_length=length, after_offset=after, hole_end=hole_end
    )
    return around, chunk


def add_holes(tx: Transaction, version: int, holes: Sequence[Hole]) -> None:
    """Record holes of an open version; the same one again is no error."""
    count = total = 0
    for hole in holes:
        known = tx.value(
            "SELECT length FROM holes WHERE version = ? AND offset = ?", version, hole.offset
        )
        last_end = _last_end(tx, version, hole.offset + hole.length)
        if place_hole(hole, known, last_end) is Fit.THERE:
            continue
        tx.run(
            "INSERT INTO holes (version, offset, length) VALUES (?,?,?)",
            version,
            hole.offset,
            hole.length,
        )
        count += 1
        total += hole.length
    if count:
        tx.run(
            "UPDATE versions SET hole_count = hole_count + ?, hole_bytes = hole_bytes + ?"
            " WHERE id = ?",
            count,
            total,
            version,
        )


def _last_end(tx: Transaction, version: int, before: int) -> int:
    """Return the greatest end of the pieces of a version that begin before an offset."""
    return max(
        tx.value(
            f"SELECT offset + length FROM {table} WHERE version = ? AND offset < ?"  # noqa: S608
            " ORDER BY offset DESC LIMIT 1",
            version,
            before,
        )
        or 0
        for table in ("extents", "holes")
    )


@dataclass(frozen=True, slots=True)
class Pieces:
    """How many pieces a complete version has."""

    extents: int
    holes: int
    hole_bytes: int


def check_complete(tx: Transaction, version: int, size_bytes: int) -> Pieces:
    """Return the pieces when they cover ``size_bytes`` exactly, else ConflictError."""
    recorded, hole_bytes, extents, holes, data_end, hole_end = tx.one(
        "SELECT recorded, hole_bytes, chunk_count, hole_count,"
        " (SELECT offset + length FROM extents WHERE version = ?1 ORDER BY offset DESC LIMIT 1),"
        " (SELECT offset + length FROM holes WHERE version = ?1 ORDER BY offset DESC LIMIT 1)"
        " FROM versions WHERE id = ?1",
        version,
    )
    end = max(data_end or 0, hole_end or 0)
    require_complete(size_bytes, recorded_bytes=recorded + hole_bytes, end=end)
    return Pieces(extents, holes, hole_bytes)


def end_upload(tx: Transaction, upload: str) -> None:
    """Take an upload out of use; what it recorded is cleared by collection, the rest by upkeep."""
    tx.run("UPDATE uploads SET state = ? WHERE id = ?", ENDED, upload)
    tx.run(
        "UPDATE versions SET state = ?, retired_ms = 0 WHERE state = ?"
        " AND id = (SELECT version FROM uploads WHERE id = ?)",
        COLLECTED,
        OPEN,
        upload,
    )


def clear_upload(tx: Transaction, upload: str, limit: int) -> bool:
    """Drop up to ``limit`` rows of pins and intents of an ended upload; True when none is left.

    Collection looks at the chunks that its file does not hold: perhaps nothing needs them any more,
    or nothing that asks for so many copies.
    """
    sent = tx.all(
        "DELETE FROM sent WHERE upload = ?1 AND (chunk, node) IN"
        " (SELECT chunk, node FROM sent WHERE upload = ?1 LIMIT ?2)"
        " RETURNING chunk, node, generation",
        upload,
        limit,
    )
    for chunk, node in _intents_of_nobody(tx, sent):
        doom_intent(tx, chunk, node)
    limit -= len(sent)
    if limit <= 0:  # pins go last: collection looks at their chunks once, from then on
        return False
    pins = tx.all(
        "DELETE FROM pins WHERE upload = ?1 AND chunk IN"
        " (SELECT chunk FROM pins WHERE upload = ?1 LIMIT ?2) RETURNING chunk",
        upload,
        limit,
    )
    tx.run(
        "INSERT OR IGNORE INTO candidates (chunk, since_ms) SELECT value, ?1 FROM json_each(?2)"
        " WHERE NOT EXISTS (SELECT 1 FROM extents WHERE chunk = value"
        " AND version = (SELECT version FROM uploads WHERE id = ?3))",
        tx.now_ms,
        json.dumps([chunk for (chunk,) in pins]),
        upload,
    )
    return len(pins) < limit


def _intents_of_nobody(tx: Transaction, sent: Sequence[tuple[int, int, int]]) -> Sequence[Any]:
    """Return (chunk, node) of those copies that never came and that no other upload sends."""
    return tx.all(
        "SELECT c.chunk, c.node FROM json_each(?) j CROSS JOIN copies c ON c.chunk = j.value ->> 0"
        " AND c.node = j.value ->> 1 AND c.generation = j.value ->> 2 AND c.state = ?"
        " WHERE NOT EXISTS (SELECT 1 FROM sent s WHERE s.chunk = c.chunk AND s.node = c.node"
        " AND s.generation = c.generation)",
        json.dumps(sent),
        INTENT,
    )


def clear_extents(tx: Transaction, version: int, limit: int) -> bool:
    """Drop up to ``limit`` extents and holes of a version that is no more, and it with the last; True then."""
    last, count = tx.one(
        "SELECT max(offset), count(*) FROM"
        " (SELECT offset FROM extents WHERE version = ? ORDER BY offset LIMIT ?)",
        version,
        limit,
    )
    if count:
        tx.run(
            "INSERT OR IGNORE INTO candidates (chunk, since_ms)"
            " SELECT chunk, ? FROM extents WHERE version = ? AND offset <= ?",
            tx.now_ms,
            version,
            last,
        )
        tx.run("DELETE FROM extents WHERE version = ? AND offset <= ?", version, last)
    if count >= limit:
        tx.run(
            "UPDATE versions SET chunk_count = max(chunk_count - ?, 0) WHERE id = ?", count, version
        )
        return False
    tx.run(
        "DELETE FROM holes WHERE (version, offset) IN"
        " (SELECT version, offset FROM holes WHERE version = ? LIMIT ?)",
        version,
        limit - count,
    )
    holes = tx.db.changes()
    if holes >= limit - count:
        tx.run(
            "UPDATE versions SET hole_count = max(hole_count - ?, 0) WHERE id = ?", holes, version
        )
        return False
    tx.run("DELETE FROM versions WHERE id = ?", version)
    return True
