"""How many copies each chunk wants, and in which datastore a file's extents are counted.

``chunks.wanted`` is the most that any datastore asks for that holds a file with the chunk, so that what
is short is found by one index.  ``versions.home`` is the datastore in which the extents count (``held``).
A chunk gets its number, and a version its home, when an upload names them.  A move, a new policy or a new
setting changes them for a whole tree at once: it writes one row into ``unsettled``, and :func:`settle`
goes through the tree in bounded steps, each a transaction that moves the row's mark on.

Invariants: a name is below a row, or its file counts where it lies and its chunks want at least what is
asked for there; a number is lowered only where nothing that is kept asks for it; every extent of a
version counts in exactly one datastore.  A carrying that was begun is finished before the next begins.
"""

from __future__ import annotations

from typing import Any

from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.rows import CURRENT, LEAVES, RETIRED, ROOT
from collective.catalog.sqlite.store.writer import Transaction

AT_ONCE_ROWS = 64
"""Names, chunks and their uses that a change goes through itself, so that a small one is told at once."""
BATCH_ROWS = 512
"""Names, chunks and uses of chunks of one step; the last chunk's uses may come on top."""
USES_LOOKED_AT = 1000
"""Places that use a chunk; where there are more, its number is not lowered."""


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
        self._tops: dict[int, int] = {}
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
        self.rows += 1
        done = after_name
        for child, name, kind, version, chunk_count in children:
            if done != after_name and (self.rows >= until or tx.is_spent):
                break
            self.rows += 1
            offset: int | None = 0
            if kind in LEAVES and self.rows + chunk_count <= until:
                offset = self._version(version, entry, 0, until)
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
        until = self.rows + limit
        self.rows += 1
        offset = self._version(version, entry, from_offset, until)
        if offset is None:
            self._tx.run("DELETE FROM unsettled WHERE entry = ?", entry)
        else:
            self._tx.run("UPDATE unsettled SET from_offset = ? WHERE entry = ?", offset, entry)

    def lower(self, chunk: int, wanted: int) -> None:
        """Lower ``wanted`` to what is asked for still."""
        asked = self._asked_for(chunk, wanted)
        if 0 < asked < wanted:
            self._tx.run("UPDATE chunks SET wanted = ? WHERE id = ?", asked, chunk)

    def _version(self, version: int, entry: int, from_offset: int, until: int) -> int | None:
        """Go on with the version of a file that lies at, or in, ``entry``: its home, then its chunks.

        Returns the offset from which its chunks are still to be gone through, None at the end.
        """
        if not self._rehome(version, self._top_of(entry), until) or self.rows >= until:
            return from_offset
        return self._extents(version, self._copies_at(entry), from_offset, until)

    def _rehome(self, version: int, target: int, until: int) -> bool:
        """Have extents counted in the datastore ``target``; return whether all of them are."""
        tx = self._tx
        home, goal, offset = tx.one(
            "SELECT home, next_home, homed_to FROM versions WHERE id = ?", version
        )
        while goal or home != target:
            if not goal:
                goal, offset = target, 0
            limit = max(1, until - self.rows)
            found = tx.all(
                "SELECT offset, chunk FROM extents WHERE version = ? AND offset >= ?"
                " ORDER BY offset LIMIT ?",
                version,
                offset,
                limit,
            )
            self._carry([chunk for _, chunk in found], home, goal)
            self.rows += len(found)
            if len(found) == limit:
                _note_home(tx, version, home, goal, found[-1][0] + 1)
                return False
            home, goal = goal, 0
            _note_home(tx, version, home, goal, 0)
        return True

    def _carry(self, chunks: list[int], home: int, goal: int) -> None:
        """Count an extent of each of ``chunks`` in ``goal`` and no more in ``home``."""
        db = self._tx.db
        db.executemany(
            "INSERT INTO held (chunk, datastore, extents) VALUES (?,?,1)"
            " ON CONFLICT DO UPDATE SET extents = extents + 1",
            [(chunk, goal) for chunk in chunks],
        )
        left = [(chunk, home) for chunk in chunks]
        db.executemany(
            "UPDATE held SET extents = extents - 1 WHERE chunk = ? AND datastore = ?", left
        )
        db.executemany("DELETE FROM held WHERE chunk = ? AND datastore = ? AND extents = 0", left)

    def _extents(self, version: int, copies: int, from_offset: int, until: int) -> int | None:
        """Go through extents and uses; return where to go on, None at the end."""
        tx = self._tx
        found = tx.all(
            "SELECT x.offset, x.chunk, k.wanted FROM extents x JOIN chunks k ON k.id = x.chunk"
            " WHERE x.version = ? AND x.offset >= ? ORDER BY x.offset LIMIT ?",
            version,
            from_offset,
            until - self.rows,
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
        return self._copies_of(self._top_of(entry))

    def _top_of(self, entry: int) -> int:
        """Return the datastore that ``entry`` is or lies in."""
        if entry not in self._tops:
            top = self._tx.value(
                "WITH RECURSIVE up(id, parent) AS (SELECT id, parent FROM entries WHERE id = ?"
                " UNION ALL SELECT e.id, e.parent FROM up JOIN entries e ON e.id = up.parent)"
                " SELECT id FROM up WHERE parent = ?",
                entry,
                ROOT,
            )
            self._tops[entry] = top or 0
        return self._tops[entry]

    def _copies_of(self, datastore: int) -> int:
        if datastore not in self._asked:
            copies = self._tx.value("SELECT copies FROM datastores WHERE entry = ?", datastore)
            self._asked[datastore] = copies or self._default
        return self._asked[datastore]


def _note_home(tx: Transaction, version: int, home: int, goal: int, offset: int) -> None:
    """Write down how far a version's extents are carried from ``home`` to ``goal`` (0: none)."""
    tx.run(
        "UPDATE versions SET home = ?, next_home = ?, homed_to = ? WHERE id = ?",
        home,
        goal,
        offset,
        version,
    )
