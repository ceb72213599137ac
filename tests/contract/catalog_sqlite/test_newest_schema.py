"""A new catalogue is made by one text; it must be what all upgrades lead to."""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from collective.catalog.sqlite.store import migrations
from collective.core.randomness import Randomness, SeededRandomness
from tests.worlds import world_of
from tools import schema


def by_scripts(randomness: Randomness) -> apsw.Connection:
    db = apsw.Connection(":memory:")
    migrations.apply_scripts(db, migrations.scripts(), randomness)
    return db


def at_once(randomness: Randomness) -> apsw.Connection:
    db = apsw.Connection(":memory:")
    migrations.migrate(db, "", world_of(randomness=randomness))
    return db


def all_of(db: apsw.Connection) -> tuple[set[Any], dict[str, list[Any]], list[int]]:
    """Return the schema, the rows of each table, and the numbers in the database's head."""
    found: Any = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    tables = [name for kind, name, _, _ in found if kind == "table"]
    rows = {name: db.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
    return (
        set(found),
        rows,
        [migrations.pragma(db, name) for name in ("user_version", "application_id")],
    )


def test_a_new_catalogue_is_what_the_upgrades_lead_to() -> None:
    assert all_of(at_once(SeededRandomness(5))) == all_of(by_scripts(SeededRandomness(5)))


def test_the_text_is_made_anew_after_each_new_script() -> None:
    assert schema.PATH.read_text("utf-8") == schema.text(), "run: python -m tools.schema"


def test_each_catalogue_has_an_id_and_a_key_of_its_own() -> None:
    one, other = (at_once(SeededRandomness(seed)) for seed in (1, 2))
    asked = "SELECT catalog_id, lease_key FROM state"
    (first,), (second,) = one.execute(asked).fetchall(), other.execute(asked).fetchall()
    assert not set(first) & set(second)


def test_one_that_was_cut_off_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    number, statements = migrations.newest()
    monkeypatch.setattr(
        migrations, "newest", lambda: (number, f"{statements} SELECT * FROM nowhere")
    )
    db = apsw.Connection(":memory:")
    with pytest.raises(apsw.SQLError, match="nowhere"):
        migrations.migrate(db, "", world_of())
    assert all_of(db) == (set(), {}, [0, 0])


def test_a_text_that_was_not_made_anew_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "newest", lambda: (len(migrations.scripts()) - 1, "?"))
    assert all_of(at_once(SeededRandomness(5))) == all_of(by_scripts(SeededRandomness(5)))
