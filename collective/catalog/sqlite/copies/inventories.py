"""Inventories: what a node says it holds, compared with what is known of that node, and of no other.

A page is compared on a reading connection, in windows; only differences are written, in steps that
hold the writer for milliseconds.  Each write holds for the generation and state that were compared, so
what changed meanwhile stays as it is.

A window goes along the ids of all chunks, of whichever node, since copies are not in that order.  So a
whole inventory reads each chunk once, also that of a node with few copies: some seconds of a reader at
three million chunks, in steps of milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, cast

import apsw

from collective.catalog.decisions.generations import by_origin
from collective.catalog.decisions.inventories import (
    MAY_BE_DOUBTED,
    MAY_GO_MISSING,
    Differences,
    Spare,
    differences,
)
from collective.catalog.sqlite.collection.dooming import (
    STRANGERS_MAX,
    forget,
    may_come_late,
    note_stranger,
)
from collective.catalog.sqlite.copies.copy_rows import node_number
from collective.catalog.sqlite.copies.quarantine import (
    begin_inventory,
    enter,
    quarantine,
    release,
    spans_of,
)
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import DOUBTED, MISSING
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import CHUNK_ID_BYTES, ChunkId, Generation, NodeId
from collective.model.copies import CopyKey

WINDOW_COPIES: Final = 2048
"""Copies, and chunks, of one read transaction."""
STEP_COPIES: Final = 128
"""Copies that one transaction changes."""
LAST_GENERATION: Final = (1 << 63) - 1
"""Behind all copies of a chunk."""
AFTER_ALL: Final = b"\xff" * (CHUNK_ID_BYTES + 1)
"""Behind the ids of all chunks.  A bound, for SQLite makes none of "or there is no end"."""

_KNOWN: Final = (
    "SELECT k.hash, k.id, c.generation, c.state, k.stored_length FROM"
    " (SELECT id, hash, stored_length FROM chunks WHERE hash > ?2 AND hash <= ?3"
    " ORDER BY hash, stored_length LIMIT ?4) k"
    " LEFT JOIN copies c ON c.chunk = k.id AND c.node = ?1 ORDER BY k.hash, k.stored_length"
)
"""The next chunks, with the node's copies; where it has none, the generation is null."""


async def compare_inventory(
    engine: Engine,
    node: NodeId,
    copies: Sequence[CopyKey],
    *,
    after: bytes,
    last: bool,
    spare: Spare = frozenset(),
) -> Sequence[CopyKey]:
    """Compare one page of a node's inventory; return copies that nothing knew of."""
    number = await engine.read(lambda db: node_number(db, node))
    strangers: list[CopyKey] = []
    if not after:
        await engine.change(partial(begin_inventory, node=number))
    for begin, end, told in _windows(copies, after, is_last=last):
        cursor: bytes | None = begin
        while cursor is not None:
            found, cursor = await engine.read(
                partial(_compare, node=number, told=told, after=cursor, end=end, spare=spare)
            )
            for state, was, changed in (
                (MISSING, MAY_GO_MISSING, found.missing),
                (DOUBTED, MAY_BE_DOUBTED, found.doubtful),
            ):
                for step in _steps(changed):
                    await engine.change(
                        partial(_set_states, node=number, state=state, was=was, copies=step)
                    )
            for some in _steps(found.strangers):
                strangers += await engine.change(partial(_note_strangers, node=number, copies=some))
        await _forget_absent(engine, number, told, begin, end, spare)
    return strangers


async def _forget_absent(
    engine: Engine,
    node: int,
    told: Sequence[CopyKey],
    after: bytes,
    end: bytes | None,
    spare: Spare,
) -> None:
    """Forget copies of a window that are quarantined or to be deleted and that the node does not have.

    The latter may be of repairs and uploads that failed before anything was stored.  While they are guarded, and
    so are all in a restored catalogue, nobody could ever confirm or delete them.
    """
    there = {(bytes(copy.chunk), int(copy.generation)) for copy in told}
    for table, drop in (("quarantine", release), ("doomed", forget)):
        seen: Sequence[_Listed] = [_Listed(after, LAST_GENERATION, 0)]
        while seen:
            now_ms = engine.now_ms()
            seen = await engine.read(
                partial(_listed, table=table, node=node, after=seen[-1], end=end)
            )
            gone = [
                one.copy
                for one in seen
                if one.copy not in there
                and one.copy not in spare
                and not (table == "doomed" and may_come_late(one.since_ms, now_ms))
            ]
            for some in _steps(gone):
                await engine.change(partial(drop, node=node, copies=some))


