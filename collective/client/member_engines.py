"""What moves bytes to and from each member: each has an engine, which learns the way to that member alone.

Where none of a member's nodes answered directly in time, that is noted (:mod:`~.route_notes`), so that the next
commands begin with what works.
"""

from __future__ import annotations

from typing import Protocol

from collective.client.route_notes import NOTED_S, RouteNotes
from collective.core.clock import Clock
from collective.core.ids import Domain
from collective.model.routes import RouteMode
from collective.transfer.engine.engine import Engine


class MakeEngine(Protocol):
    """Makes an engine."""

    def __call__(self, domain: Domain, *, relay_first: bool) -> Engine:
        """Make one for a member; ``relay_first``: no node of it answered directly the last time."""
        ...


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
