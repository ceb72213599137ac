"""Deletes: which doomed copies a node is asked to delete now, and forgetting those that it has deleted.

Each node has its share of a round, so that one which is away or refuses keeps none from the others.
What is due is found on a reading connection and claimed in transactions of bounded size, each of which
takes only what may be deleted still.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import apsw

from collective.catalog.decisions.fair_shares import even
from collective.catalog.sqlite.collection.dooming import forget
from collective.catalog.sqlite.copies.copy_rows import node_number
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import is_restored
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import ChunkId, Generation, NodeId
from collective.model.copies import CopyKey

PORTION_COPIES: Final = 100
STEP_PORTIONS: Final = 4
"""Portions that one transaction claims or forgets."""

_DUE: Final = "SELECT hash, generation FROM doomed WHERE guard = 0 AND node = ?"
_NEW: Final = f"{_DUE} AND retry_ms = 0 AND since_ms <= ? ORDER BY since_ms LIMIT ?"
_AGAIN: Final = (
    f"{_DUE} AND retry_ms > 0 AND retry_ms <= ? AND since_ms <= ? ORDER BY retry_ms LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class _Portion:
    """Some copies to delete on one node: chunk ids with generations."""

    number: int
    node: NodeId
    copies: Sequence[tuple[bytes, int]]


async def hand_out(
    engine: Engine, nodes: frozenset[NodeId] | None, before_ms: int, limit: int
) -> Sequence[tuple[NodeId, CopyKey]]:
    """Claim copies to delete, as many for each of ``nodes`` (None: all), and return them.

    Each is claimed again only some time later.

    Args:
        engine: the catalogue's.
        nodes: that can be asked.
        before_ms: copies that were doomed later are left alone.
        limit: copies in all; each node has one at least.
    """
    now_ms = engine.now_ms()
    retry_ms = now_ms + int(engine.settings.delete_retry_s * 1000)
    due = await engine.read(
        partial(_due, nodes=nodes, before_ms=before_ms, now_ms=now_ms, limit=limit)
    )
    claimed = await engine.change_each(due, partial(_claim, retry_ms=retry_ms), STEP_PORTIONS)
    return [one for some in claimed for one in some]


async def forget_deleted(engine: Engine, node: NodeId, copies: Sequence[CopyKey]) -> None:
    """Forget copies that a node has deleted."""

    def step(tx: Transaction, portions: Sequence[Sequence[CopyKey]]) -> Sequence[Sequence[CopyKey]]:
        number = node_number(tx.db, node)
        done = []
        for portion in tx.unspent(portions):
            forget(tx, number, ((copy.chunk, copy.generation) for copy in portion))
            done.append(portion)
        return done

    await engine.change_each(_portions(copies), step, STEP_PORTIONS)


def _due(
    db: apsw.Connection,
    nodes: frozenset[NodeId] | None,
    before_ms: int,
    now_ms: int,
    limit: int,
) -> Sequence[_Portion]:
    """Return what may be deleted now on each node."""
    found: Any = db.execute("SELECT id, name FROM nodes WHERE removed = 0 ORDER BY id").fetchall()
    present = [(number, NodeId(name)) for number, name in found if nodes is None or name in nodes]
    due: list[_Portion] = []
    for place, (number, name) in enumerate(present):
        share = even(len(present) - place, limit)
        copies: list[Any] = db.execute(_NEW, (number, before_ms, share)).fetchall()
        left = share - len(copies)
        copies += db.execute(_AGAIN, (number, now_ms, before_ms, left)).fetchall()
        limit -= len(copies)
        due += [_Portion(number, name, some) for some in _portions(copies)]
    return due


def _claim(
    tx: Transaction, due: Sequence[_Portion], retry_ms: int
) -> Sequence[Sequence[tuple[NodeId, CopyKey]]]:
    """Claim what may be deleted still; nothing in a catalogue that is restored."""
    if is_restored(tx.db):
        return ()
    return [_claim_portion(tx, portion, retry_ms) for portion in tx.unspent(due)]


def _claim_portion(
    tx: Transaction, due: _Portion, retry_ms: int
) -> Sequence[tuple[NodeId, CopyKey]]:
    found = (
        tx.all(  # a plus keeps an index out by which all that the node is to delete would be read
            "UPDATE doomed SET retry_ms = ? WHERE node = ? AND +guard = 0 AND +retry_ms <= ?"
            " AND (hash, generation) IN (SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?))"
            " RETURNING hash, generation, stored_length",
            retry_ms,
            due.number,
            tx.now_ms,
            json.dumps([(chunk.hex(), generation) for chunk, generation in due.copies]),
        )
    )
    return [
        (due.node, CopyKey(ChunkId(chunk), Generation(generation), length))
        for chunk, generation, length in found
    ]


def _portions(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + PORTION_COPIES] for start in range(0, len(items), PORTION_COPIES)]
