"""What moves bytes to and from each member: each has an engine, which learns the way to that member alone.

Where none of a member's nodes answered directly in time, that is noted for ten minutes for the network that this
machine is in, so that the next commands begin with what works.  The note is a hint: a command that moves much looks
for a direct way again, and one that is found clears the note.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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

    def __call__(self, domain: Domain, *, relay_first: bool) -> Engine:
        """Make one for a member; ``relay_first``: no node of it answered directly the last time."""
        ...


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


class MemberEngines:
    """One engine for each member that a client meets, its own too."""

    def __init__(self, make: MakeEngine, notes: RouteNotes, clock: Clock) -> None:
        """Make engines by ``make``, as ``notes`` say."""
        self._make = make
        self._notes = notes
        self._clock = clock
        self._noted: dict[str, float] | None = None
        self._engines: dict[Domain, Engine] = {}

    def of(self, domain: Domain) -> Engine:
        """Return the engine for a member."""
        if self._noted is None:
            self._noted = self._notes.read()
        engine = self._engines.get(domain)
        if engine is None:
            is_noted = bool(self._noted) and self._notes.name(domain) in self._noted
            engine = self._engines[domain] = self._make(domain, relay_first=is_noted)
        return engine

    async def close(self) -> None:
        """End what the engines have begun beside their transfers."""
        for engine in self._engines.values():
            await engine.trial.close()

    def remember(self) -> None:
        """Note what was learnt of the ways to members; blocks for a moment."""
        known, learnt = self._noted or {}, dict[str, float | None]()
        for domain, engine in self._engines.items():
            is_direct = engine.choice.mode is RouteMode.DIRECT
            if is_direct and not known:
                continue
            name = self._notes.name(domain)
            if is_direct is (name in known):
                learnt[name] = None if is_direct else self._clock.wall_s() + NOTED_S
        if not learnt:
            return
        noted = self._notes.read() | learnt  # others may have noted something meanwhile
        self._noted = {name: until_s for name, until_s in noted.items() if until_s is not None}
        self._notes.write(self._noted)
