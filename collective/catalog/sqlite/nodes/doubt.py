"""A node in doubt: its copies count for nothing until the doubt ends."""

from __future__ import annotations

from collective.catalog.decisions.doubt import after_doubt, is_new_doubt
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId
from collective.model.nodes import Standing


def doubt_node(tx: Transaction, node: NodeId, reason: str) -> bool:
    """Put a node in doubt for what no honest node says; return whether that is new.

    Its copies count for nothing from now on, and nothing is placed there.

    Args:
        tx: the transaction that learnt of it.
        node: one that is doubted already keeps its first reason; one that was removed stays so.
        reason: a clause that goes on "Node X is doubted: …".
    """
    standing = tx.value("SELECT standing FROM nodes WHERE name = ? AND removed = 0", node)
    if not is_new_doubt(None if standing is None else Standing(standing)):
        return False
    tx.run(
        "UPDATE nodes SET before_doubt = standing, standing = ?, standing_reason = ?"
        " WHERE name = ?",
        Standing.DOUBTED.value,
        reason,
        node,
    )
    rows.raise_trust_epoch(tx, node)
    tx.deltas.doubts += 1
    tx.audit_of("coordinator", "node-doubt", node, reason)
    return True


def end_doubt(tx: Transaction, node: NodeId) -> bool:
    """Give a doubted node the standing that it had before; return whether it was doubted."""
    row = tx.one("SELECT standing, before_doubt FROM nodes WHERE name = ?", node)
    if row is None or row[0] != Standing.DOUBTED.value:
        return False
    before, reason = after_doubt(Standing(row[1]) if row[1] else None)
    tx.run(
        "UPDATE nodes SET standing = ?, standing_reason = ?, before_doubt = '' WHERE name = ?",
        before.value,
        reason,
        node,
    )
    tx.audit_of("coordinator", "node-clear", node, f"{before.value} again")
    return True
