"""The catalogue's lives: rows of those that ended, and of those that were lost.

The present life is ``state.instance``, custody's stamp.  It becomes a former one when the next begins, or
when a start finds that the files were put back; its row is where it ended, and never changes.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from collective.catalog.decisions.catalog_lives import Past
from collective.catalog.sqlite.store.immediate import immediate

LIVES_MAX: Final = 10_000
"""So many former lives, and so many lost ones, are kept."""


def begin_life(db: apsw.Connection, life: str) -> None:
    """Make ``life`` the present one, durably, in a transaction of its own, which is a change as any."""
    with immediate(db):
        end_life(db)
        db.execute("UPDATE state SET instance = ?, sequence = sequence + 1", (life,))
        _cut(db, "former_lives")


def end_life(db: apsw.Connection) -> None:
    """Note where the present life ended, unless it was noted before."""
    db.execute(
        "INSERT OR IGNORE INTO former_lives (life, epoch, sequence)"
        " SELECT instance, epoch, sequence FROM state"
    )


def past_of(db: apsw.Connection, life: str) -> Past:
    """Return what is known of ``life``, and where the catalogue is."""
    row: Any = db.execute(
        "SELECT instance, epoch, sequence,"
        " (SELECT sequence FROM former_lives WHERE life = ?1),"
        " (SELECT sequence FROM former_lives ORDER BY number LIMIT 1),"
        " EXISTS (SELECT 1 FROM lost_lives WHERE life = ?1) FROM state",
        (life,),
    ).fetchone()
    present, epoch, sequence, ended, oldest_ended, is_lost = row
    return Past(present, epoch, sequence, ended, oldest_ended, bool(is_lost))


def note_lost(db: apsw.Connection, life: str) -> None:
    """Remember that ``life`` is of a lost future."""
    db.execute("INSERT OR IGNORE INTO lost_lives (life) VALUES (?)", (life,))
    _cut(db, "lost_lives")


def was_restored_since_start(db: apsw.Connection) -> bool:
    """Tell whether the present life became *restored* itself, or its start did.

    Every lost future ended before the present life began, so that was for all of them.
    """
    row: Any = db.execute(
        "SELECT epoch > (SELECT epoch FROM former_lives ORDER BY number DESC LIMIT 1) FROM state"
    ).fetchone()
    return bool(row[0])


def _cut(db: apsw.Connection, table: str) -> None:
    db.execute(
        f"DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?",  # noqa: S608
        (LIVES_MAX,),
    )
