"""Nodes that the catalogue does not know, and that come with a certificate of this member's CA.

After a catalogue was lost they are its old nodes; they wait here, shown in ``status``, until an operator
adopts them.  Kept in memory, since they come again every few seconds.  Refuses nothing but a flood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collective.core.clock import Clock
from collective.core.errors import ConflictError
from collective.core.ids import NodeId
from collective.model.nodes import NodeClaim

WAITING_MAX: Final = 1024
REMEMBERED_S: Final = 60.0
"""One that did not come for so long is not waiting any more."""


@dataclass(slots=True)
class _Heard:
    claim: NodeClaim
    at_s: float


class UnknownNodes:
    """Claims of nodes, by node and key."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nobody."""
        self._clock = clock
        self._heard: dict[tuple[NodeId, bytes], _Heard] = {}

    def note(self, claim: NodeClaim) -> bool:
        """Note that a node came; return whether it is newly waiting."""
        self._forget_old()
        key = (claim.node, claim.key_digest)
        is_new = key not in self._heard
        if is_new and len(self._heard) >= WAITING_MAX:
            return False
        self._heard[key] = _Heard(claim, self._clock.monotonic_s())
        return is_new

    def all(self) -> Sequence[NodeClaim]:
        """Return who waits, in order of node."""
        self._forget_old()
        return [self._heard[key].claim for key in sorted(self._heard)]

    def claim_of(self, node: NodeId) -> NodeClaim | None:
        """Return the claim of one node, if it waits.

        Raises:
            ConflictError: two with different keys say that they are this node.
        """
        found = [claim for claim in self.all() if claim.node == node]
        if len(found) > 1:
            raise ConflictError(
                f"{len(found)} processes with different keys say that they are node {node}; stop those"
                " that are not, wait a minute and try again."
            )
        return found[0] if found else None

    def drop(self, node: NodeId) -> None:
        """Forget a node that is enrolled now."""
        for key in [key for key in self._heard if key[0] == node]:
            del self._heard[key]

    def _forget_old(self) -> None:
        now_s = self._clock.monotonic_s()
        for key in [k for k, one in self._heard.items() if now_s - one.at_s > REMEMBERED_S]:
            del self._heard[key]
