"""Datastores: owner, copies and quota; what lies in each is counted in its folder's row (``folders``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import apsw

from collective.catalog.decisions.datastores import (
    Holder,
    Holding,
    copies_asked,
    is_given,
    keeps_owner_on_rename,
    no_datastore,
    owner_grant,
    require_admissible_owner,
    require_disposal,
    require_policy,
    there_already,
    unsettles_policy,
)
from collective.catalog.decisions.visibility import read_whole
from collective.catalog.sqlite.changes.rows import note_change
from collective.catalog.sqlite.names import policies
from collective.catalog.sqlite.names.folders import add_folders
from collective.catalog.sqlite.names.policies import unsettle
from collective.catalog.sqlite.names.quota_rows import make_room
from collective.catalog.sqlite.people.grants import drop_grant, insert_grants
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.rows import DATASTORE, ROOT
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.core.randomness import Randomness, hex_id
from collective.model.calls import Call
from collective.model.datastores import Datastore
from collective.model.writing import Attributes

_SELECT = (
    "SELECT e.name, d.owner, d.copies, d.quota, f.data, f.files, f.overhead,"
    " (SELECT coalesce(sum(max(u.reserved - u.credit, 0)), 0) FROM uploads u"
    " WHERE u.datastore = d.entry AND u.state = 0)"
    " FROM datastores d JOIN entries e ON e.id = d.entry JOIN folders f ON f.entry = d.entry"
)
_INSERT = "INSERT INTO datastores (entry, copies, quota) VALUES (?,?,?)"


class SqliteDatastores:
    """Top-level paths with owner and policy."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def create(
        self,
        caller: Call,
        path: FilePath,
        *,
        copies: int,
        quota_bytes: int,
        owner: SpiffeId | None,
    ) -> Datastore:
        """Make a datastore with a policy; admins only."""
        require_policy(path, copies=copies, quota_bytes=quota_bytes)

        def work(tx: Transaction) -> Datastore:
            tx.decider(caller).require_admin("make a datastore with a policy (mkdir needs write)")
            if rows.child(tx.db, ROOT, path.name) is not None:
                raise there_already(path)
            entry = add_datastore(tx, path.name, copies=copies, quota_bytes=quota_bytes)
            _own(tx, self._engine.randomness, caller, entry, path, owner)
            note_change(tx, path)
            tx.audit(caller, "datastore-create", str(path), _policy(copies, quota_bytes, owner))
            return _load(tx.db, path)

        return await self._engine.write(
            work, caller=caller, action="datastore-create", target=str(path)
        )

    async def list(self, caller: Call) -> Sequence[Datastore]:
        """Return the datastores that the caller may read, in order of path."""

        def work(db: apsw.Connection) -> Sequence[Datastore]:
            decider = self._engine.decider(caller)
            found: Any = db.execute(f"{_SELECT} ORDER BY e.name").fetchall()
            values = [_value(row) for row in found]
            shown = set(read_whole(decider, (one.path for one in values)))
            return [one for one in values if one.path in shown]

        return await self._engine.read(work)

    async def set(
        self,
        caller: Call,
        path: FilePath,
        *,
        copies: int | None = None,
        quota_bytes: int | None = None,
        owner: SpiffeId | Literal["member"] | None = None,
    ) -> Datastore:
        """Change a policy; admins only, None leaves as it is."""
        require_policy(path, copies=copies or 0, quota_bytes=quota_bytes or 0)

        def work(tx: Transaction) -> Datastore:
            tx.decider(caller).require_admin("change a datastore")
            before = _load(tx.db, path)
            entry = tx.value(
                "SELECT id FROM entries WHERE parent = ? AND name = ?", ROOT, path.name
            )
            tx.run(
                "UPDATE datastores SET copies = coalesce(?, copies), quota = coalesce(?, quota)"
                " WHERE entry = ?",
                copies,
                quota_bytes,
                entry,
            )
            if unsettles_policy(before.copies, copies):
                unsettle(tx, entry, self._engine.settings.copies)
            if is_given(_holder(tx, entry), owner):
                wanted = None if owner == "member" else owner
                _own(tx, self._engine.randomness, caller, entry, path, wanted)
            after = _load(tx.db, path)
            detail = _policy(after.copies, after.quota_bytes, after.owner)
            tx.audit(caller, "datastore-set", str(path), detail)
            return after

        return await self._engine.write(
            work, caller=caller, action="datastore-set", target=str(path)
        )

    async def settle_copies(self) -> bool:
        """Go one bounded step on with what moves and policies left; True if something is left."""
        if not await self._engine.read(rows.is_unsettled):
            return False
        copies = self._engine.settings.copies
        return await self._engine.change(
            lambda tx: policies.settle(tx, copies, policies.BATCH_ROWS)
        )


# --- for others, inside their transactions ---------------------------------------------------------


def add_datastore(
    tx: Transaction,
    name: str,
    *,
    copies: int = 0,
    quota_bytes: int = 0,
    attributes: Attributes | None = None,
) -> int:
    """Insert a top-level folder as a datastore of the member; return its entry."""
    entry = add_folders(tx, ROOT, [name], attributes or Attributes(), kind=DATASTORE)
    tx.run(_INSERT, entry, copies, quota_bytes)
    return entry


