"""Writing down what was proved of copies, and what follows from that at once.

Where a node is in doubt by it, the live table is told; where a copy is bad, repair begins.
"""

from __future__ import annotations

from collections.abc import Mapping

from collective.catalog.interface import Copies
from collective.member.metrics import MemberMetrics
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.wakes import Wakes
from collective.model.copies import ChunkCopies, CopyName, Judged, Verdict


class VerdictBook:
    """Takes the verdicts of challenges."""

    def __init__(
        self, copies: Copies, table: LiveNodes, metrics: MemberMetrics, wakes: Wakes
    ) -> None:
        """Write to ``copies``."""
        self._copies = copies
        self._table = table
        self._metrics = metrics
        self._wakes = wakes

    async def note(self, chunk: ChunkCopies, verdicts: Mapping[CopyName, Verdict]) -> None:
        """Write down ``verdicts`` about copies of ``chunk``; open ones say nothing."""
        liars = await self._copies.note_verdicts(
            [
                Judged(chunk.chunk, node, generation, verdict)
                for (node, generation), verdict in verdicts.items()
                if verdict is not Verdict.OPEN
            ]
        )
        if liars:
            await self._table.reload()
        if any(one.is_bad for one in verdicts.values()):
            self._metrics.bad_copies.labels("verification").inc()
            self._wakes.repair.set()
