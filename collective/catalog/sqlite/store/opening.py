"""Opening a data dir: lock, origin of the files, integrity, schema version, migrations, first rows.

What ``custody`` takes for the last process's own files is opened as it lies there; a database that is
damaged, missing, or a copy of one in use is replaced by the newest good snapshot (``fallback``), and the
catalogue is then *restored*; so is one whose log is gone, as it lies there.  Refuses, each with its own
sentence: a data dir that another process holds, a file that is no catalogue, a schema newer than this
program, and damage with no snapshot to go on from.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from typing import Any, Final

import apsw

from collective.catalog.decisions.generations import leap
from collective.catalog.sqlite.store.catalog_life_rows import begin_life
from collective.catalog.sqlite.store.counting import disagreements
from collective.catalog.sqlite.store.custody import DATABASE, Custody, Origin, Record, judge
from collective.catalog.sqlite.store.fallback import (
    become_restored,
    choose,
    put_in_place,
    set_aside,
    set_aside_newer,
)
from collective.catalog.sqlite.store.migrations import (
    APPLICATION_ID,
    migrate,
    position_of,
    pragma,
    scripts,
)
from collective.catalog.sqlite.store.snapshot import Pair, find_pairs
from collective.catalog.sqlite.store.writer import translate
from collective.core.disk import Disk, DiskLock, sync_ancestors
from collective.core.errors import CorruptionError, DataDirError, NoSpaceError
from collective.core.world import Sqlite, World

LOCK = "catalog.lock"
AT_REST = "copied-at-rest"
"""Put there by the operator: the files were copied while nothing used them."""

READ_AT_START_BYTES: Final = 128 << 20
"""A larger database is read through beside the start where the last process was killed."""

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_AS_LEFT: Final = frozenset((Origin.OURS, Origin.ENDED, Origin.TOUCHED))
_WITHOUT_LOG: Final = frozenset((Origin.CLOSED, Origin.SNAPSHOT))
_UNUSABLE: Final = {
    Origin.COPIED: "is a copy of files that were in use",
    Origin.MISSING: "is not there",
}


def lock_data_dir(data_dir: str, disk: Disk) -> DiskLock:
    """Make ``data_dir`` if it is new and lock it; DataDirError if another process holds it.

    The names that lead to a new one are flushed: without them all that is in it would be lost.
    """
    try:
        disk.make_dir(data_dir)
        if not disk.exists(os.path.join(data_dir, DATABASE)):
            sync_ancestors(os.path.abspath(data_dir), disk)
        lock = disk.lock(os.path.join(data_dir, LOCK))
    except OSError as error:
        raise DataDirError(
            f"The data dir {data_dir} cannot be used ({error.strerror}); is the disk mounted?"
        ) from error
    if lock is None:
        raise DataDirError(
            f"Another process is using the data dir {data_dir}; stop it or choose another dir."
        )
    return lock


def holds_catalog(data_dir: str, disk: Disk) -> bool:
    """Tell whether there is a catalogue in ``data_dir``, or a snapshot to go on from."""
    return disk.exists(os.path.join(data_dir, DATABASE)) or bool(find_pairs(data_dir, disk))


def connect(path: str, sqlite: Sqlite, *, writing: bool, synchronous: str) -> apsw.Connection:
    """Open one connection with the settings that every connection has."""
    flags = apsw.SQLITE_OPEN_READWRITE
    if writing:
        flags |= apsw.SQLITE_OPEN_CREATE
    db = apsw.Connection(path, flags=flags, vfs=sqlite.vfs, statementcachesize=400)
    # Closing must neither write into the database nor remove a log: the files may be others by then.
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.set_busy_timeout(10_000)
    if sqlite.is_exclusive:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
    # A plan is for whatever is bound, else SQLite parses statements anew at each use.  So what a partial
    # index asks for stands in a statement as a constant, never as a parameter.
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA foreign_keys = ON")
    # In memory, what undoes a savepoint is a list that every statement walks: 20,000 updates in one
    # savepoint took 138 s, in a file 0.8 s.  A little of it stays in memory all the same (``library``).
    db.execute("PRAGMA temp_store = FILE")
    db.execute("PRAGMA cache_size = -8192")
    if not writing:
        db.execute("PRAGMA query_only = ON")
    return db


@dataclass(frozen=True, slots=True)
class Opened:
    """A catalogue that is ready: checked, migrated, and this process's."""

    db: apsw.Connection
    """The writing connection."""
    custody: Custody
    notices: tuple[str, ...]
    """What the operator must know of this start, a sentence each."""
    is_inspected: bool = True
    """Whether the database need not be read through any more: see ``inspection``."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where, and by what means."""

    data_dir: str
    world: World
    synchronous: str

    @property
    def disk(self) -> Disk:
        return self.world.disk

    @property
    def at_rest(self) -> str:
        """Says that whoever copied the files did so while no process used them."""
        return os.path.join(self.data_dir, AT_REST)

    @property
    def database(self) -> str:
        return os.path.join(self.data_dir, DATABASE)

    def connect(self, path: str) -> apsw.Connection:
        return connect(path, self.world.sqlite, writing=True, synchronous=self.synchronous)


