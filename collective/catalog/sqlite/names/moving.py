"""What a move does within its transaction: whether it may, whether it fits, and what gives way to it."""

from __future__ import annotations

from dataclasses import dataclass

from collective.catalog.decisions.names import (
    Bounds,
    become_by_move,
    fits,
    reaches_no_further,
    require_gives_way,
    require_movable,
    require_no_root,
    too_deep_below,
)
from collective.catalog.decisions.weights import FOLDER, Weight
from collective.catalog.sqlite.names.datastores import datastore_of
from collective.catalog.sqlite.names.entries import check_condition
from collective.catalog.sqlite.names.folders import Measure, folder_at, tighten
from collective.catalog.sqlite.names.name_removal import delete, leaf_at
from collective.catalog.sqlite.names.quota_rows import weigh
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.rows import ROOT
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.paths import FilePath
from collective.model.writing import Precondition


@dataclass(frozen=True, slots=True)
class Moving:
    """What is to be moved."""

    entry: int
    kind: int
    source: int
    """Entry of the folder that it lies in,"""
    target: int
    """and of the one that it goes to."""
    weight: Weight
    """Of all of it, its own name included."""
    bounds: Bounds
    added: int
    """See :class:`Measure`; 0 for a file."""


def movable(tx: Transaction, source: FilePath, target: FilePath) -> Moving:
    """Return what is at ``source`` and where it goes, or say why it cannot go."""
    require_no_root(source, target)
    found = rows.find(tx.db, source)
    parent = rows.find(tx.db, target.parent)
    require_movable(source, target, rows.kind_of(found), rows.kind_of(parent))
    assert found is not None
    assert parent is not None
    entry, kind, version = found
    within = parent_of(tx, entry)
    if version is not None:
        return Moving(entry, kind, within, parent[0], weigh(tx.db, version), Bounds(), 0)
    folder = folder_at(tx.db, entry)
    weight = folder.weight + FOLDER
    return Moving(entry, kind, within, parent[0], weight, folder.bounds, folder.added)


def fitting(
    tx: Transaction, moving: Moving, source: FilePath, target: FilePath, known: Measure | None
) -> Bounds | None:
    """Return how far what is moved reaches down; None: that has to be measured, or measured again.

    Raises UsageError where a path below would break the limits that every path keeps.
    """
    if reaches_no_further(source, target) or fits(target, moving.bounds):
        return moving.bounds
    if known is None or (known.entry, known.added) != (moving.entry, moving.added):
        return None
    if not fits(target, known.bounds):
        raise too_deep_below(source)
    tighten(tx, known)
    return known.bounds


def give_way(tx: Transaction, moving: Moving, target: FilePath, condition: Precondition) -> None:
    """Make room at ``target``: a file or link gives way to one, anything else is a conflict."""
    there = rows.child(tx.db, moving.target, target.name)
    check_condition(tx.db, target, None if there is None else there[2] or 0, condition)
    require_gives_way(target, rows.KINDS[moving.kind], rows.kind_of(there))
    if there is None:
        return
    leaf = leaf_at(tx, moving.target, there[0], there[2], target)
    delete(tx, [leaf], datastore_of(tx.db, target))


def rename(tx: Transaction, moving: Moving, name: str) -> None:
    """Put what is moved into its new folder, by its new name."""
    kind = become_by_move(rows.KINDS[moving.kind], is_at_top=moving.target == ROOT)
    tx.run(
        "UPDATE entries SET parent = ?, name = ?, kind = ? WHERE id = ?",
        moving.target,
        name,
        rows.NUMBERS[kind],
        moving.entry,
    )


def parent_of(tx: Transaction, entry: int) -> int:
    """Return the folder that an entry lies in."""
    return int(tx.value("SELECT parent FROM entries WHERE id = ?", entry))
