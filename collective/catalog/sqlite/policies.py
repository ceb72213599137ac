"""How many copies each chunk wants: the most that any datastore asks for that holds a file with it.

``chunks.wanted`` holds that number, so that what is short is found by one index.  A chunk gets it when
an upload names it.  A move, a new policy or a new setting changes it for a whole tree at once: they
write one row into ``unsettled``, and :func:`settle` goes through the tree in bounded steps, each a
transaction that moves the row's mark on.  Invariants: a name is below a row, or its chunks want at
least what is asked for there; a number is lowered only where nothing that is kept asks for it.
"""

from __future__ import annotations

from typing import Any

from collective.catalog.sqlite import rows
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.rows import CURRENT, LEAVES, RETIRED, ROOT
from collective.catalog.sqlite.writer import Transaction

AT_ONCE_ROWS = 64
"""Names, chunks and their uses that a change goes through itself, so that a small one is told at once."""
BATCH_ROWS = 512
"""Names, chunks and uses of chunks of one step; the last chunk's uses may come on top."""
USES_LOOKED_AT = 1000
"""Places that use a chunk; where there are more, its number is not lowered."""


class PoliciesPart(Part):
    """``Nodes.settle_copies``."""

    async def settle_copies(self) -> bool:
        """Go one bounded step on; True if something is left."""
        if not await self._engine.read(rows.is_unsettled):
            return False
        copies = self._engine.settings.copies
        return await self._engine.change(lambda tx: settle(tx, copies, BATCH_ROWS))


def unsettle(tx: Transaction, entry: int, default: int) -> None:
    """Have what ``entry`` is or holds gone through, beginning now; ``default``: the setting."""
    tx.run(
        "INSERT INTO unsettled (entry) VALUES (?)"
        " ON CONFLICT (entry) DO UPDATE SET after_name = '', from_offset = 0",
        entry,
    )
    settle(tx, default, AT_ONCE_ROWS)


def follow_setting(tx: Transaction, copies: int) -> None:
    """Have the datastores gone through that follow the setting, if it is another than before."""
    before = tx.value("SELECT copies FROM state")
    if before == copies:
        return
    tx.run("UPDATE state SET copies = ?", copies)
    tx.run(  # 0: nobody has looked at this catalogue yet, what was moved in it may want other numbers
        "INSERT OR REPLACE INTO unsettled (entry)"
        " SELECT entry FROM datastores WHERE copies = 0 OR ? = 0",
        before,
    )


def settle(tx: Transaction, default: int, rows_max: int) -> bool:
    """Go through about ``rows_max`` names and chunks at most; return whether something is left."""
    step = _Step(tx, default)
    while step.rows < rows_max and not (step.rows and tx.is_spent):
        found = tx.one(
            "SELECT u.entry, u.after_name, u.from_offset, e.kind, e.version FROM unsettled u"
            " JOIN entries e ON e.id = u.entry LIMIT 1"
        )
        if found is None:
            return False
        entry, after_name, from_offset, kind, version = found
        if kind in LEAVES:
            step.file(entry, version or 0, from_offset, rows_max - step.rows)
        else:
            step.folder(entry, after_name, rows_max - step.rows)
    return rows.is_unsettled(tx.db)


def lower(tx: Transaction, chunk: int, default: int) -> int:
    """Lower the number of a chunk that lost a use to what is asked for still; return uses seen."""
    wanted = tx.value("SELECT wanted FROM chunks WHERE id = ?", chunk)
    step = _Step(tx, default)
    if wanted is not None:
        step.lower(chunk, wanted)
    return step.rows


