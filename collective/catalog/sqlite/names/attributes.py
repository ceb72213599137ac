"""Links, and what is known of names beside their content: times and modes."""

from __future__ import annotations

from collective.catalog.decisions.names import absent
from collective.catalog.sqlite.files.committing import put_in_place, target_of
from collective.catalog.sqlite.names.datastores import copies_for, datastore_of
from collective.catalog.sqlite.names.entries import Changed, counted, load_changed, load_entry, seen
from collective.catalog.sqlite.names.names import check_condition
from collective.catalog.sqlite.names.quotas import charge_at, require_room, weigh
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Part
from collective.catalog.sqlite.store.rows import CURRENT, LEAVES, LINK
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.errors import ConflictError, UsageError
from collective.core.paths import FilePath, check_target
from collective.model.calls import Call
from collective.model.changes import Attributes, Precondition
from collective.model.entries import Entry
from collective.model.rights import Right

_SET_VERSION = (
    "UPDATE versions SET number = ?1, modified_ms = coalesce(?2, modified_ms),"
    " modified_ns = coalesce(?3, modified_ns), mode = coalesce(?4, mode) WHERE id = ?5"
)
_SET_FOLDER = (
    "UPDATE entries SET modified_ms = coalesce(?1, modified_ms),"
    " modified_ns = coalesce(?2, modified_ns), mode = coalesce(?3, mode) WHERE id = ?4"
)


class AttributesPart(Part):
    """``make_link`` and ``set_attributes`` of ``Names``."""

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
            require_room(tx, datastore_of(tx.db, path), weigh(tx.db, version).charge_bytes - credit)
            entry = put_in_place(tx, path, LINK, version, parent, existing)
            tx.audit(caller, "write", str(path), "a symbolic link")
            return seen(decider, load_entry(tx.db, entry, path, 0))

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
            if path.is_root:
                raise UsageError("/ has neither time nor mode; name what is below it.")
            found = rows.find(tx.db, path)
            if found is None:
                raise absent(path)
            entry, kind, version = found
            check_condition(tx.db, path, version if kind in LEAVES else 0, condition)
            if kind == LINK and mode is not None:
                raise ConflictError(f"{path} is a symbolic link, which has no mode of its own.")
            if kind in LEAVES:
                tx.run(_SET_VERSION, tx.next_version(), *time, mode, version)
            else:
                tx.run(_SET_FOLDER, *time, mode, entry)
            tx.audit(caller, "write", str(path), "its time or mode")
            copies = copies_for(tx.db, path, self._engine.settings.copies)
            return load_changed(tx.db, entry, path, copies).seen(decider)

        changed = await self._engine.write(work, caller=caller, action="write", target=str(path))
        return await counted(self._engine, changed)
