"""What nodes have seen of this catalogue, and adoption: nodes obey one that is not the one that they obeyed.

Two cases.  A catalogue that was restored from a backup has nodes that saw a future which it lost, as its
numbers or its lives show; it deletes nothing until it is adopted.  A catalogue that was made anew is
another one; its nodes delete nothing for it until it is adopted, and those that it does not know are let in by it, by the certificate that they
have, and approved if the operator names them.  Adopting deletes nothing: see ``quarantine``.  A node that holds
a higher position of this catalogue which nothing proves is brought back by it: see ``decisions/adoption.py``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from collective.catalog.decisions.adoption import (
    confirms,
    enrolled_meanwhile,
    require_guarded,
    require_some,
    standing_of,
    to_bring_back,
    to_replace,
)
from collective.catalog.decisions.catalog_lives import (
    Past,
    has_been_at,
    is_told_by_numbers,
    learned,
)
from collective.catalog.decisions.generations import leap
from collective.catalog.sqlite.collection.dooming import FIRST, GUARDED_AT_ONCE, Place, guard_again
from collective.catalog.sqlite.copies.quarantine import skip_generations
from collective.catalog.sqlite.people.keys import store_issued
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.catalog_life_rows import (
    note_lost,
    past_of,
    was_restored_since_start,
)
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId
from collective.model.calls import Call
from collective.model.nodes import Adoption, NodeClaim, Position

_IS_BROUGHT_BACK: Final = "SELECT EXISTS (SELECT 1 FROM brought_back WHERE node = ? AND held = ?)"


class SqliteRestores:
    """Where this catalogue stands in its own past, and beside what nodes have seen."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def position(self) -> Position:
        """Return where the catalogue is, by the last durable commit."""
        return self._engine.position()

    async def has_been_at(self, seen: Position) -> bool:
        """Tell whether what a node has seen is in this catalogue's own past, or known as lost."""
        engine = self._engine
        if seen.catalog_id != engine.catalog_id:
            return False
        present = engine.custody.stamp
        if is_told_by_numbers(seen.life, present):
            past = Past(present, engine.epoch, engine.writer.sequence, None, 0, is_lost=False)
        else:
            past = await engine.read(lambda db: past_of(db, seen.life))
        return has_been_at(past, seen)

    async def observe(self, seen: Position) -> bool:
        """Learn what a node has seen; True if this catalogue lost a future and is now *restored*."""
        engine = self._engine
        if seen.catalog_id != engine.catalog_id:
            await self._observe_stranger(seen)
            return False
        if await self.has_been_at(seen):
            return False

        def work(tx: Transaction) -> bool:
            past = past_of(tx.db, seen.life)
            is_newly_lost, new_epoch = learned(past, seen, lambda: was_restored_since_start(tx.db))
            if is_newly_lost:
                note_lost(tx.db, seen.life)
            if new_epoch is None:
                return False
            tx.run("UPDATE state SET epoch = ?, restored = 1", new_epoch)
            tx.run("UPDATE codes SET revoked = 1 WHERE uses_left > 0")  # may be used up since
            self._leave_out(tx)
            detail = f"a node has seen epoch {seen.epoch} sequence {seen.sequence}"
            detail += f" of life {seen.life or 'unknown'}"
            tx.audit_of("coordinator", "restored", seen.catalog_id, detail)
            tx.at_end(lambda durable: self._follow(new_epoch, restored=True, durable=durable))
            return True

        is_restored = await engine.change(work)
        if is_restored:
            await self._guard_again()
        return is_restored

    async def is_restored(self) -> bool:
        """Tell whether collection waits for the operator."""
        return self._engine.restored

    async def is_replaced(self, node: NodeId, seen: Position) -> bool:
        """Tell whether this catalogue was adopted in the place of what ``node`` obeys."""
        if seen.catalog_id != self._engine.catalog_id:
            sql, asked = "SELECT adopted FROM strangers WHERE catalog_id = ?", [seen.catalog_id]
        else:
            sql, asked = _IS_BROUGHT_BACK, [node, _noted(seen)]
        row = await self._engine.read(lambda db: rows.fetch(db, sql, *asked))
        return row is not None and bool(row[0])

    async def showed(self, node: NodeId, seen: Position) -> None:
        """See :meth:`Restores.showed`; a node that was not brought back costs one read."""
        held = "SELECT held FROM brought_back WHERE node = ?"
        row = await self._engine.read(lambda db: rows.fetch(db, held, node))
        if row is None or row[0] == _noted(seen):
            return

        def work(tx: Transaction) -> None:
            tx.run("DELETE FROM brought_back WHERE node = ? AND held = ?", node, row[0])

        await self._engine.change(work)

    async def adopt(
        self,
        actor: Call,
        nodes: AbstractSet[NodeId] | None,
        *,
        obeyed: Mapping[NodeId, Position],
        claims: Sequence[NodeClaim],
    ) -> Adoption:
        """Have nodes obey this catalogue in the place of what they obeyed.

        Args:
            actor: an admin.
            nodes: those named; None: all, and a restored catalogue is confirmed by it.  Being named
                is what approves a node; what comes with all is on probation.
            obeyed: the highest position that each of these nodes was told, as it says.
            claims: those of them that this catalogue does not know; they are enrolled.

        Raises:
            ConflictError: there is nothing to adopt, or a node that was claimed is known by now.
        """

        def work(tx: Transaction) -> Adoption:
            tx.decider(actor).require_admin("adopt nodes")
            epoch, restored = tx.one("SELECT epoch, restored FROM state")
            confirmed = confirms(nodes, is_restored=bool(restored))
            if confirmed:
                require_guarded(epoch, guarded)
            known = _not_adopted(tx) if nodes is None else ()
            others = to_replace(engine.catalog_id, obeyed, known)
            replaced = [one for one in others if _replace(tx, actor, one)]
            brought_back = [
                node
                for node, held in to_bring_back(engine.position(), obeyed).items()
                if _bring_back(tx, actor, node, held)
            ]
            is_any = bool(confirmed or replaced or claims or brought_back)
            require_some(is_any=is_any, is_restored=bool(restored))
            if brought_back and not was_restored_since_start(tx.db):
                self._leave_out(tx)
            for claim in claims:
                _enrol(tx, actor, claim, is_named=nodes is not None)
            named = None if nodes is None else json.dumps(sorted(nodes))
            tx.run(
                "UPDATE nodes SET adopted_ms = ?1 WHERE removed = 0"
                " AND (?2 IS NULL OR name IN (SELECT value FROM json_each(?2)))",
                tx.now_ms,
                named,
            )
            if confirmed:
                tx.run("UPDATE state SET restored = 0")
                tx.audit(actor, "adopt", "catalogue", f"restored from a backup, epoch {epoch}")
                tx.at_end(lambda durable: self._follow(epoch, restored=False, durable=durable))
            return Adoption(
                tuple(claim.node for claim in claims),
                len(replaced),
                confirmed,
                int(epoch),
                tuple(brought_back),
            )

        engine = self._engine
        guarded: int | None = None
        """The epoch whose deletes are under guard."""
        if (nodes is None and engine.restored) or to_bring_back(engine.position(), obeyed):
            guarded = engine.epoch
            await self._guard_again()  # what was to do it may have been killed
        target = "all" if nodes is None else " ".join(sorted(nodes))
        return await self._engine.write(work, caller=actor, action="adopt", target=target)

    async def _guard_again(self) -> None:
        """Guard what the restored catalogue would have deleted, in steps."""
        after: Place | None = FIRST

        def step(tx: Transaction, begin: Place) -> Place | None:
            return guard_again(tx.db, begin, GUARDED_AT_ONCE)

        while after is not None:
            after = await self._engine.change(functools.partial(step, begin=after))

    async def _observe_stranger(self, seen: Position) -> None:
        """Note another catalogue that a node obeyed, once; this one may be an old backup beside it."""

        def work(tx: Transaction) -> None:
            tx.run("INSERT OR IGNORE INTO strangers (catalog_id) VALUES (?)", seen.catalog_id)
            if tx.db.changes():
                skip_generations(tx, leap(self._engine.randomness.token(8)).generations)
                detail = "a node has obeyed this one"
                tx.audit_of("coordinator", "other-catalogue", seen.catalog_id, detail)

        sql = "SELECT 1 FROM strangers WHERE catalog_id = ?"
        if await self._engine.read(lambda db: rows.fetch(db, sql, seen.catalog_id)) is None:
            await self._engine.change(work)

    def _leave_out(self, tx: Transaction) -> None:
        """Leave out the numbers that a lost future of this catalogue may have used."""
        left_out = leap(self._engine.randomness.token(8))
        skip_generations(tx, left_out.generations)
        tx.skip_numbers(0, left_out.versions)

    def _follow(self, epoch: int, *, restored: bool, durable: bool) -> None:
        if durable:
            self._engine.epoch = epoch
            self._engine.restored = restored


