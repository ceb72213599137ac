"""What the catalogue promises about its own upkeep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from collective.catalog.interface.values import Health


class Upkeep(Protocol):
    """Expiry, snapshots, and whether changes get through."""

    async def expire(self, *, makes_room: bool = False) -> None:
        """End uploads, leases and pins whose time has passed.

        ``makes_room``: uploads that stand still end too.
        """
        ...

    async def snapshot(self) -> str:
        """Write a consistent, checksummed snapshot into the data dir; return its path."""
        ...

    async def prove(self) -> None:
        """Make a change that says nothing durable; raises as any change where that fails."""
        ...

    def health(self) -> Health:
        """Tell whether changes get through; never blocks."""
        ...

    async def notices(self) -> tuple[str, ...]:
        """Return what the operator must know: how it started, and whether its files are still there."""
        ...

    def watch_writer(self, observe: Callable[[str, float], None]) -> None:
        """Tell ``observe`` the ``work`` and the ``flush`` of each batch in seconds, on any thread."""
        ...