def datastore_of(db: apsw.Connection, path: FilePath) -> int:
    """Return the entry of the datastore that ``path`` is or lies in; 0 if there is none."""
    found = rows.child(db, ROOT, path.names[0]) if path.names else None
    return found[0] if found else 0


def copies_for(db: apsw.Connection, path: FilePath, default: int) -> int:
    """Return how many copies a chunk written at ``path`` gets."""
    if not path.names:
        return default
    row = rows.fetch(
        db,
        "SELECT d.copies FROM entries e JOIN datastores d ON d.entry = e.id"
        " WHERE e.parent = ? AND e.name = ?",
        ROOT,
        path.names[0],
    )
    return copies_asked(row[0] if row else 0, default)


def moved(
    tx: Transaction, entry: int, source: int, target: int, charge_bytes: int, *, from_top: bool
) -> None:
    """Have what moved between datastores keep the rules of both; call it before it is counted there.

    Args:
        tx: of the move; ``entry`` has its new place already.
        entry: what moved.
        source: the datastore that it lay in, or was.
        target: the one that it lies in now; ``entry`` itself if it became one.
        charge_bytes: what it counts for.
        from_top: it was a datastore.

    Raises:
        NoSpaceError: the quota has no room.
    """
    if source == target:
        return
    if from_top:
        disown(tx, entry)
        tx.run("DELETE FROM datastores WHERE entry = ?", entry)
    if target == entry:
        tx.run(_INSERT, entry, 0, 0)
    else:
        make_room(tx, target, charge_bytes)


def check_disposal(tx: Transaction, caller: Call, path: FilePath, entry: int) -> None:
    """Raise PermissionDeniedError unless the caller may take the datastore at ``path`` away."""
    owner, copies, quota = tx.one(
        "SELECT owner, copies, quota FROM datastores WHERE entry = ?", entry
    )
    known = None if owner is None else SpiffeId.parse(owner)
    require_disposal(tx.decider(caller), path, Holding(known, bool(copies or quota)))


def disown(tx: Transaction, entry: int) -> None:
    """End what the owner of a datastore has by owning it, since it goes."""
    grant = tx.value("SELECT owner_grant FROM datastores WHERE entry = ?", entry)
    if grant:
        drop_grant(tx, grant)


def settle_owner(
    tx: Transaction, randomness: Randomness, caller: Call, entry: int, path: FilePath
) -> None:
    """Settle whose a datastore is that ``caller`` renamed to ``path``."""
    if not keeps_owner_on_rename(is_admin=tx.decider(caller).is_admin):
        disown(tx, entry)
        tx.run("UPDATE datastores SET owner = NULL, owner_grant = NULL WHERE entry = ?", entry)
        return
    old = tx.value("SELECT owner_grant FROM datastores WHERE entry = ?", entry)
    known = tx.book.get(old) if old else None
    if known is None:
        return
    disown(tx, entry)
    renamed = replace(known, id=hex_id(randomness), path=path)
    insert_grants(tx, [renamed])
    tx.run("UPDATE datastores SET owner_grant = ? WHERE entry = ?", renamed.id, entry)


# --- inside ----------------------------------------------------------------------------------------


def _own(
    tx: Transaction,
    randomness: Randomness,
    caller: Call,
    entry: int,
    path: FilePath,
    owner: SpiffeId | None,
) -> None:
    """Make ``owner`` the owner: they get every right there, the one before loses theirs."""
    require_admissible_owner(owner, tx.book)
    old = tx.value("SELECT owner_grant FROM datastores WHERE entry = ?", entry)
    if old:
        drop_grant(tx, old)
    grant_id = None
    if owner is not None:
        grant_id = hex_id(randomness)
        insert_grants(tx, [owner_grant(grant_id, owner, path, caller, tx.book, tx.now_s)])
    tx.run(
        "UPDATE datastores SET owner = ?, owner_grant = ? WHERE entry = ?",
        None if owner is None else str(owner),
        grant_id,
        entry,
    )


def _holder(tx: Transaction, entry: int) -> Holder:
    """Return whose a datastore is, and whether they have still what they should have by that."""
    owner, grant_id = tx.one("SELECT owner, owner_grant FROM datastores WHERE entry = ?", entry)
    known = None if owner is None else SpiffeId.parse(owner)
    return Holder(known, has_grant=tx.book.until([grant_id or ""]) > tx.now_s)


def _policy(copies: int, quota_bytes: int, owner: SpiffeId | None) -> str:
    return f"copies {copies}, quota {quota_bytes}, owner {owner or 'the member'}"


def _load(db: apsw.Connection, path: FilePath) -> Datastore:
    row = rows.fetch(db, f"{_SELECT} WHERE e.parent = ? AND e.name = ?", ROOT, path.name)
    if row is None:
        raise no_datastore(path)
    return _value(row)


def _value(row: Any) -> Datastore:
    name, owner, copies, quota, used, files, overhead, reserved = row
    return Datastore(
        FilePath((name,)),
        None if owner is None else SpiffeId.parse(owner),
        copies,
        quota,
        used,
        files,
        overhead,
        reserved,
    )