def _not_adopted(tx: Transaction) -> Sequence[str]:
    """Return the other catalogues of which nodes were seen, and whose place was not taken."""
    return [one for (one,) in tx.all("SELECT catalog_id FROM strangers WHERE adopted = 0")]


def _replace(tx: Transaction, actor: Call, catalog_id: str) -> bool:
    """Take the place of another catalogue; False where that was done before."""
    tx.run(
        "INSERT INTO strangers (catalog_id, adopted) VALUES (?, 1)"
        " ON CONFLICT (catalog_id) DO UPDATE SET adopted = 1 WHERE adopted = 0",
        catalog_id,
    )
    if not tx.db.changes():
        return False
    tx.audit(actor, "adopt", catalog_id, "this catalogue takes its place")
    return True


def _bring_back(tx: Transaction, actor: Call, node: NodeId, held: Position) -> bool:
    """Have a node give up exactly ``held``; False where that was ordered before."""
    if tx.one(_IS_BROUGHT_BACK, node, _noted(held)) == (1,):
        return False
    tx.run("INSERT OR REPLACE INTO brought_back (node, held) VALUES (?, ?)", node, _noted(held))
    detail = (
        f"it gives up epoch {held.epoch} sequence {held.sequence} of life {held.life or 'unknown'}"
    )
    tx.audit(actor, "node-adopt", node, f"{detail}, which nothing proves")
    return True


