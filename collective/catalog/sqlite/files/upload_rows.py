"""Rows of uploads: which there are, whose, and whether they may go on."""

# ruff: noqa: S608 - statements are put together from constants of this file alone

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from collective.access.permissions import Decider
from collective.catalog.decisions.uploads import UploadState, gone, require_active
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import UploadKey
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.rights import Right
from collective.model.writing import Precondition

ACTIVE, COMMITTED, ENDED, COMMITTED_UNCLEARED = (int(state) for state in UploadState)
"""States of an upload, as statements have them."""
IS_OPEN: Final = f"state = {ACTIVE}"
"""A literal: SQLite would plan a statement anew at each use whose parameter decides about an index."""


@dataclass(frozen=True, slots=True)
class UploadRow:
    """One upload as its row has it."""

    id: UploadKey
    path: FilePath
    version: int
    """Id of the version that it makes."""
    state: UploadState
    copies: int
    condition: Precondition
    expires_ms: int
    result: str | None
    """What its commit answered."""
    datastore: int
    """Id of the entry where it began."""
    reserved: int
    """What its file counts for in the quota, as far as it is allocated."""
    credit: int
    """What the file that it replaces counts for."""
    checked_epoch: int
    """The trust epoch at which all its extents were checked; -1 after one of its copies went."""
    checking_epoch: int
    """The one at which they are being checked again,"""
    checked_to: int
    """and the offset up to which that has come."""


SELECT_UPLOAD = (
    "SELECT id, path, version, state, copies, if_version, if_absent, expires_ms, result,"
    " datastore, reserved, credit, checked_epoch, checking_epoch, checked_to"
    " FROM uploads WHERE id = ? AND principal = ?"
)


def upload_row(row: Any) -> UploadRow:
    """Return what a row of :data:`SELECT_UPLOAD` says; NotFoundError for None."""
    if row is None:
        raise gone()
    return UploadRow(
        row[0],
        FilePath.parse(row[1]),
        row[2],
        UploadState(row[3]),
        row[4],
        Precondition(row[5], bool(row[6])),
        row[7],
        row[8],
        row[9] or 0,
        *row[10:],
    )


def load_upload(tx: Transaction, caller: Call, upload: UploadKey) -> UploadRow:
    """Return an upload of this caller, whatever its state; NotFoundError if there is none."""
    return upload_row(tx.one(SELECT_UPLOAD, upload, str(caller.principal)))


def active_upload(tx: Transaction, caller: Call, upload: UploadKey) -> tuple[UploadRow, Decider]:
    """Return an upload into which the caller may write now, and what decides of their rights.

    Raises NotFoundError, PermissionDeniedError.
    """
    found = load_upload(tx, caller, upload)
    decider = tx.decider(caller)
    decider.require(Right.WRITE, found.path)
    require_active(found.state, found.expires_ms, tx.now_ms)
    return found, decider


def keep_alive(tx: Transaction, upload: str, life_s: float) -> None:
    """Note that its client is at work: an open upload and its reservation live for ``life_s`` on."""
    tx.run(
        f"UPDATE uploads SET touched_ms = ?, expires_ms = ? WHERE id = ? AND {IS_OPEN}",
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
