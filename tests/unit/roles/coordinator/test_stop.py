"""The end of a coordinator: its catalogue is closed whatever becomes of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from collective.roles.coordinator.app import CoordinatorRole


class Catalog:
    """Notes that it was closed."""

    closed = False

    def interrupt(self) -> None:
        """Begin nothing more."""

    async def close(self) -> None:
        """Release the files."""
        self.closed = True


async def test_the_catalogue_is_closed_though_a_connection_cannot_be() -> None:
    role: Any = object.__new__(CoordinatorRole)
    role._catalog = catalog = Catalog()

    async def fails() -> None:
        raise OSError("the network is gone")

    role._end_service = fails
    with pytest.raises(OSError, match="gone"):
        await role.stop()
    assert catalog.closed