def _noted(position: Position) -> str:
    """Return a position of this catalogue as its row has it; a node may say any number."""
    return f"{position.epoch} {position.sequence} {position.life}"


def _enrol(tx: Transaction, actor: Call, claim: NodeClaim, *, is_named: bool) -> None:
    standing, reason = standing_of(is_named=is_named)
    tx.run(
        "INSERT OR IGNORE INTO nodes (name, store_uuid, capacity, used, chunk_count, addresses,"
        " last_seen_ms, draining, removed, serial, expires_ms, standing, standing_reason)"
        " VALUES (?,?,?,?,?,?,?,0,0,?,?,?,?)",
        claim.node,
        claim.store_uuid,
        claim.capacity_bytes,
        claim.used_bytes,
        claim.chunk_count,
        json.dumps(list(claim.addresses)),
        tx.now_ms,
        claim.serial,
        claim.expires_ms,
        standing.value,
        reason,
    )
    if not tx.db.changes():
        raise enrolled_meanwhile(claim.node)
    store_issued(tx, claim.identity, claim.serial, claim.expires_ms, claim.key_digest)
    tx.audit(
        actor,
        "node-adopt",
        claim.node,
        f"{standing.value}, key {claim.key_digest.hex()}, store {claim.store_uuid},"
        f" serial {claim.serial}",
    )
