"""When a node tells all it holds: with each start of its, and once a day while it runs on.

What is stored while it does so may be missing in its pages, which were made before; it is noted here, so that
nobody takes it for lost.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from collective.core.ids import ChunkId, Generation

INVENTORY_S: Final = 86400.0
"""So often a node that runs on tells all it holds again: what came late shows, and what went unseen."""
STORED_MEANWHILE_MAX: Final = 200_000
"""More are not noted: they may be taken for missing until the next inventory finds them."""


@dataclass(slots=True)
class InventorySchedule:
    """The inventories of one node."""

    instance_id: str = ""
    """The start of it whose whole inventory was compared last."""
    told_s: float = 0.0
    """When that was, by monotonic time."""
    _tells_again: bool = False
    """It is asked for another one, or tells it."""
    _stored_meanwhile: set[tuple[ChunkId, Generation]] = field(default_factory=set)

    def asks(self, instance_id: str, now_s: float) -> bool:
        """Return whether this start of the node is to tell what it holds: for the first time, or again."""
        if self.instance_id != instance_id:
            return True
        if now_s < self.told_s + INVENTORY_S:
            return False
        if not self._tells_again or len(self._stored_meanwhile) >= STORED_MEANWHILE_MAX:
            self._tells_again = True
            self._stored_meanwhile.clear()
        return True

    def begin_anew(self) -> None:
        """Forget what was noted: the node has started again, and lists what it holds then."""
        self._stored_meanwhile.clear()

    def stored(self, instance_id: str, chunk: ChunkId, generation: Generation) -> None:
        """Note a copy that was just stored, where an inventory made before may be compared after."""
        is_awaited = self._tells_again or self.instance_id != instance_id
        if is_awaited and len(self._stored_meanwhile) < STORED_MEANWHILE_MAX:
            self._stored_meanwhile.add((chunk, generation))

    @property
    def may_lack(self) -> AbstractSet[tuple[ChunkId, Generation]]:
        """What its pages may lack and yet be there; grows while receipts come."""
        return self._stored_meanwhile

    def done(self, instance_id: str, now_s: float) -> None:
        """Note that all it holds was compared."""
        self.instance_id, self.told_s = instance_id, now_s
        self._tells_again = False
        self._stored_meanwhile.clear()
