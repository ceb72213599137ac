"""The tree of names: folders, stat, listings, removal and moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import apsw

from collective.access.permissions import Sight
from collective.catalog.decisions.charges import FOLDER, Weight
from collective.catalog.decisions.names import (
    Bounds,
    absent,
    fits,
    new_folders,
    reaches_no_further,
    refuse_peer,
    require_condition,
    require_gives_way,
    require_movable,
    require_no_root,
    too_deep_below,
)
from collective.catalog.sqlite.names.datastores import (
    add_datastore,
    check_disposal,
    copies_for,
    datastore_of,
    moved,
    settle_owner,
)
from collective.catalog.sqlite.names.entries import Changed, counted, load_changed, load_entry, seen
from collective.catalog.sqlite.names.folders import (
    Measure,
    add_folders,
    count_below,
    folder_at,
    measure,
    tighten,
)
from collective.catalog.sqlite.names.listing import list_page
from collective.catalog.sqlite.names.name_removal import delete, leaf_at, remove_part
from collective.catalog.sqlite.names.policies import unsettle
from collective.catalog.sqlite.names.quotas import require_room, weigh
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Part
from collective.catalog.sqlite.store.rows import DATASTORE, DIRECTORY, LEAVES, ROOT
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.errors import BusyError, ConflictError, UsageError
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.changes import Attributes, Precondition
from collective.model.entries import Entry, EntryKind
from collective.model.pages import EntryPage
from collective.model.rights import Right

MEASURES_MAX: Final = 3
"""Times that a move measures what it moves, where names come below it meanwhile."""


def check_condition(
    db: apsw.Connection, path: FilePath, version: int | None, condition: Precondition
) -> None:
    """Raise ConflictError unless the file at ``path`` (None: absent) meets ``condition``.

    Args:
        db: the catalogue.
        path: where it is.
        version: its row; 0 for a folder.
        condition: of the caller.
    """
    number = version
    if version and condition.if_version:
        number = rows.fetch(db, "SELECT number FROM versions WHERE id = ?", version)[0]
    require_condition(path, number, condition)


class NamesPart(Part):
    """The methods of ``Names``."""

    async def make_directory(
        self,
        caller: Call,
        path: FilePath,
        *,
        parents: bool,
        attributes: Attributes | None = None,
    ) -> Entry:
        """Make a directory, or a datastore at top level."""
        given = attributes or Attributes()

        def work(tx: Transaction) -> Entry:
            decider = tx.decider(caller)
            decider.require(Right.WRITE, path)
            refuse_peer(path)
            here, there = ROOT, []
            for name in path.names:
                found = rows.child(tx.db, here, name)
                if found is None:
                    break
                here = found[0]
                there.append(rows.KINDS[found[1]])
            new = new_folders(path, there, parents=parents)
            for depth in range(len(there), len(path.names)):
                decider.require(Right.WRITE, FilePath(path.names[: depth + 1]))
            if path.is_root:
                return Entry(path, EntryKind.DIRECTORY)
            if new:
                here = _add_folders(tx, here, new, path, given)
                tx.audit(caller, "mkdir", str(path))
            return seen(decider, load_entry(tx.db, here, path, 0))

        return await self._engine.write(work, caller=caller, action="mkdir", target=str(path))

    async def stat(self, caller: Call, path: FilePath) -> Entry:
        """Return one entry as far as the caller may know it."""

        def work(db: apsw.Connection) -> Entry:
            sight = self._engine.decider(caller).require_sight(path)
            refuse_peer(path)
            found = rows.find(db, path)
            if found is None:
                raise absent(path)
            if sight is not Sight.FULL and not path.is_root:
                return Entry(path, rows.KINDS[found[1]])
            copies = copies_for(db, path, self._engine.settings.copies)
            return load_entry(db, found[0], path, copies)

        return await self._engine.read_for(caller, "stat", str(path), work)

    async def list(
        self, caller: Call, path: FilePath, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page below ``path`` in order of path."""

        def work(db: apsw.Connection) -> EntryPage:
            decider = self._engine.decider(caller)
            decider.require_sight(path)
            refuse_peer(path)
            copies = self._engine.settings.copies
            return list_page(
                db, decider, path, copies, recursive=recursive, page_size=page_size, token=token
            )

        return await self._engine.read_for(caller, "list", str(path), work)

    async def remove(
        self, caller: Call, path: FilePath, *, recursive: bool, condition: Precondition
    ) -> int:
        """Remove a file, an empty directory, or a tree.

        A large tree goes in several transactions, deepest names first; cancelled half-way, what is
        left is a smaller tree.
        """
        gone = 0
        row: int | None = None

        def work(tx: Transaction) -> tuple[int, bool, int | None]:
            tx.decider(caller).require(Right.WRITE, path)
            refuse_peer(path)
            if path.is_root:
                raise UsageError("/ cannot be removed; name a datastore.")
            found = rows.find(tx.db, path)
            if found is None:
                raise absent(path)
            entry, kind, version = found
            if kind == DATASTORE:
                check_disposal(tx, caller, path, entry)
            check_condition(tx.db, path, version if kind in LEAVES else 0, condition)
            datastore = datastore_of(tx.db, path)
            if kind not in LEAVES and recursive:
                count, is_all = remove_part(tx, _parent(tx, entry), entry, path, datastore)
                who, detail = str(caller.principal), f"{gone + count} entries"
                told = tx.audit_of(who, "remove", str(path), detail, caller.request_id, row=row)
                return count, is_all, told
            if rows.fetch(tx.db, "SELECT 1 FROM entries WHERE parent = ? LIMIT 1", entry):
                raise ConflictError(f"{path} is not empty; remove it with -r.")
            delete(tx, [leaf_at(tx, _parent(tx, entry), entry, version, path)], datastore)
            tx.audit(caller, "remove", str(path))
            return 1, True, None

        is_all = False
        while not is_all:
            count, is_all, row = await self._engine.write(
                work, caller=caller, action="remove", target=str(path)
            )
            gone += count
        return gone

    async def move(
        self, caller: Call, source: FilePath, target: FilePath, *, condition: Precondition
    ) -> Entry:
        """Rename; one row changes, whatever hangs below it, and the counts of the folders above."""
        known: Measure | None = None

        def work(tx: Transaction) -> Changed | int:
            """Move, or return the entry that has to be measured first."""
            tx.decider(caller).require_move(source, target)
            there = rows.find(tx.db, source)
            if there is not None and there[1] == DATASTORE:
                check_disposal(tx, caller, source, there[0])
            found = _movable(tx, source, target)
            if target != source:
                bounds = _fitting(tx, found, source, target, known)
                if bounds is None:
                    return found.entry
                _replace(tx, found, target, condition)
                before = datastore_of(tx.db, source)
                default = self._engine.settings.copies
                asked = copies_for(tx.db, source, default)
                count_below(tx, found.source, -found.weight)
                _rename(tx, found, target.name)
                after, from_top = datastore_of(tx.db, target), found.kind == DATASTORE
                charge_bytes = found.weight.charge_bytes
                moved(tx, found.entry, before, after, charge_bytes, from_top=from_top)
                count_below(tx, found.target, found.weight, bounds.under(target.name))
                if from_top:
                    settle_owner(tx, self._engine.randomness, caller, found.entry, target)
                other = asked != copies_for(tx.db, target, default) or before != after
                if other or rows.is_unsettled(tx.db):
                    unsettle(tx, found.entry, default)
                tx.audit(caller, "move", str(source), str(target))
            copies = copies_for(tx.db, target, self._engine.settings.copies)
            return load_changed(tx.db, found.entry, target, copies)

        for _ in range(1 + MEASURES_MAX):
            done = await self._engine.write(work, caller=caller, action="move", target=str(source))
            if isinstance(done, Changed):
                return await counted(self._engine, done)
            known = await measure(self._engine, done)
        raise BusyError(f"Names are added below {source} all the time; try again.")


