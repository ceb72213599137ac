"""Nodes: their records, heartbeats, flags and standing."""

# ruff: noqa: S608 - statements are put together from constants of this file alone

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw

from collective.catalog.decisions.standing import (
    is_first_store,
    stops_counting,
    unknown_node,
)
from collective.catalog.sqlite.nodes.doubt import doubt_node, end_doubt
from collective.catalog.sqlite.nodes.removal import Removal, require_there
from collective.catalog.sqlite.nodes.standing import approve_node
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId, SpiffeId, StoreUuid
from collective.model.calls import Call
from collective.model.nodes import Approval, NodeRecord, Standing

_COLUMNS: Final = (
    "name, store_uuid, capacity, used, chunk_count, addresses, last_seen_ms, draining, removed,"
    " serial, expires_ms, standing, standing_reason, refused, is_new, is_founder"
)


class SqliteNodes:
    """Nodes, from their enrolment until they are taken away."""

    def __init__(self, engine: Engine, removal: Removal) -> None:
        """Use ``engine``; ``removal`` takes nodes away."""
        self._engine = engine
        self._removal = removal

    async def list(self) -> Sequence[NodeRecord]:
        """Return every node ever enrolled, in order of id."""

        def work(db: apsw.Connection) -> Sequence[NodeRecord]:
            found: Any = db.execute(
                f"SELECT {_COLUMNS}, quarantined_bytes + unlisted_bytes FROM nodes ORDER BY name"
            ).fetchall()
            return [_node(row) for row in found]

        return await self._engine.read(work)

    async def next_number(self) -> int:
        """Return a number for ``<member>-node-NN`` that was never given before."""

        def work(tx: Transaction) -> int:
            number: int = tx.value("SELECT next_node FROM state")
            tx.run("UPDATE state SET next_node = next_node + 1")
            return number

        return await self._engine.change(work)

    async def add(self, record: NodeRecord) -> None:
        """Enrol or replace the record of a node (keeps a store uuid that is known already)."""

        def work(tx: Transaction) -> None:
            tx.run(
                f"INSERT INTO nodes ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
                " ON CONFLICT (name) DO UPDATE SET"
                " store_uuid = coalesce(store_uuid, excluded.store_uuid),"
                " capacity = excluded.capacity, used = excluded.used,"
                " chunk_count = excluded.chunk_count, addresses = excluded.addresses,"
                " last_seen_ms = excluded.last_seen_ms, draining = excluded.draining,"
                " removed = excluded.removed, serial = excluded.serial,"
                " expires_ms = excluded.expires_ms, standing = excluded.standing,"
                " standing_reason = excluded.standing_reason, refused = excluded.refused,"
                " is_new = excluded.is_new, is_founder = excluded.is_founder",
                record.node,
                record.store_uuid,
                record.capacity_bytes,
                record.used_bytes,
                record.chunk_count,
                json.dumps(list(record.addresses)),
                record.last_seen_ms,
                int(record.draining),
                int(record.removed),
                record.certificate_serial,
                record.certificate_expires_ms,
                record.standing.value,
                record.standing_reason,
                record.refused,
                int(record.is_new),
                int(record.is_founder),
            )
            tx.audit_of(f"node {record.node}", "enrol", record.node, record.certificate_serial)

        await self._engine.change(work)

    async def bind_store(self, node: NodeId, store: StoreUuid) -> None:
        """Fix the store of a node; another store later is ConflictError."""

        def work(tx: Transaction) -> None:
            row = tx.one("SELECT store_uuid FROM nodes WHERE name = ?", node)
            if row is None:
                raise unknown_node(node)
            if is_first_store(node, None if row[0] is None else StoreUuid(row[0]), store):
                tx.run("UPDATE nodes SET store_uuid = ? WHERE name = ?", store, node)

        await self._engine.change(work)

    async def update(self, records: Sequence[NodeRecord]) -> None:
        """Write what heartbeats said, for many nodes in one transaction; not audited."""

        def work(tx: Transaction) -> None:
            tx.db.executemany(
                "UPDATE nodes SET capacity = ?, used = ?, chunk_count = ?, addresses = ?,"
                " last_seen_ms = ?, serial = ?, expires_ms = ? WHERE name = ?",
                [
                    (
                        record.capacity_bytes,
                        record.used_bytes,
                        record.chunk_count,
                        json.dumps(list(record.addresses)),
                        record.last_seen_ms,
                        record.certificate_serial,
                        record.certificate_expires_ms,
                        record.node,
                    )
                    for record in records
                ],
            )

        if records:
            await self._engine.change(work)

    async def set_refused(self, refused: Mapping[NodeId, str]) -> None:
        """Write why nodes are refused ("": they are not any more); their copies do not count."""

        def work(tx: Transaction) -> None:
            for node, why in refused.items():
                before = tx.value("SELECT refused FROM nodes WHERE name = ?", node)
                if before is None or before == why:
                    continue
                tx.run("UPDATE nodes SET refused = ? WHERE name = ?", why, node)
                if stops_counting(before, why):
                    rows.raise_trust_epoch(tx, node)

        if refused:
            await self._engine.change(work)

    async def approve(
        self, actor: Call, nodes: Sequence[NodeId], *, even_doubted: bool
    ) -> Sequence[Approval]:
        """Approve nodes, doubted ones only if ``even_doubted``, and note that they were seen."""

        def work(tx: Transaction) -> Sequence[Approval]:
            tx.decider(actor).require_admin("approve nodes")
            return [approve_node(tx, actor, node, even_doubted=even_doubted) for node in nodes]

        return await self._engine.write(
            work, caller=actor, action="node-approve", target=" ".join(nodes)
        )

    def doubts(self) -> int:
        """Return how often a node was put in doubt since the start."""
        return self._engine.writer.doubts

    async def doubt(self, node: NodeId, reason: str) -> bool:
        """Let nothing count that a node says or holds; return whether that is new."""
        return await self._engine.change(lambda tx: doubt_node(tx, node, reason))

    async def clear_doubt(self, node: NodeId) -> bool:
        """Give a doubted node the standing that it had before; return whether it was doubted."""
        return await self._engine.change(lambda tx: end_doubt(tx, node))

    async def drain(self, actor: Call, node: NodeId, *, draining: bool) -> None:
        """Begin or end a drain."""

        def work(tx: Transaction) -> None:
            tx.decider(actor).require_admin("drain nodes")
            require_there(tx.db, node)
            tx.run("UPDATE nodes SET draining = ? WHERE name = ?", int(draining), node)
            tx.audit(actor, action, node)

        action = "node-drain" if draining else "node-use"
        await self._engine.write(work, caller=actor, action=action, target=node)

    async def remove(self, actor: Call, node: NodeId, identity: SpiffeId, *, force: bool) -> int:
        """Take a node away for good and revoke its ``identity``; return the revocation epoch."""
        return await self._removal.remove(actor, node, identity, force=force)


def _node(row: Any) -> NodeRecord:
    """Return the node in a row of ``_COLUMNS`` and what it has in quarantine."""
    return NodeRecord(
        node=NodeId(row[0]),
        store_uuid=None if row[1] is None else StoreUuid(row[1]),
        capacity_bytes=row[2],
        used_bytes=row[3],
        chunk_count=row[4],
        addresses=tuple(json.loads(row[5])),
        last_seen_ms=row[6],
        draining=bool(row[7]),
        removed=bool(row[8]),
        certificate_serial=row[9],
        certificate_expires_ms=row[10],
        standing=Standing(row[11]),
        standing_reason=row[12],
        refused=row[13],
        is_new=bool(row[14]),
        is_founder=bool(row[15]),
        quarantined_bytes=row[16],
    )
