"""Whether a node may be taken away: pure.

Only when no chunk in use has a copy there.  Copies that count for nothing, on a doubted node or missing
or doubted themselves, do not keep it once each chunk has a quorum elsewhere; until then they may be the
last ones, and nobody empties such a node, so more than that is not asked of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collective.core.errors import ConflictError
from collective.core.ids import NodeId
from collective.model.nodes import Standing
from collective.placement import quorum
from collective.placement.shortage import approve_if_known, listed


@dataclass(frozen=True, slots=True)
class HeldChunk:
    """A chunk in use of which the node has a copy."""

    wanted: int
    """Copies that it shall have."""
    is_stored: bool
    """The node's copy is neither missing nor doubted."""
    elsewhere: Sequence[Standing]
    """Of each other trusted node that has a stored copy."""


@dataclass(slots=True)
class Needed:
    """What keeps a node from being taken away, counted page by page."""

    is_doubted: bool
    """The node is."""
    copies: int = 0
    short: int = 0
    """Those of which fewer than a quorum are elsewhere."""

    def count(self, held: Iterable[HeldChunk]) -> None:
        """Count the chunks of one page."""
        for chunk in held:
            is_short = not quorum.is_quorum(chunk.elsewhere, chunk.wanted)
            self.short += is_short
            self.copies += is_short or (chunk.is_stored and not self.is_doubted)

    def refusal(self, node: NodeId, *, is_all: bool) -> ConflictError:
        """Return why the node is not taken away; ``is_all``: False where the counting stopped early."""
        some = "" if is_all else "at least "
        dire = (
            f"for {some}{self.short} of them there is less than a quorum elsewhere"
            if self.short
            else "a quorum of each is elsewhere"
        )
        return ConflictError(
            f"Node {node} still holds {some}{self.copies} copies that are in use ({dire}); empty it"
            f" first with: collective node drain {node} (or remove it nevertheless with --force)"
        )


def still_guarded(node: NodeId, copies: int, on_probation: Sequence[NodeId]) -> ConflictError:
    """Return why a node is not taken away whose ``copies`` wait until others are verified.

    Args:
        node: it.
        copies: that wait.
        on_probation: nodes that have copies, which do not count for that.
    """
    aside = (
        f" Copies on probation do not count for that, as on {listed(on_probation)}."
        f" {approve_if_known(on_probation)}"
        if on_probation
        else ""
    )
    return ConflictError(
        f"Node {node} still holds {copies} copies that wait until others are verified to be there; try"
        " again in a while (see: collective status), or remove it nevertheless with"
        f" --force.{aside}"
    )