@dataclass(frozen=True, slots=True)
class _Moving:
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


def _movable(tx: Transaction, source: FilePath, target: FilePath) -> _Moving:
    """Return what is at ``source`` and where it goes, or say why it cannot go."""
    require_no_root(source, target)
    found = rows.find(tx.db, source)
    parent = rows.find(tx.db, target.parent)
    require_movable(source, target, rows.kind_of(found), rows.kind_of(parent))
    assert found is not None
    assert parent is not None
    entry, kind, version = found
    within = _parent(tx, entry)
    if version is not None:
        return _Moving(entry, kind, within, parent[0], weigh(tx.db, version), Bounds(), 0)
    folder = folder_at(tx.db, entry)
    weight = folder.weight + FOLDER
    return _Moving(entry, kind, within, parent[0], weight, folder.bounds, folder.added)


def _parent(tx: Transaction, entry: int) -> int:
    return int(tx.value("SELECT parent FROM entries WHERE id = ?", entry))


def _rename(tx: Transaction, moving: _Moving, name: str) -> None:
    kind = moving.kind
    tx.run(
        "UPDATE entries SET parent = ?, name = ?, kind = ? WHERE id = ?",
        moving.target,
        name,
        kind if kind in LEAVES else DATASTORE if moving.target == ROOT else DIRECTORY,
        moving.entry,
    )


def _fitting(
    tx: Transaction, moving: _Moving, source: FilePath, target: FilePath, known: Measure | None
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


def _add_folders(
    tx: Transaction, parent: int, names: Sequence[str], path: FilePath, attributes: Attributes
) -> int:
    """Add the last folders of ``path``, the first of them in ``parent``; return the last one's entry."""
    if parent == ROOT:
        is_last = len(names) == 1
        parent = add_datastore(tx, names[0], attributes=attributes if is_last else None)
        names = names[1:]
    if not names:
        return parent
    require_room(tx, datastore_of(tx.db, path), FOLDER.charge_bytes * len(names))
    return add_folders(tx, parent, names, attributes)


def _replace(tx: Transaction, moving: _Moving, target: FilePath, condition: Precondition) -> None:
    """Make room at ``target``: a file or link gives way to one, anything else is a conflict."""
    there = rows.child(tx.db, moving.target, target.name)
    check_condition(tx.db, target, None if there is None else there[2] or 0, condition)
    require_gives_way(target, rows.KINDS[moving.kind], rows.kind_of(there))
    if there is None:
        return
    leaf = leaf_at(tx, moving.target, there[0], there[2], target)
    delete(tx, [leaf], datastore_of(tx.db, target))