def open_database(data_dir: str, world: World, synchronous: str) -> Opened:
    """Return the writing connection of a checked and migrated catalogue.

    Raises CorruptionError for a damaged one with no snapshot, DataDirError for a newer or foreign one
    and NoSpaceError when the first rows do not fit.
    """
    place = _Place(data_dir, world, synchronous)
    try:
        return _open(place)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise _damaged(place, "is damaged") from error
    except apsw.Error as error:
        told = translate(error)
        if isinstance(told, NoSpaceError):
            raise told from error
        raise DataDirError(f"The catalogue {place.database} cannot be opened: {error}.") from error
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpaceError(
                f"There is no room in {data_dir} to start; free some space."
            ) from error
        raise DataDirError(
            f"The data dir {data_dir} cannot be used ({error.strerror}); check the disk."
        ) from error


def _open(place: _Place) -> Opened:
    opened = _choose(place)
    if place.disk.exists(place.at_rest):  # it was for this start: of later copies it knows nothing
        place.disk.unlink(place.at_rest)
    return opened


def _choose(place: _Place) -> Opened:
    pairs = find_pairs(place.data_dir, place.disk)
    origin, record = judge(place.data_dir, place.disk, has_snapshots=bool(pairs))
    if origin is Origin.NEW:
        if not place.disk.exists(place.database):
            place.disk.open(place.database, "create", permissions=0o600).close()
        generation = place.disk.generation(place.database)
        return _take(place, place.connect(place.database), (), generation)
    is_here = place.disk.exists(place.database)
    if origin is Origin.COPIED and is_here and place.disk.exists(place.at_rest):
        origin = Origin.TOUCHED
    why = _UNUSABLE.get(origin)
    if why is None:
        try:
            opened = _use(place, origin, record, pairs)
        except (apsw.CorruptError, apsw.NotADBError):
            opened = "is damaged"
        if isinstance(opened, Opened):
            return opened
        why = opened
    return _fall_back(place, record, pairs, why)


def _use(place: _Place, origin: Origin, record: Record | None, pairs: list[Pair]) -> Opened | str:
    """Open the database as it lies there, or tell why it cannot be used."""
    notices = []
    if origin in _WITHOUT_LOG:  # what lies beside it is another database's
        logs = [f"{DATABASE}-wal"] if place.disk.exists(f"{place.database}-wal") else []
        set_aside(place.data_dir, place.disk, logs, place.world.clock.wall_s())
    generation = place.disk.generation(place.database)
    log = place.disk.identity(f"{place.database}-wal")
    has_log = log is not None and log.size_bytes > 0  # a start that failed leaves an empty one
    db = place.connect(place.database)
    try:
        why = _objection(db, place, origin, record, pairs)
        if why is not None:
            db.close()
            return why
        if not pragma(db, "user_version"):  # a first start that was cut off
            return _take(place, db, (), generation)
        found = position_of(db)
        newer = [pair for pair in pairs if pair > found]
        detail = f"a start with the database of epoch {found.epoch} sequence {found.sequence}"
        if origin is Origin.SNAPSHOT or newer:
            _restore(place, db, record, pairs, detail)
            set_aside_newer(place.data_dir, place.disk, found, place.world.clock.wall_s())
            notices.append(
                f"The catalogue is a snapshot or backup (sequence {found.sequence}) that was put in"
                " place: what was written after it is not in it."
            )
        elif not has_log and _had_log(db, origin, record):
            _restore(place, db, record, pairs, f"{detail}, without its log")
            notices.append(
                f"The catalogue's log ({DATABASE}-wal) is gone: what was written after sequence"
                f" {found.sequence} may be missing. No other program may open or tidy up these files."
            )
    except BaseException:
        db.close()
        raise
    taken = _take(place, db, tuple(notices), generation)
    return replace(taken, is_inspected=not _can_be_read_later(place, origin))


