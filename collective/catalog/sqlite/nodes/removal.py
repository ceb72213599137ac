"""Taking a node away: what it holds is looked through, and ``decisions/removal.py`` judges.

What is on the node is looked through by a reader, page by page, since that may take seconds.  Nothing
may come to depend on the node meanwhile, so it is marked first: from then on its copies count for no
quorum, and uploads that relied on them are checked again (``rechecking``).  Two nodes may be taken
away at once: each one's mark is seen by the other's look.  A mark that a killed process left is
lifted when the catalogue is opened, one that could not be lifted (the disk was full) by upkeep.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import apsw

from collective.catalog.decisions.removal import HeldChunk, Needed, still_guarded
from collective.catalog.decisions.standing import unknown_node
from collective.catalog.sqlite.collection.dooming import guarded_on
from collective.catalog.sqlite.people.revocations import revoke_node
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.references import IN_USE, TRUSTED
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId, SpiffeId
from collective.model.calls import Call
from collective.model.nodes import Standing

LOOK_ROWS: Final = 2_000
"""Copies that one look goes through."""
COUNTED_PAGES: Final = 20
"""Pages with copies in use after which the refusal says "at least"."""
FORGET_ROWS: Final = 200
"""Copies on removed nodes that one step forgets."""

_HELD: Final = (
    "SELECT c.chunk, k.wanted, c.state = 1 FROM copies c JOIN chunks k ON k.id = c.chunk"
    " WHERE c.node = ? AND c.chunk > ? AND c.chunk <= ? AND c.state IN (1, 2, 3)"
    f" AND {IN_USE}"
)
_UNTIL: Final = (
    "SELECT max(chunk) FROM"
    " (SELECT chunk FROM copies WHERE node = ? AND chunk > ? ORDER BY chunk LIMIT ?)"
)
_ELSEWHERE: Final = (
    "SELECT n.standing FROM copies c JOIN nodes n ON n.id = c.node"
    f" WHERE c.chunk = ? AND c.node <> ? AND c.state = 1 AND {TRUSTED}"
)


class Removal:
    """Takes nodes away that hold nothing of use."""

    def __init__(self, engine: Engine) -> None:
        """Begin with none under way."""
        self._engine = engine
        self.under_way: list[NodeId] = []
        """Nodes that are being taken away now, each as often as somebody does."""

    async def remove(self, actor: Call, node: NodeId, identity: SpiffeId, *, force: bool) -> int:
        """Take a node away for good and revoke its ``identity``; return the revocation epoch.

        Raises:
            ConflictError: a chunk in use has a copy there, and ``force`` is not set.
        """
        await self._engine.read(lambda db: require_there(db, node))
        with self._taking_away(node):
            return await self._remove(actor, node, identity, force=force)

    @contextmanager
    def _taking_away(self, node: NodeId) -> Iterator[None]:
        """Note that ``node`` is being taken away: nobody else lifts its mark meanwhile."""
        self.under_way.append(node)
        try:
            yield
        finally:
            self.under_way.remove(node)

    async def _remove(self, actor: Call, node: NodeId, identity: SpiffeId, *, force: bool) -> int:
        if not force:
            await self._require_empty(actor, node)

        def work(tx: Transaction) -> int:
            tx.decider(actor).require_admin("remove nodes")
            require_there(tx.db, node)
            tx.run("UPDATE nodes SET removed = 1, removing = 0 WHERE name = ?", node)
            tx.run("DELETE FROM brought_back WHERE node = ?", node)
            rows.raise_trust_epoch(tx, node)
            epoch = revoke_node(tx, actor, identity)
            tx.audit(actor, "node-remove", node, "by force" if force else "")
            return epoch

        try:
            return await self._engine.write(work, caller=actor, action="node-remove", target=node)
        except BaseException:
            if not force:
                await self._mark(actor, node, removing=False)
            raise

    async def _require_empty(self, actor: Call, node: NodeId) -> None:
        """Mark the node and raise ConflictError, unmarked again, unless nothing in use is there."""
        await self._refuse_while_held(node)  # most often that is plain, and nothing is marked
        await self._mark(actor, node, removing=True)
        try:
            await self._refuse_while_held(node)
        except BaseException:
            await self._mark(actor, node, removing=False)
            raise

    async def _refuse_while_held(self, node: NodeId) -> None:
        """Raise ConflictError while copies there are needed."""
        needed = Needed(await self._engine.read(lambda db: _is_doubted(db, node)))
        pages = 0
        async for page in self._held(node):
            needed.count(page)
            pages += bool(needed.copies)
            if pages >= COUNTED_PAGES:
                break
        if needed.copies:
            raise needed.refusal(node, is_all=pages < COUNTED_PAGES)
        waiting = await self._engine.read(lambda db: guarded_on(db, require_there(db, node)))
        if waiting:
            raise still_guarded(node, waiting, await self._engine.read(_on_probation))

    async def _held(self, node: NodeId) -> AsyncIterator[Sequence[HeldChunk]]:
        """Yield the chunks in use that have a copy there, page by page."""
        after = 0

        def work(db: apsw.Connection) -> tuple[int | None, Sequence[HeldChunk]]:
            number = require_there(db, node)
            until = rows.fetch(db, _UNTIL, number, after, LOOK_ROWS)[0]
            found: Any = db.execute(_HELD, (number, after, until)).fetchall() if until else []
            return until, [
                HeldChunk(wanted, bool(is_stored), _elsewhere(db, chunk, number))
                for chunk, wanted, is_stored in found
            ]

        while True:
            until, page = await self._engine.read(work)
            if until is None:
                return
            after = until
            yield page

    async def _mark(self, actor: Call, node: NodeId, *, removing: bool) -> None:
        def work(tx: Transaction) -> None:
            if removing:
                tx.decider(actor).require_admin("remove nodes")
                rows.raise_trust_epoch(tx, node)
            tx.run("UPDATE nodes SET removing = ? WHERE name = ?", int(removing), node)

        await self._engine.write(work, caller=actor, action="node-remove", target=node)


def lift_marks(tx: Transaction, under_way: Iterable[NodeId] = ()) -> None:
    """Unmark nodes whose removal ended, however that was: but for those ``under_way``."""
    tx.run(
        "UPDATE nodes SET removing = 0 WHERE removing = 1"
        " AND name NOT IN (SELECT value FROM json_each(?))",
        json.dumps(list(under_way)),
    )


def forget_copies(tx: Transaction) -> bool:
    """Forget a bounded number of copies on removed nodes, gone for good; True if more are there."""
    tx.run(
        "DELETE FROM copies WHERE (chunk, node) IN (SELECT c.chunk, c.node FROM nodes n"
        " JOIN copies c ON c.node = n.id WHERE n.removed = 1 LIMIT ?)",
        FORGET_ROWS,
    )
    return tx.db.changes() >= FORGET_ROWS


def _elsewhere(db: apsw.Connection, chunk: int, node: int) -> list[Standing]:
    found: Any = db.execute(_ELSEWHERE, (chunk, node)).fetchall()
    return [Standing(row[0]) for row in found]


def _on_probation(db: apsw.Connection) -> Sequence[NodeId]:
    """Return the nodes on probation that have copies."""
    found: Any = db.execute(
        "SELECT name FROM nodes WHERE removed = 0 AND standing = ? AND stored > 0 ORDER BY name",
        (Standing.PROBATION.value,),
    ).fetchall()
    return [NodeId(name) for (name,) in found]


def _is_doubted(db: apsw.Connection, node: NodeId) -> bool:
    row = rows.fetch(db, "SELECT standing FROM nodes WHERE name = ?", node)
    return row is not None and Standing(row[0]) is Standing.DOUBTED


def require_there(db: apsw.Connection, node: NodeId) -> int:
    """Return the row id of a node that was not taken away, or NotFoundError."""
    row = rows.fetch(db, "SELECT id FROM nodes WHERE name = ? AND removed = 0", node)
    if row is None:
        raise unknown_node(node)
    return int(row[0])
