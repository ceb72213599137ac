"""What challenges and reads proved of a copy, written down."""

from __future__ import annotations

from collective.catalog.decisions.copies import change_by
from collective.catalog.decisions.doubt import doubt_by
from collective.catalog.sqlite.collection.dooming import CORRUPT, forget_missing
from collective.catalog.sqlite.copies.copy_rows import set_state, take_out
from collective.catalog.sqlite.nodes.doubt import doubt_node
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import NodeId
from collective.model.copies import Judged, Verdict


def note_verdict(tx: Transaction, one: Judged) -> NodeId | None:
    """Write a verdict down; return the node if it is in doubt by that."""
    number = _number(tx, one.node)
    if one.verdict in {Verdict.MISSING, Verdict.CORRUPT}:
        is_lost = one.verdict is Verdict.MISSING
        take_out(tx, number, one.node, one.chunk, one.generation, is_lost=is_lost)
        if is_lost:
            forget_missing(tx, number, one.chunk, one.generation)
        else:
            tx.run(
                "UPDATE doomed SET guard = ? WHERE node = ? AND hash = ? AND generation = ?"
                " AND guard > 0",
                CORRUPT,
                number,
                one.chunk,
                one.generation,
            )
        return None
    change = change_by(one.verdict)
    row = (
        None
        if change is None
        else tx.one(  # a cross join begins with the chunk: the node may have millions of copies
            "SELECT c.chunk FROM chunks k CROSS JOIN copies c ON c.chunk = k.id"
            " WHERE k.hash = ? AND c.node = ? AND c.generation = ? AND c.state = ?",
            one.chunk,
            number,
            one.generation,
            change.was,
        )
    )
    if change is not None and row is not None:
        set_state(tx, row[0], number, change.becomes)
    why = doubt_by(one.verdict, one.why)
    if why is None:
        return None
    doubt_node(tx, one.node, why)
    return one.node


def _number(tx: Transaction, node: NodeId) -> int:
    return int(tx.value("SELECT id FROM nodes WHERE name = ?", node) or 0)
