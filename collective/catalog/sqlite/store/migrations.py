"""The schema: how a new database gets it whole, and an older one script by script.

``schema/`` holds the scripts, each applied once and never changed afterwards; ``newest_schema.sql`` is what
all of them lead to, made by ``python -m tools.schema``, so that a new catalogue is ready in one transaction
and a tenth of the time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import apsw
import structlog

from collective.catalog.sqlite.store.before_upgrade import keep_before_upgrade
from collective.catalog.sqlite.store.immediate import immediate
from collective.catalog.sqlite.store.snapshot import Pair
from collective.core.errors import CorruptionError
from collective.core.randomness import Randomness, hex_id
from collective.core.world import World

APPLICATION_ID: Final = 0x436F6C6C  # "Coll"
NEWEST: Final = "newest_schema.sql"
_PACKAGE: Final = "collective.catalog.sqlite"
_REBUILDS: Final = "DROP TABLE"
"""A script with these words puts a new table in an old one's place."""
_KEY_BYTES: Final = 32

_log: Final = structlog.get_logger("collective.catalog")


@functools.cache
def scripts() -> tuple[str, ...]:
    """Return the scripts in their order; the schema's number is how many were applied."""
    folder = resources.files(_PACKAGE) / "schema"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return tuple((folder / name).read_text("utf-8") for name in names)


@functools.cache
def newest() -> tuple[int, str]:
    """Return a schema's number, and the statements that make a new database with it."""
    text = (resources.files(_PACKAGE) / NEWEST).read_text("utf-8")
    number, _, statements = text.removeprefix("-- ").partition("\n")
    return int(number), statements


def pragma(db: apsw.Connection, name: str) -> int:
    """Return the number that ``PRAGMA name`` gives."""
    row: Any = db.execute(f"PRAGMA {name}").fetchone()
    return int(row[0])


def position_of(db: apsw.Connection) -> Pair:
    """Return how far the catalogue is."""
    row: Any = db.execute("SELECT epoch, sequence FROM state").fetchone()
    return Pair(*row)


def migrate(db: apsw.Connection, data_dir: str, world: World) -> None:
    """Bring the schema up to date; of an older catalogue a copy is kept first, for the former program."""
    wanted, done = scripts(), pragma(db, "user_version")
    if done == len(wanted):
        return
    if done:
        copy = keep_before_upgrade(
            db, data_dir, done, position_of(db), vfs=world.sqlite.vfs, disk=world.disk
        )
        _log.info(
            "catalogue_upgrade",
            schema=done,
            to=len(wanted),
            copy=copy,
            note="with many files this takes some minutes; if it is cut off, it begins anew",
        )
    elif newest()[0] == len(wanted):
        _make_new(db, world.randomness)
        return
    db.execute("PRAGMA foreign_keys = OFF")  # a table is rebuilt under its name; checked below
    try:
        apply_scripts(db, wanted, world.randomness, done)
    finally:
        db.execute("PRAGMA foreign_keys = ON")


def apply_scripts(
    db: apsw.Connection, wanted: Sequence[str], randomness: Randomness, done: int = 0
) -> None:
    """Run the scripts after the first ``done``, one after the other."""
    for number, script in enumerate(wanted[done:], done + 1):
        if done:
            _log.info("catalogue_upgrade_step", schema=number)
        apply(db, number, script, randomness)


def apply(db: apsw.Connection, number: int, script: str, randomness: Randomness) -> None:
    """Run one script in a transaction of its own; a rebuilt table's references are checked."""
    with immediate(db):
        db.execute(script)
        if _REBUILDS in script:
            _check_references(db, number)
        if number == 1:
            db.execute(
                "INSERT INTO state VALUES (1, ?, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, ?)",
                (hex_id(randomness), randomness.token(_KEY_BYTES)),
            )
        _number(db, number)


def _make_new(db: apsw.Connection, randomness: Randomness) -> None:
    number, statements = newest()
    own = {"catalog_id": hex_id(randomness), "lease_key": randomness.token(_KEY_BYTES)}
    with immediate(db):
        db.execute(statements, own)
        _number(db, number)


def _number(db: apsw.Connection, number: int) -> None:
    """Note in the database's head whose it is, and of which schema."""
    db.execute(f"PRAGMA user_version = {number}")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _check_references(db: apsw.Connection, number: int) -> None:
    if db.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise CorruptionError(
            f"The catalogue cannot be upgraded to schema {number}: rows refer to what is not there;"
            " put its latest snapshot in its place."
        )