class _Step:
    """One step; what it has learned about datastores and chunks holds within its transaction."""

    def __init__(self, tx: Transaction, default: int) -> None:
        self._tx = tx
        self._default = default
        self._asked: dict[int, int] = {}
        self._at: dict[int, int] = {}
        self._lowered: set[int] = set()
        self.rows = 0

    def folder(self, entry: int, after_name: str, limit: int) -> None:
        """Go through the next names of a folder."""
        tx, until = self._tx, self.rows + limit
        children = tx.all(
            "SELECT e.id, e.name, e.kind, v.id, v.chunk_count FROM entries e"
            " LEFT JOIN versions v ON v.id = e.version WHERE e.parent = ? AND e.name > ?"
            " ORDER BY e.name LIMIT ?",
            entry,
            after_name,
            limit,
        )
        copies = self._copies_at(entry)
        self.rows += 1
        done = after_name
        for child, name, kind, version, chunk_count in children:
            if done != after_name and (self.rows >= until or tx.is_spent):
                break
            self.rows += 1
            offset: int | None = 0
            if kind in LEAVES and self.rows + chunk_count <= until:
                offset = self._extents(version, copies, 0, until - self.rows)
            if offset is not None:
                tx.run(
                    "INSERT OR REPLACE INTO unsettled (entry, from_offset) VALUES (?,?)",
                    child,
                    offset,
                )
            done = name
        if len(children) < limit and (not children or done == children[-1][1]):
            tx.run("DELETE FROM unsettled WHERE entry = ?", entry)
        else:
            tx.run("UPDATE unsettled SET after_name = ? WHERE entry = ?", done, entry)

    def file(self, entry: int, version: int, from_offset: int, limit: int) -> None:
        """Go through the next extents of a file."""
        self.rows += 1
        offset = self._extents(version, self._copies_at(entry), from_offset, limit)
        if offset is None:
            self._tx.run("DELETE FROM unsettled WHERE entry = ?", entry)
        else:
            self._tx.run("UPDATE unsettled SET from_offset = ? WHERE entry = ?", offset, entry)

    def lower(self, chunk: int, wanted: int) -> None:
        """Lower ``wanted`` to what is asked for still."""
        asked = self._asked_for(chunk, wanted)
        if 0 < asked < wanted:
            self._tx.run("UPDATE chunks SET wanted = ? WHERE id = ?", asked, chunk)

    def _extents(self, version: int, copies: int, from_offset: int, limit: int) -> int | None:
        """Go through ``limit`` extents and uses; return where to go on, None at the end."""
        tx, until = self._tx, self.rows + limit
        found = tx.all(
            "SELECT x.offset, x.chunk, k.wanted FROM extents x JOIN chunks k ON k.id = x.chunk"
            " WHERE x.version = ? AND x.offset >= ? ORDER BY x.offset LIMIT ?",
            version,
            from_offset,
            limit,
        )
        for offset, chunk, wanted in found:
            self.rows += 1
            if wanted < copies:
                tx.run("UPDATE chunks SET wanted = ? WHERE id = ?", copies, chunk)
            elif wanted > copies and chunk not in self._lowered:
                self._lowered.add(chunk)
                self.lower(chunk, wanted)
            if self.rows >= until or tx.is_spent:
                return int(offset) + 1
        return None

    def _asked_for(self, chunk: int, enough: int) -> int:
        """Return the most copies that a use of the chunk asks for, or ``enough`` if that is so many."""
        tx = self._tx
        asked = (
            tx.value(
                "SELECT max(u.copies) FROM pins p JOIN uploads u ON u.id = p.upload"
                " WHERE p.chunk = ? AND u.state = 0",
                chunk,
            )
            or 0
        )
        uses: Any = tx.run(
            "SELECT v.state, v.datastore, e.parent FROM extents x JOIN versions v ON v.id = x.version"
            " LEFT JOIN entries e ON e.version = v.id WHERE x.chunk = ? LIMIT ?",
            chunk,
            USES_LOOKED_AT,
        )
        count = 0
        for state, datastore, folder in uses:
            count += 1
            if state not in {CURRENT, RETIRED}:
                continue  # what open uploads ask for is with their pins
            copies = self._copies_of(datastore or 0) if folder is None else self._copies_at(folder)
            asked = max(asked, copies)
            if asked >= enough:
                break
        uses.close()
        self.rows += count
        return int(enough if asked >= enough or count >= USES_LOOKED_AT else asked)

    def _copies_at(self, entry: int) -> int:
        """Return what the datastore asks for that ``entry`` is or lies in."""
        if entry in self._at:
            return self._at[entry]
        top = self._tx.value(
            "WITH RECURSIVE up(id, parent) AS (SELECT id, parent FROM entries WHERE id = ?"
            " UNION ALL SELECT e.id, e.parent FROM up JOIN entries e ON e.id = up.parent)"
            " SELECT id FROM up WHERE parent = ?",
            entry,
            ROOT,
        )
        self._at[entry] = self._copies_of(top or 0)
        return self._at[entry]

    def _copies_of(self, datastore: int) -> int:
        if datastore not in self._asked:
            copies = self._tx.value("SELECT copies FROM datastores WHERE entry = ?", datastore)
            self._asked[datastore] = copies or self._default
        return self._asked[datastore]
