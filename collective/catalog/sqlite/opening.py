"""Opening a data dir: lock, integrity, schema version, migrations, first rows.

Refuses, each with its own sentence: a data dir that another process holds, a file that is no
catalogue or is damaged, and a schema newer than this program.
"""

from __future__ import annotations

import errno
import os
from importlib import resources
from typing import Any

import apsw

from collective.catalog.sqlite.writer import translate
from collective.core.disk import Disk, DiskLock
from collective.core.errors import CorruptionError, DataDirError, NoSpaceError
from collective.core.randomness import Randomness, hex_id
from collective.core.world import Sqlite, World

DATABASE = "catalog.db"
LOCK = "catalog.lock"
APPLICATION_ID = 0x436F6C6C  # "Coll"
REBUILDS = "DROP TABLE"
"""A script with these words puts a new table in an old one's place."""


def lock_data_dir(data_dir: str, disk: Disk) -> DiskLock:
    """Make ``data_dir`` if it is new and lock it; DataDirError if another process holds it."""
    try:
        disk.make_dir(data_dir)
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


def connect(path: str, sqlite: Sqlite, *, writing: bool, synchronous: str) -> apsw.Connection:
    """Open one connection with the settings that every connection has."""
    flags = apsw.SQLITE_OPEN_READWRITE
    if writing:
        flags |= apsw.SQLITE_OPEN_CREATE
    db = apsw.Connection(path, flags=flags, vfs=sqlite.vfs, statementcachesize=400)
    db.set_busy_timeout(10_000)
    if sqlite.is_exclusive:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("PRAGMA cache_size = -8192")
    if not writing:
        db.execute("PRAGMA query_only = ON")
    return db


def open_database(data_dir: str, world: World, synchronous: str) -> apsw.Connection:
    """Return the writing connection of a checked and migrated catalogue.

    Raises CorruptionError for a damaged file, DataDirError for a newer or foreign one and
    NoSpaceError when the first rows do not fit.
    """
    path = os.path.join(data_dir, DATABASE)
    is_new = not world.disk.exists(path)
    try:
        if is_new:
            _make(path, world.disk)
        db = connect(path, world.sqlite, writing=True, synchronous=synchronous)
        try:
            if not is_new:
                _check(db, path, world.disk)
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            _migrate(db, world.randomness)
        except BaseException:
            db.close()
            raise
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise _damaged(path) from error
    except apsw.Error as error:
        told = translate(error)
        if isinstance(told, NoSpaceError):
            raise told from error
        raise DataDirError(f"The catalogue {path} cannot be opened: {error}.") from error
    return db


def _make(path: str, disk: Disk) -> None:
    """Make the file, so that only we may read it: SQLite takes the empty file for a new database."""
    try:
        disk.open(path, "create", permissions=0o600).close()
    except OSError as error:
        told = NoSpaceError if error.errno == errno.ENOSPC else DataDirError
        raise told(f"The catalogue {path} cannot be made: {error.strerror}.") from error


def _damaged(path: str) -> CorruptionError:
    return CorruptionError(
        f"The catalogue {path} is damaged; move it and its -wal and -shm files away and copy the"
        " newest file of snapshots/ in its place."
    )


def _check(db: apsw.Connection, path: str, disk: Disk) -> None:
    version = _pragma(db, "user_version")
    if version and _pragma(db, "application_id") != APPLICATION_ID:
        raise DataDirError(f"{path} is not a catalogue of this program; choose another data dir.")
    if version > len(_scripts()):
        raise DataDirError(
            f"The catalogue {path} was written by a newer version (schema {version}); upgrade this"
            " program."
        )
    with disk.open(path, "read") as file:
        is_empty = not file.size_bytes()
    if is_empty and not disk.exists(f"{path}-wal"):
        return  # a first start that was cut off before it wrote anything
    found: Any = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise _damaged(path)


def _pragma(db: apsw.Connection, name: str) -> int:
    row: Any = db.execute(f"PRAGMA {name}").fetchone()
    return int(row[0])


def _scripts() -> list[str]:
    folder = resources.files("collective.catalog.sqlite") / "schema"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(folder / name).read_text() for name in names]


def _migrate(db: apsw.Connection, randomness: Randomness) -> None:
    scripts = _scripts()
    done = _pragma(db, "user_version")
    if done == len(scripts):
        return
    db.execute("PRAGMA foreign_keys = OFF")  # a table is rebuilt under its name; checked below
    try:
        for number, script in enumerate(scripts[done:], done + 1):
            _apply(db, number, script, randomness)
    finally:
        db.execute("PRAGMA foreign_keys = ON")


def _check_references(db: apsw.Connection, number: int) -> None:
    if db.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise CorruptionError(
            f"The catalogue cannot be upgraded to schema {number}: rows refer to what is not there;"
            " put its latest snapshot in its place."
        )


def _apply(db: apsw.Connection, number: int, script: str, randomness: Randomness) -> None:
    """Run one script in a transaction of its own; a rebuilt table's references are checked."""
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(script)
        if REBUILDS in script:
            _check_references(db, number)
        db.execute(f"PRAGMA user_version = {number}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        if number == 1:
            db.execute(
                "INSERT INTO state VALUES (1, ?, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, ?)",
                (hex_id(randomness), randomness.token(32)),
            )
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