class _Listed(NamedTuple):
    """A row of what is quarantined or to be deleted."""

    chunk: bytes
    generation: int
    since_ms: int

    @property
    def copy(self) -> tuple[ChunkId, Generation]:
        return ChunkId(self.chunk), Generation(self.generation)


def _listed(
    db: apsw.Connection, *, table: str, node: int, after: _Listed, end: bytes | None
) -> list[_Listed]:
    """Return the next rows of a node in ``table``, after ``after`` up to ``end``."""
    found = db.execute(
        "SELECT hash, generation, since_ms"  # noqa: S608 - one of two tables
        f" FROM {table} WHERE node = ?1 AND (hash, generation) > (?2, ?3)"
        " AND hash <= ?4 ORDER BY hash, generation LIMIT ?5",
        (node, after.chunk, after.generation, end or AFTER_ALL, WINDOW_COPIES),
    )
    return [_Listed(*row) for row in cast("Iterator[tuple[bytes, int, int]]", found)]


def _windows(
    copies: Sequence[CopyKey], after: bytes, *, is_last: bool
) -> Iterator[tuple[bytes, bytes | None, Sequence[CopyKey]]]:
    """Cut a page into windows (after, up to, copies told); copies of one chunk stay together.

    The last window of a last page is open at its end.
    """
    start = 0
    while start < len(copies):
        stop = min(start + WINDOW_COPIES, len(copies))
        while stop < len(copies) and copies[stop].chunk == copies[stop - 1].chunk:
            stop += 1
        is_end = is_last and stop == len(copies)
        yield after, None if is_end else copies[stop - 1].chunk, copies[start:stop]
        after = copies[stop - 1].chunk
        start = stop
    if is_last and not copies:
        yield after, None, ()


def _compare(
    db: apsw.Connection,
    node: int,
    told: Sequence[CopyKey],
    after: bytes,
    end: bytes | None,
    spare: Spare,
) -> tuple[Differences, bytes | None]:
    """Compare what is known after ``after`` up to ``end``, a bounded part; return where to go on."""
    known: list[Any] = db.execute(_KNOWN, (node, after, end or AFTER_ALL, WINDOW_COPIES)).fetchall()
    cursor: bytes | None = None
    if len(known) == WINDOW_COPIES:
        cursor = known[-1][0]
        if known[0][0] != cursor:  # rows of the last chunk may be cut off: they come again
            known = [row for row in known if row[0] != cursor]
            cursor = known[-1][0]
    upto = end if cursor is None else cursor
    in_range = (
        copy for copy in told if copy.chunk > after and (upto is None or copy.chunk <= upto)
    )
    found = differences(known, in_range, spare)
    room = STRANGERS_MAX - rows.fetch(db, "SELECT doomed FROM nodes WHERE id = ?", node)[0]
    found.strangers = found.strangers[: max(0, room)]
    return found, cursor


def _set_states(
    tx: Transaction, node: int, state: int, was: Sequence[int], copies: Sequence[tuple[int, int]]
) -> None:
    """Set the state of copies that are what they were, in one statement; none becomes stored."""
    rows.recheck_uploads(tx, node, [chunk for chunk, _ in copies])
    tx.run(
        "UPDATE copies SET state = ?1 WHERE node = ?2 AND state IN (SELECT value FROM json_each(?3))"
        " AND chunk IN (SELECT value ->> 0 FROM json_each(?4))"
        " AND (chunk, generation) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?4))",
        state,
        node,
        json.dumps(list(was)),
        json.dumps(copies),
    )


def _note_strangers(tx: Transaction, node: int, copies: Sequence[CopyKey]) -> Sequence[CopyKey]:
    """Note our own orphans for deletion, and take in what is from another life; return the former."""
    own, foreign = by_origin(spans_of(tx), copies)
    if foreign:
        quarantine(tx, node, [copy for copy in foreign if not enter(tx, node, copy)])
    return [copy for copy in own if note_stranger(tx, node, copy)]


def _steps(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), STEP_COPIES):
        yield items[start : start + STEP_COPIES]