def _had_log(db: apsw.Connection, origin: Origin, record: Record | None) -> bool:
    """Tell whether the last process left a log that was not empty.

    It removes it after a clean end was noted, and moved its stamp into the database before it served.
    """
    if origin not in _AS_LEFT or record is None or record.closed is not None:
        return False
    return _stamp(db) == record.stamp  # else it ended before it wrote anything


def _objection(
    db: apsw.Connection, place: _Place, origin: Origin, record: Record | None, pairs: list[Pair]
) -> str | None:
    """Return why the open database must not be used; None: it may."""
    _check_version(db, place.database)
    if origin in _AS_LEFT and record is not None and record.is_damaged:
        return "is damaged"
    # Every snapshot was checked; the file that a clean end left takes seconds a gigabyte to read.
    is_read = origin is not Origin.ENDED and not _can_be_read_later(place, origin)
    if is_read and db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        return "is damaged"
    if not pragma(db, "user_version"):
        return "is empty" if record is not None or pairs else None
    why = _history_objection(db, origin, record, pairs)
    # A database with a stamp and no record beside it was copied alone.
    is_doubtful = origin is Origin.TOUCHED or (origin is Origin.UNRECORDED and _stamp(db) != "")
    if why is None and is_doubtful:
        why = _deep_objection(db)
    return why


def _can_be_read_later(place: _Place, origin: Origin) -> bool:
    """Tell whether reading the database through would keep a start waiting, and can wait itself."""
    if origin is not Origin.OURS or place.world.sqlite.is_exclusive:
        return False
    found = place.disk.identity(place.database)
    return found is not None and found.size_bytes > READ_AT_START_BYTES


def _history_objection(
    db: apsw.Connection, origin: Origin, record: Record | None, pairs: list[Pair]
) -> str | None:
    """Compare with what the record and the snapshots say of this catalogue's past."""
    found = position_of(db)
    if origin in _AS_LEFT and record is not None:
        if _stamp(db) not in (record.stamp, record.previous):
            return "is not the one that this coordinator left here"
        if found < Pair(record.epoch, record.sequence):
            return f"is older than it was ({found.sequence} of {record.sequence} changes)"
    newest = max(pairs, default=found)
    if origin not in _WITHOUT_LOG and found < newest:
        return f"is older than its snapshots ({found.sequence} of {newest.sequence} changes)"
    return None


def _deep_objection(db: apsw.Connection) -> str | None:
    """Look for what a mixture of two moments shows: indexes, references, counters that disagree."""
    if db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
        return "is damaged"
    if db.execute("PRAGMA foreign_key_check").fetchone() is not None:
        return "holds rows of different moments"
    counted = db.execute(
        "SELECT (SELECT count(*) FROM entries WHERE kind = 0), (SELECT count(*) FROM chunks),"
        " (SELECT coalesce(sum(size), 0) FROM entries e JOIN versions v ON v.id = e.version)"
    ).fetchone()
    kept = db.execute("SELECT files, chunks, file_bytes FROM state").fetchone()
    is_newest = pragma(db, "user_version") == len(scripts())  # else the upgrade counts anew
    if counted != kept or (is_newest and disagreements(db)):
        return "holds rows and counters of different moments"
    return None


