"""When a node tells all it holds: with each start of its, and about once a day while it runs on.

What is stored while it does so may be missing in its pages, which were made before; it is noted here, so that
nobody takes it for lost.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from collective.core.errors import BusyError, ConflictError
from collective.core.ids import ChunkId, Generation

INVENTORY_S: Final = 86400.0
"""Seconds between two inventories of a running node, at most; half of them at least."""
TURN_S: Final = 900.0
"""So long a node that was asked has its turn; others are asked when it is done, or after that."""
LATE_S: Final = 10_800.0
"""A node that is asked for so long and tells nothing is told of."""
STORED_MEANWHILE_MAX: Final = 200_000
"""With more, an inventory that is under way is of no use and told anew."""


@dataclass(slots=True)
class InventorySchedule:
    """The inventories of one node."""

    instance_id: str = ""
    """The start of it whose whole inventory was compared last."""
    due_s: float = 0.0
    """When it is to tell another one, by monotonic time."""
    _asked_s: float | None = None
    """Since when it is asked for another one."""
    _lacking_since_s: float | None = None
    """Since when one is asked for that did not come, be it the first of a start or another one."""
    _stored_meanwhile: set[tuple[ChunkId, Generation]] = field(default_factory=set)

    def is_due(self, instance_id: str, now_s: float) -> bool:
        """Return whether this start of the node is to tell what it holds: for the first time, or again."""
        return self.instance_id != instance_id or now_s >= self.due_s

    def ask(self, now_s: float) -> None:
        """Note that it is asked, and has its turn from now on."""
        self._asked_s = now_s

    def has_turn(self, now_s: float) -> bool:
        """Return whether it tells one again now, as far as is known."""
        return self._asked_s is not None and now_s < self._asked_s + TURN_S

    def lacks(self, now_s: float) -> None:
        """Note that one is asked for."""
        if self._lacking_since_s is None:
            self._lacking_since_s = now_s

    def is_late(self, now_s: float) -> bool:
        """Return whether one is asked for in vain for long."""
        return self._lacking_since_s is not None and now_s - self._lacking_since_s > LATE_S

    def was_away(self) -> None:
        """Note that nothing came of the node for a while: it could not tell."""
        self._lacking_since_s = None

    def begin_anew(self) -> None:
        """Forget what was noted: the node has started again, and lists what it holds then."""
        self._stored_meanwhile.clear()
        self._lacking_since_s = None

    def stored(self, instance_id: str, chunk: ChunkId, generation: Generation) -> None:
        """Note a copy that was just stored, where an inventory made before may be compared after."""
        if self._is_awaited(instance_id) and len(self._stored_meanwhile) <= STORED_MEANWHILE_MAX:
            self._stored_meanwhile.add((chunk, generation))

    def take_page(self, instance_id: str) -> AbstractSet[tuple[ChunkId, Generation]]:
        """Return what a page may lack and yet be there; the set grows while receipts come.

        Raises:
            ConflictError: nobody asked for an inventory, so what it may lack was not noted.
            BusyError: too much was stored meanwhile; the next one begins with nothing noted.
        """
        if not self._is_awaited(instance_id):
            raise ConflictError("No inventory of this node is awaited now.")
        if len(self._stored_meanwhile) > STORED_MEANWHILE_MAX:
            self._stored_meanwhile.clear()
            raise BusyError("Too much was stored while the inventory was told; tell it again.")
        return self._stored_meanwhile

    def done(self, instance_id: str, now_s: float, share: float) -> None:
        """Note that all it holds was compared; ``share`` (0 to 1) spreads nodes over the day."""
        self.instance_id = instance_id
        self.due_s = now_s + INVENTORY_S * (1 + share) / 2
        self._asked_s = self._lacking_since_s = None
        self._stored_meanwhile.clear()

    def _is_awaited(self, instance_id: str) -> bool:
        return self._asked_s is not None or self.instance_id != instance_id
