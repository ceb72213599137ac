"""Checking an upload's extents again, after a node or a copy of theirs stopped counting.

Extents are checked when they are recorded.  The *trust epoch* of the catalogue rises with every node
that has copies and whose copies stop counting; an upload whose extents were checked at an earlier one goes through them
again before it commits: a page in each transaction, so that other changes have their turn.  The rows
remember how far it has come.  A single copy that is lost, corrupt, doubted or given up marks the uploads
that use its chunk alone: they have been checked at no epoch (-1).  An extent whose chunk has no quorum any more is dropped, and what was
dropped is sent again by a client that resumes.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

from dataclasses import dataclass

import apsw

from collective.catalog.decisions.uploads import goes_on_at, must_check_again
from collective.catalog.sqlite.files.upload_rows import UploadRow
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.references import TRUSTED, too_few
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.errors import NotEnoughCopiesError
from collective.model.nodes import Standing
from collective.placement import quorum

PAGE_EXTENTS = 500
"""Extents of one step."""

_PAGE = (
    "SELECT x.offset, x.length, coalesce(sum(n.standing = 'approved'), 0),"
    " coalesce(sum(n.standing = 'probation'), 0) FROM extents x"
    " LEFT JOIN copies c ON c.chunk = x.chunk AND c.state = 1"
    f" LEFT JOIN nodes n ON n.id = c.node AND {TRUSTED}"
    " WHERE x.version = ? AND x.offset >= ? GROUP BY x.offset ORDER BY x.offset LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found."""

    is_first: bool
    """It began with the first extent."""
    is_done: bool
    """Every extent was checked at the present epoch."""
    lost: NotEnoughCopiesError | None
    """About the first extent that was dropped."""


def is_behind(db: apsw.Connection, upload: UploadRow) -> bool:
    """Tell whether extents of the upload have to be checked again before it commits."""
    epoch = rows.fetch(db, "SELECT trust_epoch FROM state")[0]
    sql = "SELECT 1 FROM extents WHERE version = ? LIMIT 1"
    return must_check_again(
        upload.checked_epoch, epoch, lambda: rows.fetch(db, sql, upload.version) is not None
    )


def check_page(tx: Transaction, upload: UploadRow) -> Step:
    """Check the next page of extents; drop those whose chunk has no quorum."""
    epoch = tx.value("SELECT trust_epoch FROM state")
    from_offset = goes_on_at(upload.checking_epoch, upload.checked_to, epoch)
    found = tx.all(_PAGE, upload.version, from_offset, PAGE_EXTENTS)
    lost: NotEnoughCopiesError | None = None
    dropped = dropped_bytes = 0
    looked_at = 0
    for offset, length, approved, on_probation in tx.unspent(found):
        looked_at += 1
        standings = [Standing.APPROVED] * approved + [Standing.PROBATION] * on_probation
        if quorum.is_quorum(standings, upload.copies):
            continue
        lost = lost or too_few(offset, upload.copies, standings)
        tx.run("DELETE FROM extents WHERE version = ? AND offset = ?", upload.version, offset)
        dropped += 1
        dropped_bytes += length
    if dropped:
        tx.run(
            "UPDATE versions SET recorded = recorded - ?, chunk_count = chunk_count - ?"
            " WHERE id = ?",
            dropped_bytes,
            dropped,
            upload.version,
        )
    is_done = looked_at == len(found) < PAGE_EXTENTS
    tx.run(
        "UPDATE uploads SET checked_epoch = iif(?1, ?2, checked_epoch), checking_epoch = ?2,"
        " checked_to = ?3 WHERE id = ?4",
        is_done,
        epoch,
        0 if is_done else found[looked_at - 1][0] + 1,
        upload.id,
    )
    return Step(from_offset == 0, is_done, lost)
