"""``python -m tools.schema``: write the schema that all scripts of the catalogue lead to, in one piece.

A new catalogue is made by it, in a tenth of the time that the scripts take one after the other, which only
an older catalogue needs.  ``tests/contract/catalog_sqlite/test_newest_schema.py`` compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from collective.catalog.sqlite.store import migrations
from collective.core.randomness import SeededRandomness

PATH: Final = Path(migrations.__file__).parents[1] / migrations.NEWEST
_GIVEN: Final = {("state", "catalog_id"): ":catalog_id", ("state", "lease_key"): ":lease_key"}
"""Columns whose value each catalogue has for itself."""


def text() -> str:
    """Return the file's text."""
    scripts = migrations.scripts()
    db = apsw.Connection(":memory:")
    migrations.apply_scripts(db, scripts, SeededRandomness(1))
    head = (
        f"-- {len(scripts)}\n"
        "-- The schema after so many scripts, for a new catalogue.  Made by python -m tools.schema.\n"
    )
    return head + "".join(f"{statement};\n" for statement in statements(db))


def statements(db: apsw.Connection) -> Iterator[str]:
    """Yield what makes a database like this one: tables, rows, then indexes and triggers."""
    found: Any = db.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY rowid"
    ).fetchall()
    tables = {name: sql for kind, name, sql in found if kind == "table"}
    yield from tables.values()
    for table in tables:
        yield from _rows(db, table)
    for wanted in ("index", "trigger"):
        yield from (sql for kind, _, sql in found if kind == wanted)


def _rows(db: apsw.Connection, table: str) -> Iterator[str]:
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    for row in db.execute(f"SELECT * FROM {table}").fetchall():  # noqa: S608 - a table of ours
        values = (
            _GIVEN.get((table, column)) or apsw.format_sql_value(value)
            for column, value in zip(columns, row, strict=True)
        )
        yield f"INSERT INTO {table} ({', '.join(columns)})\nVALUES ({', '.join(values)})"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{PATH} is the schema after {len(migrations.scripts())} scripts.\n")