def _fall_back(place: _Place, record: Record | None, pairs: list[Pair], why: str) -> Opened:
    """Put the newest good snapshot in the database's place, and be restored."""

    def prepare(draft: str, pair: Pair) -> bool:
        try:
            db = place.connect(draft)
            try:
                _check_version(db, draft)
                if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    return False
                migrate(db, place.data_dir, place.world)
                detail = (
                    f"the catalogue {why}; snapshot of epoch {pair.epoch} sequence {pair.sequence}"
                )
                _restore(place, db, record, pairs, detail)
            finally:
                db.close()
        except (apsw.CorruptError, apsw.NotADBError):
            return False
        return True

    found = choose(place.data_dir, place.disk, prepare)
    if found is None:
        return _last_resort(place, record, pairs, why)
    chosen, draft = found
    aside = put_in_place(place.data_dir, place.disk, draft, chosen, place.world.clock.wall_s())
    kept = f" The files it replaces are kept in {os.path.dirname(aside[0])}." if aside else ""
    notice = (
        f"The catalogue {why}: it was restored from the snapshot {chosen.name}; what was written"
        f" after that is not in it.{kept}"
    )
    generation = place.disk.generation(place.database)
    return _take(place, place.connect(place.database), (notice,), generation)


def _last_resort(place: _Place, record: Record | None, pairs: list[Pair], why: str) -> Opened:
    """Without any snapshot, use files that show no fault although nothing vouches for them."""
    if not place.disk.exists(place.database):
        raise _damaged(place, why)
    generation = place.disk.generation(place.database)
    db = place.connect(place.database)
    try:
        is_usable = _objection(db, place, Origin.TOUCHED, None, []) is None
        if is_usable:
            _restore(place, db, record, pairs, f"the catalogue {why}, and there is no snapshot")
    except BaseException:
        db.close()
        raise
    if not is_usable:
        db.close()
        raise _damaged(place, why)
    notice = (
        f"The catalogue {why}, and there is no good snapshot; it shows no fault and is used, but"
        " changes may be missing in it."
    )
    return _take(place, db, (notice,), generation)


def _restore(
    place: _Place, db: apsw.Connection, record: Record | None, pairs: list[Pair], detail: str
) -> None:
    migrate(db, place.data_dir, place.world)
    epochs = [position_of(db).epoch, *(pair.epoch for pair in pairs)]
    if record is not None:
        epochs.append(record.epoch)
    left_out = leap(place.world.randomness.token(8))
    become_restored(db, max(epochs) + 1, left_out, place.world.clock.wall_s(), detail)


def _take(place: _Place, db: apsw.Connection, notices: tuple[str, ...], generation: int) -> Opened:
    """Migrate, and make the files this process's; ``generation`` is of the database's inode."""
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        migrate(db, place.data_dir, place.world)
        found = position_of(db)
        custody = Custody.take(
            place.data_dir,
            place.disk,
            place.world.randomness,
            previous=_stamp(db),
            epoch=found.epoch,
            sequence=found.sequence,
            database_generation=generation,
        )
        begin_life(db, custody.stamp)
        # With the stamp in the database itself, a log that is removed later is missed (`_had_log`).
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except BaseException:
        db.close()
        raise
    return Opened(db, custody, notices)


def _stamp(db: apsw.Connection) -> str:
    """Return the stamp in the database, empty where its schema has none yet."""
    columns: Any = db.execute("SELECT name FROM pragma_table_info('state')").fetchall()
    if ("instance",) not in columns:
        return ""
    row: Any = db.execute("SELECT instance FROM state").fetchone()
    return str(row[0])


def _damaged(place: _Place, why: str) -> CorruptionError:
    return CorruptionError(
        f"The catalogue {place.database} {why}, and no complete snapshot is in snapshots/; restore a"
        " backup of the data dir."
    )


def _check_version(db: apsw.Connection, path: str) -> None:
    version = pragma(db, "user_version")
    if version and pragma(db, "application_id") != APPLICATION_ID:
        raise DataDirError(f"{path} is not a catalogue of this program; choose another data dir.")
    if version > len(scripts()):
        raise DataDirError(
            f"The catalogue {path} was written by a newer version (schema {version}); upgrade this"
            " program."
        )
