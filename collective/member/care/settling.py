"""What a change left to be worked off in bounded steps: copies wanted after moves, discarded copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collective.catalog.interface import Catalog
from collective.core.work import Periodic, Worker
from collective.model.nodes import Position

SETTLE_S: Final = 2.0
DISCARD_S: Final = 30.0


class Settling:
    """Works it off."""

    def __init__(self, catalog: Catalog) -> None:
        """Settle in ``catalog``."""
        self._catalog = catalog
        self._settled_at: Position | None = None
        """Where nothing was left to settle."""

    def workers(self) -> Sequence[Worker]:
        """Return the workers, one for each kind."""
        return (
            Periodic("settling", SETTLE_S, self.settle),
            Periodic("discarding", DISCARD_S, self._catalog.quarantine.discard_step),
        )

    async def settle(self) -> bool:
        """Work out how many copies some chunks want after moves and new policies; repair sees to them.

        Returns True when more are left.
        """
        position = await self._catalog.restores.position()
        if position == self._settled_at:
            return False
        if await self._catalog.datastores.settle_copies():
            return True
        self._settled_at = position
        return False
