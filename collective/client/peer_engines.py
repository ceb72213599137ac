"""What moves bytes to and from each peer: each has an engine, which learns the way to that peer alone.

Where none of a peer's nodes could be reached directly, that is noted for ten minutes, so that the next
commands do not try again what costs seconds; a direct way that works clears the note.
"""

from __future__ import annotations

import json
from typing import Final, Protocol

from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import CollectiveError
from collective.core.ids import Domain
from collective.core.small_files import read_small, write_atomically
from collective.model.transfers import RouteMode
from collective.transfer.engine.engine import Engine

NOTED_S: Final = 600.0
"""Not for long: just after a peering its nodes do not know this member yet, and then they do."""
NOTED_MAX: Final = 256


class MakeEngine(Protocol):
    """Makes an engine."""

    def __call__(self, *, is_cut_off: bool) -> Engine:
        """Make one; ``is_cut_off``: for a peer none of whose nodes could be reached the last time."""
        ...


class RouteNotes:
    """Which peers' nodes could not be reached, on disk; only ever a hint."""

    def __init__(self, path: str | None, disk: Disk, clock: Clock) -> None:
        """Keep notes at ``path``; None keeps none."""
        self._path = path
        self._disk = disk
        self._clock = clock

    def read(self) -> dict[str, float]:
        """Return until when (Unix seconds) each peer is noted; nothing where that cannot be read."""
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
            domain: float(until_s)
            for domain, until_s in told.items()
            if isinstance(until_s, int | float) and now_s < until_s <= now_s + NOTED_S
        }

    def write(self, noted: dict[str, float]) -> None:
        """Keep these notes; silent where that cannot be done."""
        if self._path is None:
            return
        text = json.dumps(dict(list(noted.items())[-NOTED_MAX:])).encode()
        try:
            write_atomically(self._path, text, permissions=0o600, disk=self._disk)
        except (CollectiveError, OSError):
            return


class PeerEngines:
    """One engine for each peer that a client meets."""

    def __init__(self, make: MakeEngine, notes: RouteNotes, clock: Clock) -> None:
        """Make engines by ``make``, as ``notes`` say."""
        self._make = make
        self._notes = notes
        self._clock = clock
        self._noted: dict[str, float] | None = None
        self._engines: dict[Domain, Engine] = {}

    def of(self, domain: Domain) -> Engine:
        """Return the engine for a peer."""
        if self._noted is None:
            self._noted = self._notes.read()
        engine = self._engines.get(domain)
        if engine is None:
            engine = self._engines[domain] = self._make(is_cut_off=domain in self._noted)
        return engine

    def remember(self) -> None:
        """Note what was learnt of the ways to peers; blocks for a moment."""
        if self._noted is None:
            return
        noted = dict(self._noted)
        for domain, engine in self._engines.items():
            if engine.choice.mode is RouteMode.DIRECT:
                noted.pop(domain, None)
            elif domain not in noted:
                noted[domain] = self._clock.wall_s() + NOTED_S
        if noted != self._noted:
            self._notes.write(noted)
            self._noted = noted
