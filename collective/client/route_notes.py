"""Which members' nodes could not be reached directly, kept on disk for the next commands.

A note counts for ten minutes, for the network that this machine is in.  It is a hint: a command that moves much looks
for a direct way again, and one that is found clears the note.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import CollectiveError
from collective.core.ids import Domain
from collective.core.small_files import read_small, write_atomically

NOTED_S: Final = 600.0
"""Not for long: just after a peering its nodes do not know this member yet, and then they do."""
NOTED_MAX: Final = 256


class RouteNotes:
    """Which members' nodes did not answer directly, on disk; only ever a hint."""

    def __init__(
        self, path: str | None, disk: Disk, clock: Clock, network: Callable[[], str]
    ) -> None:
        """Keep notes at ``path``; None keeps none.

        ``network`` names the network that this machine is in now.
        """
        self._path = path
        self._network = network
        self._disk = disk
        self._clock = clock

    def read(self) -> dict[str, float]:
        """Return until when (Unix seconds) what is noted; nothing where that cannot be read."""
        if self._path is None or not self._disk.exists(self._path):
            return {}
        now_s = self._clock.wall_s()
        try:
            told = json.loads(read_small(self._path, disk=self._disk))
        except (CollectiveError, ValueError, RecursionError):
            return {}
        if not isinstance(told, dict):
            return {}
        return {
            name: float(until_s)
            for name, until_s in told.items()
            if isinstance(until_s, int | float) and now_s < until_s <= now_s + NOTED_S
        }

    def name(self, domain: Domain) -> str:
        """Return the name under which a member is noted in this network."""
        return f"{domain} from {self._network()}" if self._path is not None else str(domain)

    def write(self, noted: dict[str, float]) -> None:
        """Keep these notes; silent where that cannot be done."""
        if self._path is None:
            return
        text = json.dumps(dict(list(noted.items())[-NOTED_MAX:])).encode()
        try:
            write_atomically(self._path, text, permissions=0o600, disk=self._disk)
        except (CollectiveError, OSError):
            return
