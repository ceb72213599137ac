"""Taking a node away: only when no chunk in use has a copy there, or by force.

Copies that count for nothing, on a doubted node or missing or doubted themselves, do not keep it once
each chunk has a quorum elsewhere; until then they may be the last ones.

What is on the node is looked through by a reader, page by page, since that may take seconds.  Nothing
may come to depend on the node meanwhile, so it is marked first: from then on its copies count for no
quorum, and uploads that relied on them are checked again (``rechecking``).  Two nodes may be taken
away at once: each one's mark is seen by the other's look.  A mark that a killed process left is
lifted when the catalogue is opened.
"""

# ruff: noqa: S608 - statements are put together from constants alone

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, TypeAlias

import apsw

from collective.catalog.sqlite import rows
from collective.catalog.sqlite.dooming import guarded_on
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.references import IN_USE, TRUSTED
from collective.catalog.sqlite.revocations import revoke_node
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import ConflictError, NotFoundError
from collective.core.ids import NodeId, SpiffeId
from collective.model.calls import Call
from collective.model.nodes import Standing
from collective.placement import evidence
from collective.placement.shortage import approve_if_known, listed

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
_Held: TypeAlias = tuple[int, bool, list[Standing]]


class RemovalPart(Part):
    """The methods of ``Nodes`` by which one is emptied and taken away."""

    async def drain_node(self, actor: Call, node: NodeId, *, draining: bool) -> None:
        """Begin or end a drain."""

        def work(tx: Transaction) -> None:
            tx.decider(actor).require_admin("drain nodes")
            _number(tx.db, node)
            tx.run("UPDATE nodes SET draining = ? WHERE name = ?", int(draining), node)
            tx.audit(actor, action, node)

        action = "node-drain" if draining else "node-use"
        await self._engine.write(work, caller=actor, action=action, target=node)

    async def remove_node(
        self, actor: Call, node: NodeId, identity: SpiffeId, *, force: bool
    ) -> int:
        """Take a node away for good and revoke its ``identity``; return the revocation epoch.

        Raises:
            ConflictError: a chunk in use has a copy there, and ``force`` is not set.
        """
        await self._engine.read(lambda db: _number(db, node))
        if not force:
            await self._require_empty(actor, node)

        def work(tx: Transaction) -> int:
            tx.decider(actor).require_admin("remove nodes")
            _number(tx.db, node)
            tx.run("UPDATE nodes SET removed = 1, removing = 0 WHERE name = ?", node)
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
        """Raise ConflictError while copies there are in use.

        Those of a doubted node, and those that are missing or doubted, count for nothing and may never
        be emptied, so that for them it is enough that each chunk has a quorum elsewhere.
        """
        is_doubted = await self._engine.read(lambda db: _is_doubted(db, node))
        copies = short = pages = 0
        async for page in self._held(node):
            for wanted, is_stored, elsewhere in page:
                is_short = not evidence.is_quorum(elsewhere, wanted)
                short += is_short
                copies += is_short or (is_stored and not is_doubted)
            pages += bool(copies)
            if pages >= COUNTED_PAGES:
                break
        if copies:
            raise still_needed(node, copies, short, is_all=pages < COUNTED_PAGES)
        waiting = await self._engine.read(lambda db: guarded_on(db, _number(db, node)))
        if waiting:
            on_probation = await self._engine.read(_on_probation)
            aside = (
                f" Copies on probation do not count for that, as on {listed(on_probation)}."
                f" {approve_if_known(on_probation)}"
                if on_probation
                else ""
            )
            raise ConflictError(
                f"Node {node} still holds {waiting} copies that wait until others are verified to"
                " be there; try again in a while (see: collective status), or remove it nevertheless"
                f" with --force.{aside}"
            )

    async def _held(self, node: NodeId) -> AsyncIterator[Sequence[_Held]]:
        """Yield the copies there of chunks in use: copies wanted, is it stored, where others are."""
        after = 0

        def work(db: apsw.Connection) -> tuple[int | None, Sequence[_Held]]:
            number = _number(db, node)
            until = rows.fetch(db, _UNTIL, number, after, LOOK_ROWS)[0]
            found: Any = db.execute(_HELD, (number, after, until)).fetchall() if until else []
            return until, [
                (wanted, bool(is_stored), _elsewhere(db, chunk, number))
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


def still_needed(node: NodeId, copies: int, short: int, *, is_all: bool) -> ConflictError:
    """Return why a node is not taken away.

    Args:
        node: it.
        copies: of chunks in use that it has.
        short: those of which fewer than a quorum are elsewhere.
        is_all: False where the counting stopped early.
    """
    some = "" if is_all else "at least "
    dire = (
        f"for {some}{short} of them there is less than a quorum elsewhere"
        if short
        else "a quorum of each is elsewhere"
    )
    return ConflictError(
        f"Node {node} still holds {some}{copies} copies that are in use ({dire}); empty it first"
        f" with: collective node drain {node} (or remove it nevertheless with --force)"
    )


def lift_marks(tx: Transaction) -> None:
    """Forget removals that a process which is gone had begun."""
    tx.run("UPDATE nodes SET removing = 0 WHERE removing = 1")


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


def _number(db: apsw.Connection, node: NodeId) -> int:
    row = rows.fetch(db, "SELECT id FROM nodes WHERE name = ? AND removed = 0", node)
    if row is None:
        raise NotFoundError(f"There is no node {node}; run: collective node list")
    return int(row[0])
