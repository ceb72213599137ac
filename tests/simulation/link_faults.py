"""What goes wrong on the ways between machines, whichever these are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from tests.simulation.network import Link, Network

KINDS: Final = (
    "message lost",
    "connection silent",
    "slow link",
    "reordering",
    "request repeated",
    "one-way partition",
    "two-way partition",
)
THIN: Final = "link of 1 KB/s"
"""A kind of links between houses alone."""
THIN_BYTES_PER_S: Final = 1000.0
BY_MESSAGE: Final = frozenset(("message lost", "connection silent", "request repeated"))
"""Counted by the network, for each message that they befall."""


class Ways(Protocol):
    """The machines between which something goes wrong."""

    def ends(self) -> tuple[str, str]:
        """Return two machines that talk to each other."""
        ...

    def apart(self, first: str) -> list[tuple[str, str]]:
        """Return the ways that are cut where ``first`` is cut off from all others."""
        ...

    def busiest(self) -> list[tuple[str, str]]:
        """Return the ways on which requests arrive twice."""
        ...


class LinkFaults:
    """The faults of some ways of a network, each a coroutine that lasts as long as the fault."""

    def __init__(
        self, network: Network, chance: random.Random, ways: Ways, *, stretch: float = 1.0
    ) -> None:
        """Befall ``ways`` of ``network``, each fault ``stretch`` times longer than in a busy run."""
        self._network = network
        self._chance = chance
        self._ways = ways
        self._stretch = stretch

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return what makes each of ``KINDS``."""
        acts = (
            self._lossy,
            self._silent,
            self._slow,
            self._reordering,
            self._repeating,
            self._one_way,
            self._two_way,
        )
        return dict(zip(KINDS, acts, strict=True))

    def mend(self) -> None:
        """Make every link of the network whole."""
        for (source, target), link in self._network.links.items():
            was_cut, was_thin = link.cut, link.bytes_per_s > 0
            fresh = Link()
            for name in Link.__slots__:
                setattr(link, name, getattr(fresh, name))
            if was_cut:
                self._network.heal(source, target)
            if was_thin:
                self._network.widen(source, target)

    def _duration(self, most_s: float = 40.0) -> float:
        return self._chance.uniform(1.0, most_s) * self._stretch

    async def _with_link(self, kind: str, most_s: float = 40.0, **changes: Any) -> None:
        """Change one link for a while."""
        source, target = self._ways.ends()
        link = self._network.link(source, target)
        before = {name: getattr(link, name) for name in changes}
        for name, value in changes.items():
            setattr(link, name, value)
        if kind not in BY_MESSAGE:
            self._network.fault(kind, source, target, f"{source}>{target} {changes}")
        await asyncio.sleep(self._duration(most_s))
        for name, value in before.items():
            setattr(link, name, value)

    async def _lossy(self) -> None:
        await self._with_link("message lost", loss=self._chance.uniform(0.02, 0.3))

    async def _silent(self) -> None:
        await self._with_link("connection silent", silence=self._chance.uniform(0.02, 0.2))

    async def _slow(self) -> None:
        least_s = self._chance.choice((0.05, 0.5, 2.0))
        await self._with_link("slow link", least_s=least_s, most_s=least_s * 2)

    async def thin(self) -> None:
        """Let what goes one way, or both, wait for what went before."""
        source, target = self._ways.ends()
        ways = [(source, target)]
        if self._chance.random() < 0.6:
            ways.append((target, source))
        self._network.fault(THIN, source, target, str(ways))
        for way in ways:
            self._network.link(*way).bytes_per_s = THIN_BYTES_PER_S
        await asyncio.sleep(self._duration(60.0))
        for way in ways:
            self._network.widen(*way)

    async def _reordering(self) -> None:
        source, target = self._ways.ends()
        link = self._network.link(source, target)
        before_s, link.most_s = link.most_s, self._chance.choice((0.1, 1.0, 4.0))
        self._network.fault("reordering", source, target, f"{source}>{target} {link.most_s} s")
        await asyncio.sleep(self._duration())
        link.most_s = before_s

    async def _repeating(self) -> None:
        repeat = self._chance.uniform(0.1, 0.5)
        links = [self._network.link(*ends) for ends in self._ways.busiest()]
        for link in links:
            link.repeat = repeat
        await asyncio.sleep(self._duration())
        for link in links:
            link.repeat = 0.0

    async def _one_way(self) -> None:
        await self._cut("one-way partition", both=False)

    async def _two_way(self) -> None:
        await self._cut("two-way partition", both=True)

    async def _cut(self, kind: str, *, both: bool) -> None:
        network = self._network
        first, second = self._ways.ends()
        pairs = [(first, second)]
        if self._chance.random() < 0.4:  # one from all others
            pairs = self._ways.apart(first)
        if both:
            pairs += [(target, source) for source, target in pairs]
        network.fault(kind, first, second, str(pairs))
        for source, target in pairs:
            network.link(source, target).cut = True
        await asyncio.sleep(self._duration(60.0))
        for source, target in pairs:
            network.heal(source, target)
