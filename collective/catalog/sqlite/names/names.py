"""The tree of names: folders, links, stat, listings, removal and moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import apsw

from collective.catalog.decisions.datastores import Asked, unsettles_place
from collective.catalog.decisions.names import (
    absent,
    new_folders,
    refuse_peer,
    require_attributes,
    require_empty,
    require_mode,
    require_removable,
    takes_tree,
)
from collective.catalog.decisions.visibility import as_seen, knows_all_of, only_that_it_is
from collective.catalog.decisions.weights import FOLDER
from collective.catalog.sqlite.changes.rows import note_change
from collective.catalog.sqlite.files.committing import put_in_place, target_of
from collective.catalog.sqlite.names.datastores import (
    add_datastore,
    check_disposal,
    copies_for,
    datastore_of,
    moved,
    settle_owner,
)
from collective.catalog.sqlite.names.entries import (
    Changed,
    check_condition,
    counted,
    load_changed,
    load_entry,
)
from collective.catalog.sqlite.names.folders import (
    Measure,
    add_folders,
    count_below,
    measure,
)
from collective.catalog.sqlite.names.listing import list_page
from collective.catalog.sqlite.names.moving import fitting, give_way, movable, parent_of, rename
from collective.catalog.sqlite.names.name_removal import delete, leaf_at, remove_part
from collective.catalog.sqlite.names.policies import unsettle
from collective.catalog.sqlite.names.quota_rows import charge_at, make_room, weigh
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import CURRENT, DATASTORE, LEAVES, LINK, ROOT
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.errors import BusyError
from collective.core.paths import FilePath, check_target
from collective.model.calls import Call
from collective.model.entries import Entry, EntryKind
from collective.model.pages import EntryPage
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition, Removed

_SET_VERSION = (
    "UPDATE versions SET number = ?1, modified_ms = coalesce(?2, modified_ms),"
    " modified_ns = coalesce(?3, modified_ns), mode = coalesce(?4, mode) WHERE id = ?5"
)
_SET_FOLDER = (
    "UPDATE entries SET modified_ms = coalesce(?1, modified_ms),"
    " modified_ns = coalesce(?2, modified_ns), mode = coalesce(?3, mode) WHERE id = ?4"
)
MEASURES_MAX: Final = 3
"""Times that a move measures what it moves, where names come below it meanwhile."""


class SqliteNames:
    """The tree of names."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

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
                note_change(tx, FilePath(path.names[: len(there) + 1]), below=len(new) > 1)
                tx.audit(caller, "mkdir", str(path))
            return as_seen(decider, load_entry(tx.db, here, path, 0))

        return await self._engine.write(work, caller=caller, action="mkdir", target=str(path))

    async def make_link(
        self,
        caller: Call,
        path: FilePath,
        target: bytes,
        attributes: Attributes,
        condition: Precondition,
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there."""
        check_target(target)

        def work(tx: Transaction) -> Entry:
            decider = tx.decider(caller)
            decider.require(Right.WRITE, path)
            parent, existing = target_of(tx, path)
            check_condition(tx.db, path, existing[1] if existing else None, condition)
            credit = charge_at(tx, path)
            modified_ms, modified_ns, _ = rows.attribute_columns(attributes, tx.now_ms)
            tx.run(
                "INSERT INTO versions (number, state, size, recorded, chunk_count, modified_ms,"
                " modified_ns, mode, content_type, metadata, digest, target)"
                " VALUES (?,?,0,0,0,?,?,?,'','{}',x'',?)",
                tx.next_version(),
                CURRENT,
                modified_ms,
                modified_ns,
                rows.NO_MODE,
                target,
            )
            version = tx.db.last_insert_rowid()
            make_room(tx, datastore_of(tx.db, path), weigh(tx.db, version).charge_bytes - credit)
            entry = put_in_place(tx, path, LINK, version, parent, existing)
            tx.audit(caller, "write", str(path), "a symbolic link")
            return as_seen(decider, load_entry(tx.db, entry, path, 0))

        return await self._engine.write(work, caller=caller, action="write", target=str(path))

    async def set_attributes(
        self,
        caller: Call,
        path: FilePath,
        *,
        modified_ns: int | None,
        mode: int | None,
        condition: Precondition,
    ) -> Entry:
        """Change time and mode (None: as it is) of what is at ``path``."""
        time = (None, None) if modified_ns is None else rows.time_columns(modified_ns)

        def work(tx: Transaction) -> Changed:
            decider = tx.decider(caller)
            decider.require(Right.WRITE, path)
            require_attributes(path)
            found = rows.find(tx.db, path)
            if found is None:
                raise absent(path)
            entry, kind, version = found
            check_condition(tx.db, path, version if kind in LEAVES else 0, condition)
            require_mode(path, rows.KINDS[kind], mode)
            if kind in LEAVES:
                tx.run(_SET_VERSION, tx.next_version(), *time, mode, version)
            else:
                tx.run(_SET_FOLDER, *time, mode, entry)
            note_change(tx, path)
            tx.audit(caller, "write", str(path), "its time or mode")
            copies = copies_for(tx.db, path, self._engine.settings.copies)
            return load_changed(tx.db, entry, path, copies).seen(decider)

        changed = await self._engine.write(work, caller=caller, action="write", target=str(path))
        return await counted(self._engine, changed)

    async def stat(self, caller: Call, path: FilePath) -> Entry:
        """Return one entry as far as the caller may know it."""

        def work(db: apsw.Connection) -> Entry:
            visibility = self._engine.decider(caller).require_visible(path)
            refuse_peer(path)
            found = rows.find(db, path)
            if found is None:
                raise absent(path)
            if not knows_all_of(visibility, path):
                return only_that_it_is(path, rows.KINDS[found[1]])
            copies = copies_for(db, path, self._engine.settings.copies)
            return load_entry(db, found[0], path, copies)

        return await self._engine.read_for(caller, "stat", str(path), work)

    async def rights(self, caller: Call, path: FilePath) -> Right:
        """Return what the caller may do at ``path``, by their grants alone."""

        def work(_: apsw.Connection) -> Right:
            decider = self._engine.decider(caller)
            decider.require_visible(path)
            refuse_peer(path)
            return decider.rights(path)

        return await self._engine.read_for(caller, "rights", str(path), work)

    async def list(
        self, caller: Call, path: FilePath, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page below ``path`` in order of path."""

        def work(db: apsw.Connection) -> EntryPage:
            decider = self._engine.decider(caller)
            decider.require_visible(path)
            refuse_peer(path)
            copies = self._engine.settings.copies
            return list_page(
                db, decider, path, copies, recursive=recursive, page_size=page_size, token=token
            )

        return await self._engine.read_for(caller, "list", str(path), work)

    async def remove(
        self,
        caller: Call,
        path: FilePath,
        *,
        recursive: bool,
        condition: Precondition,
        budget_s: float | None = None,
    ) -> Removed:
        """Remove a file, an empty directory, or a tree.

        A large tree goes in several transactions, deepest names first; cancelled half-way, or after
        ``budget_s``, what is left is a smaller tree.
        """
        gone = 0
        clock = self._engine.clock
        until_s = math.inf if budget_s is None else clock.monotonic_s() + budget_s
        row: int | None = None

        def work(tx: Transaction) -> tuple[int, bool, int | None]:
            tx.decider(caller).require(Right.WRITE, path)
            require_removable(path)
            found = rows.find(tx.db, path)
            if found is None:
                raise absent(path)
            entry, kind, version = found
            if kind == DATASTORE:
                check_disposal(tx, caller, path, entry)
            check_condition(tx.db, path, version if kind in LEAVES else 0, condition)
            datastore = datastore_of(tx.db, path)
            if takes_tree(rows.KINDS[kind], recursive=recursive):
                count, is_all = remove_part(tx, parent_of(tx, entry), entry, path, datastore)
                note_change(tx, path, below=True)
                who, detail = str(caller.principal), f"{gone + count} entries"
                told = tx.audit_of(who, "remove", str(path), detail, caller.request_id, row=row)
                return count, is_all, told
            below = rows.fetch(tx.db, "SELECT 1 FROM entries WHERE parent = ? LIMIT 1", entry)
            require_empty(path, has_names=below is not None)
            delete(tx, [leaf_at(tx, parent_of(tx, entry), entry, version, path)], datastore)
            note_change(tx, path)
            tx.audit(caller, "remove", str(path))
            return 1, True, None

        is_all = False
        while not is_all:
            count, is_all, row = await self._engine.write(
                work, caller=caller, action="remove", target=str(path)
            )
            gone += count
            if clock.monotonic_s() >= until_s:
                break
        return Removed(gone, is_all)

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
            found = movable(tx, source, target)
            if target != source:
                bounds = fitting(tx, found, source, target, known)
                if bounds is None:
                    return found.entry
                give_way(tx, found, target, condition)
                before = datastore_of(tx.db, source)
                default = self._engine.settings.copies
                asked = Asked(copies_for(tx.db, source, default), before)
                count_below(tx, found.source, -found.weight)
                rename(tx, found, target.name)
                after, from_top = datastore_of(tx.db, target), found.kind == DATASTORE
                charge_bytes = found.weight.charge_bytes
                moved(tx, found.entry, before, after, charge_bytes, from_top=from_top)
                count_below(tx, found.target, found.weight, bounds.under(target.name))
                if from_top:
                    settle_owner(tx, self._engine.randomness, caller, found.entry, target)
                there_asked = Asked(copies_for(tx.db, target, default), after)
                if unsettles_place(asked, there_asked) or rows.is_unsettled(tx.db):
                    unsettle(tx, found.entry, default)
                for touched in (source, target):
                    note_change(tx, touched, below=found.kind not in LEAVES)
                tx.audit(caller, "move", str(source), str(target))
            copies = copies_for(tx.db, target, self._engine.settings.copies)
            return load_changed(tx.db, found.entry, target, copies)

        for _ in range(1 + MEASURES_MAX):
            done = await self._engine.write(work, caller=caller, action="move", target=str(source))
            if isinstance(done, Changed):
                return await counted(self._engine, done)
            known = await measure(self._engine, done)
        raise BusyError(f"Names are added below {source} all the time; try again.")


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
    make_room(tx, datastore_of(tx.db, path), FOLDER.charge_bytes * len(names))
    return add_folders(tx, parent, names, attributes)
