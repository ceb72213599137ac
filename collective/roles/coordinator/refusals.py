"""What the live table refuses, carried into the catalogue before anything is decided there."""

from __future__ import annotations

from collective.catalog.interface import Nodes
from collective.roles.coordinator.nodes import NodeTable


async def keep_refusals(catalog: Nodes, table: NodeTable) -> None:
    """Write which nodes are refused, or not any more, since the last call; mostly nothing."""
    pending = table.refusals()
    if pending:
        await catalog.set_refused(pending)
        table.note_refusals(pending)
