"""Taking names away: a file or link, an empty folder, or a tree, whose deepest names go first.

A tree goes in steps that hold the writer for milliseconds; between two of them there is a smaller tree.
A leaf's version is retired: collection forgets it when nobody leases it.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from collective.catalog.decisions.weights import FOLDER, Weight
from collective.catalog.sqlite.names.datastores import disown
from collective.catalog.sqlite.names.folders import count_below
from collective.catalog.sqlite.names.quota_rows import WEIGHT_COLUMNS, weigh, weight_from
from collective.catalog.sqlite.store.rows import LEAVES, RETIRED
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.paths import FilePath

STEP_NAMES: Final = 200
"""Names that one step takes away."""
PORTION_NAMES: Final = 50
"""Names after which a step looks whether it has held the writer for long enough."""

_CHILDREN: Final = (
    f"SELECT e.id, e.name, e.kind, e.version, {WEIGHT_COLUMNS} FROM entries e"
    " LEFT JOIN versions v ON v.id = e.version WHERE e.parent = ? ORDER BY e.name"
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A name with nothing below it."""

    parent: int
    """Entry of the folder that it lies in."""
    entry: int
    version: int | None
    """None for a folder."""
    path: FilePath
    weight: Weight = FOLDER


def leaf_at(tx: Transaction, parent: int, entry: int, version: int | None, path: FilePath) -> Leaf:
    """Return the file or link, or the empty folder (``version`` None), at ``path``."""
    weight = FOLDER if version is None else weigh(tx.db, version)
    return Leaf(parent, entry, version, path, weight)


def remove_part(
    tx: Transaction, parent: int, top: int, path: FilePath, datastore: int
) -> tuple[int, bool]:
    """Take away a bounded part of the tree at ``path``; return how many names went, and whether all did."""
    gone = 0
    while True:
        leaves = _leaves(tx, parent, top, path, min(PORTION_NAMES, STEP_NAMES - gone))
        delete(tx, leaves, datastore)
        gone += len(leaves)
        is_all = leaves[-1].entry == top
        if is_all or gone >= STEP_NAMES or tx.is_spent:
            return gone, is_all


def delete(tx: Transaction, leaves: Sequence[Leaf], datastore: int) -> None:
    """Delete names of one datastore, children before their parents."""
    if any(leaf.entry == datastore for leaf in leaves):
        disown(tx, datastore)
    tx.db.executemany("DELETE FROM entries WHERE id = ?", [(leaf.entry,) for leaf in leaves])
    retire(tx, [leaf for leaf in leaves if leaf.version is not None], datastore)
    went: dict[int, Weight] = {}  # by the folder that is still there
    for leaf in leaves:
        weight = leaf.weight + went.pop(leaf.entry, Weight())
        went[leaf.parent] = went.get(leaf.parent, Weight()) + weight
    for folder, weight in went.items():
        count_below(tx, folder, -weight)


def retire(tx: Transaction, leaves: Sequence[Leaf], datastore: int) -> None:
    """Take current versions out of use; who leases one reads on while they may read its path."""
    tx.db.executemany(
        "UPDATE versions SET state = ?, retired_ms = ?, place = ?, datastore = ? WHERE id = ?",
        [(RETIRED, tx.now_ms, str(leaf.path), datastore, leaf.version) for leaf in leaves],
    )
    tx.deltas.files -= sum(leaf.weight.files for leaf in leaves)
    tx.deltas.file_bytes -= sum(leaf.weight.size_bytes for leaf in leaves)


def _leaves(tx: Transaction, parent: int, top: int, path: FilePath, limit: int) -> list[Leaf]:
    """Return up to ``limit`` names of the tree at ``top``, which lies in ``parent``; children first.

    ``top`` itself comes last, and only when everything fits.
    """
    found: list[Leaf] = []
    stack: list[tuple[int, FilePath, Iterator[Any]]] = [(top, path, tx.run(_CHILDREN, top))]
    while stack and len(found) < limit:
        folder, at, children = stack[-1]
        for child, name, kind, version, *weight in children:
            below = at.child(name)
            if kind not in LEAVES:
                stack.append((child, below, tx.run(_CHILDREN, child)))
                break
            found.append(Leaf(folder, child, version, below, weight_from(*weight)))
            if len(found) >= limit:
                break
        else:
            stack.pop()
            found.append(Leaf(stack[-1][0] if stack else parent, folder, None, at))
    return found
