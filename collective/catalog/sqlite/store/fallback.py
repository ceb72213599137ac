"""Falling back: a start whose database cannot be used goes on from the newest good snapshot.

Owns the choice of the snapshot, the order that makes a crash at any step harmless, what is kept of the
files that were given up, and the *restored* state that follows.

Order: the snapshot is copied beside the database and made *restored* there, flushed; then what lies in the
database's place is set aside; then the copy is renamed into its place.  A start that is cut off finds the
damaged files, or none, or the restored copy, and does the rest.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import apsw

from collective.catalog.decisions.generations import Leap
from collective.catalog.sqlite.audit.writing import write_row
from collective.catalog.sqlite.collection.dooming import FIRST, GUARDED_AT_ONCE, Place, guard_again
from collective.catalog.sqlite.store.catalog_life_rows import end_life
from collective.catalog.sqlite.store.custody import DATABASE
from collective.catalog.sqlite.store.immediate import immediate
from collective.catalog.sqlite.store.snapshot import (
    FOLDER,
    Pair,
    find_pairs,
    is_verified,
    read_kept,
)
from collective.core.disk import Disk

ASIDE: Final = "aside"
ASIDE_TIMES: Final = 3
"""So many times of setting aside are kept, the latest."""
_DRAFT: Final = "catalog.restoring"
_COPY_BYTES: Final = 1 << 20
_TIME: Final = re.compile(r"\.(\d{8}T\d{6}Z)$")


def candidates(data_dir: str, disk: Disk) -> list[Pair]:
    """Return the complete pairs in the order in which a start tries them.

    The newest that ``kept.json`` knows comes first.  Newer ones that it does not know were left by
    a process over whose files a backup was unpacked; they come last, the oldest first.
    """
    pairs = find_pairs(data_dir, disk)
    kept = read_kept(data_dir, disk)
    if not kept:
        return pairs
    newest = max(kept)
    return [pair for pair in pairs if pair <= newest] + sorted(
        pair for pair in pairs if pair > newest
    )


def choose(
    data_dir: str, disk: Disk, prepare: Callable[[str, Pair], bool]
) -> tuple[Pair, str] | None:
    """Return the first pair that can be used, and the path of its prepared copy; None: there is none.

    Args:
        data_dir: the catalogue's.
        disk: holds it.
        prepare: makes the copy at the path given fit to be the database; False where it is damaged.
    """
    draft = os.path.join(data_dir, _DRAFT)
    for pair in candidates(data_dir, disk):
        if is_verified(data_dir, pair, disk):
            _clear(draft, disk)
            _copy(os.path.join(data_dir, FOLDER, pair.name), draft, disk)
            if prepare(draft, pair):
                with disk.open(draft, "update") as file:
                    file.datasync()
                return pair, draft
    _clear(draft, disk)
    return None


def put_in_place(data_dir: str, disk: Disk, draft: str, chosen: Pair, now_s: float) -> list[str]:
    """Make the prepared copy the database; return what was set aside, as paths.

    Snapshots newer than the chosen one belong to what was given up, and go aside with it.
    """
    aside = set_aside(data_dir, disk, live_files(data_dir, disk), now_s)
    disk.rename(draft, os.path.join(data_dir, DATABASE))
    disk.sync_dir(data_dir)
    return aside + set_aside_newer(data_dir, disk, chosen, now_s)


def set_aside_newer(data_dir: str, disk: Disk, than: Pair, now_s: float) -> list[str]:
    """Set aside the pairs that are newer than the catalogue; return the new paths."""
    names = []
    for pair in find_pairs(data_dir, disk):
        if pair > than:
            names += [os.path.join(FOLDER, f"{pair.name}.b3"), os.path.join(FOLDER, pair.name)]
    return set_aside(data_dir, disk, names, now_s)


def live_files(data_dir: str, disk: Disk) -> list[str]:
    """Return the names of the database and its log, where they are there."""
    return [
        name
        for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-journal")
        if disk.exists(os.path.join(data_dir, name))
    ]


def set_aside(data_dir: str, disk: Disk, names: list[str], now_s: float) -> list[str]:
    """Rename files into ``aside/`` with the time added; older ones go, see :data:`ASIDE_TIMES`."""
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(os.path.join(data_dir, f"{DATABASE}-shm"))  # the log's index: made anew
    if not names:
        return []
    folder = os.path.join(data_dir, ASIDE)
    disk.make_dir(folder)
    while any(disk.exists(_aside(folder, name, now_s)) for name in names):
        now_s += 1
    moved = []
    for name in names:
        moved.append(_aside(folder, name, now_s))
        disk.rename(os.path.join(data_dir, name), moved[-1])
    disk.sync_dir(folder)
    disk.sync_dir(data_dir)
    _forget_old(folder, disk)
    return moved


def become_restored(
    db: apsw.Connection, epoch: int, left_out: Leap, now_s: float, detail: str
) -> None:
    """Make the database of ``db`` *restored*: a later life of it may have existed.

    Nothing is deleted until the operator says so, and no copy then whose others were confirmed in the
    former life alone; open codes end, since they may be used up; numbers
    are skipped that the later life may have given out, and remembered as not this catalogue's.

    Args:
        db: of the present schema, in no transaction.
        epoch: the new one, higher than any that was used.
        left_out: numbers that are skipped.
        now_s: Unix time.
        detail: for the audit.
    """
    with immediate(db):
        end_life(db)
        db.execute(
            "INSERT INTO foreign_generations SELECT next_generation, next_generation + ? FROM state",
            (left_out.generations,),
        )
        db.execute(
            "UPDATE state SET epoch = ?, restored = 1, next_generation = next_generation + ?,"
            " next_version = next_version + ?, sequence = sequence + 1",
            (epoch, *left_out),
        )
        db.execute("UPDATE codes SET revoked = 1 WHERE uses_left > 0")
        after: Place | None = FIRST
        while after is not None:
            after = guard_again(db, after, GUARDED_AT_ONCE)
        row: Any = db.execute("SELECT catalog_id FROM state").fetchone()
        write_row(db, int(now_s * 1000), "coordinator", "restored", row[0], detail)


def _aside(folder: str, name: str, now_s: float) -> str:
    time = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    return os.path.join(folder, f"{os.path.basename(name)}.{time}")


def _copy(source: str, target: str, disk: Disk) -> None:
    buffer = memoryview(bytearray(_COPY_BYTES))
    offset = 0
    with disk.open(source, "read") as file, disk.open(target, "create") as made:
        while count := file.read_into(buffer, offset):
            made.write(buffer[:count], offset)
            offset += count
        made.datasync()


def _clear(draft: str, disk: Disk) -> None:
    for path in (draft, f"{draft}-journal", f"{draft}-wal", f"{draft}-shm"):
        with contextlib.suppress(FileNotFoundError):
            disk.unlink(path)


def _forget_old(folder: str, disk: Disk) -> None:
    times: dict[str, list[str]] = {}
    for entry in disk.list_dir(folder):
        match = _TIME.search(entry.name)
        if match:
            times.setdefault(match[1], []).append(entry.name)
    for time in sorted(times)[:-ASIDE_TIMES]:
        for name in times[time]:
            disk.unlink(os.path.join(folder, name))
