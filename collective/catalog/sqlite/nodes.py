"""Nodes: enrolment, heartbeats, flags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import apsw

from collective.catalog.model import NodeRecord
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import ConflictError, NotFoundError
from collective.core.ids import NodeId, StoreUuid
from collective.placement.evidence import Standing


def record_enrolment(tx: Transaction, node: NodeId, serial: str, expires_ms: int) -> None:
    """Write the record of a node that is given a certificate; one that is there keeps the rest.

    The audit has it as the redemption of a code.
    """
    tx.run(
        "INSERT INTO nodes (name, store_uuid, capacity, used, chunk_count, addresses, last_seen_ms,"
        " draining, removed, serial, expires_ms) VALUES (?,NULL,0,0,0,'[]',0,0,0,?,?)"
        " ON CONFLICT (name) DO UPDATE SET serial = excluded.serial,"
        " expires_ms = excluded.expires_ms",
        node,
        serial,
        expires_ms,
    )


def doubt_node(tx: Transaction, node: NodeId, why: str) -> None:
    """Put a node in doubt for what no honest node says; its copies count for nothing from now on.

    Args:
        tx: the transaction that learnt of it.
        node: an enrolled node; one that is in doubt already keeps its first reason.
        why: goes on "The node is in doubt because …".
    """
    tx.run(
        "UPDATE nodes SET standing = ?, standing_reason = ? WHERE name = ? AND standing <> ?",
        Standing.DOUBTED.value,
        why,
        node,
        Standing.DOUBTED.value,
    )
    if tx.db.changes():
        rows.raise_trust_epoch(tx)
        tx.audit_of(f"node {node}", "doubt", node, why)


class NodesPart(Part):
    """The methods of ``Nodes`` about nodes themselves."""

    async def nodes(self) -> Sequence[NodeRecord]:
        """Return every node ever enrolled, in order of id."""

        def work(db: apsw.Connection) -> Sequence[NodeRecord]:
            found: Any = db.execute(
                "SELECT name, store_uuid, capacity, used, chunk_count, addresses, last_seen_ms,"
                " draining, removed, serial, expires_ms, standing, standing_reason, refused"
                " FROM nodes ORDER BY name"
            ).fetchall()
            return [
                NodeRecord(
                    NodeId(row[0]),
                    None if row[1] is None else StoreUuid(row[1]),
                    row[2],
                    row[3],
                    row[4],
                    tuple(json.loads(row[5])),
                    row[6],
                    bool(row[7]),
                    bool(row[8]),
                    row[9],
                    row[10],
                    Standing(row[11]),
                    row[12],
                    row[13],
                )
                for row in found
            ]

        return await self._engine.read(work)

    async def add_node(self, record: NodeRecord) -> None:
        """Enrol or replace the record of a node (keeps a store uuid that is known already)."""

        def work(tx: Transaction) -> None:
            tx.run(
                "INSERT INTO nodes (name, store_uuid, capacity, used, chunk_count, addresses,"
                " last_seen_ms, draining, removed, serial, expires_ms, standing, standing_reason)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (name) DO UPDATE SET"
                " store_uuid = coalesce(store_uuid, excluded.store_uuid),"
                " capacity = excluded.capacity, used = excluded.used,"
                " chunk_count = excluded.chunk_count, addresses = excluded.addresses,"
                " last_seen_ms = excluded.last_seen_ms, draining = excluded.draining,"
                " removed = excluded.removed, serial = excluded.serial,"
                " expires_ms = excluded.expires_ms, standing = excluded.standing,"
                " standing_reason = excluded.standing_reason",
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
            )
            tx.audit_of(f"node {record.node}", "enrol", record.node, record.certificate_serial)

        await self._engine.change(work)

    async def bind_store(self, node: NodeId, store: StoreUuid) -> None:
        """Fix the store of a node; another store later is ConflictError."""

        def work(tx: Transaction) -> None:
            row = tx.one("SELECT store_uuid FROM nodes WHERE name = ?", node)
            if row is None:
                raise _unknown(node)
            if row[0] is None:
                tx.run("UPDATE nodes SET store_uuid = ? WHERE name = ?", store, node)
            elif row[0] != store:
                raise ConflictError(
                    f"Node {node} came with another store than before; mount its old disk, or"
                    " remove the node and enrol it under a new id."
                )

        await self._engine.change(work)

    async def update_nodes(self, records: Sequence[NodeRecord]) -> None:
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
                if not before:
                    rows.raise_trust_epoch(tx)

        if refused:
            await self._engine.change(work)


def _unknown(node: NodeId) -> NotFoundError:
    return NotFoundError(f"There is no node {node}; run: collective node list")
