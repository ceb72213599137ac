"""What the live table refuses, carried into the catalogue before anything is decided there."""

from __future__ import annotations

from collective.catalog.interface import Nodes
from collective.member.nodes.live_nodes import LiveNodes


async def keep_refusals(catalog: Nodes, table: LiveNodes) -> None:
    """Write which nodes are refused, or not any more, since the last call; mostly nothing."""
    pending = table.refusals()
    if pending:
        await catalog.set_refused(pending)
        table.note_refusals(pending)
