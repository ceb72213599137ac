"""Where a node can be reached: only where the coordinator itself found it, with that node's certificate.

A node says its addresses in every heartbeat, and others dial what the coordinator hands out.  So that
a node cannot make them dial anybody else, an address counts once the coordinator has completed a
handshake there that proves that node; until then those that counted before are handed out.  These
dials are few (a budget a node, a back-off an address) and say nothing but a TLS handshake.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from collective.core.backoff import Backoff, Postponed
from collective.core.clock import Clock
from collective.core.errors import CollectiveError
from collective.core.ids import NodeId, SpiffeId
from collective.core.randomness import Randomness
from collective.core.units import Address, can_be_host
from collective.core.work import BUSY, IDLE, Outcome, Worker, pause
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.wakes import Wakes

ADDRESSES_MAX: Final = 8
"""Of one node; what goes beyond is not looked at."""
DIALS_BURST: Final = 16.0
"""Dials of one node's addresses at once, for as many as it may have and a second try of each."""
DIALS_PER_S: Final = 1 / 60
PARALLEL: Final = 16
IDLE_S: Final = 5.0
RETRIES: Final = Backoff(5.0, 3600.0)
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z")
_NUMBER: Final = re.compile(r"([0-9]+|0[xX][0-9A-Fa-f]*)\Z")
"""A name whose last label is one is taken for an IPv4 address by some resolvers."""

Meet = Callable[[SpiffeId, Address], Awaitable[None]]
"""Finds a node at an address by a handshake; CollectiveError where it is not there, or does not answer."""


def plausible(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Return those of ``addresses`` at which a node can be, each once, at most eight."""
    found = dict.fromkeys(one for one in addresses if _is_plausible(one))
    return tuple(found)[:ADDRESSES_MAX]


def _is_plausible(address: Address) -> bool:
    try:
        ip = ipaddress.ip_address(address.host.partition("%")[0])
    except ValueError:
        last = address.host.rstrip(".").rpartition(".")[2]
        has_form = _HOST.match(address.host) is not None and can_be_host(address.host)
        return has_form and not _NUMBER.match(last)
    return not (ip.is_unspecified or ip.is_multicast or (ip.version == 4 and ip.is_reserved))  # noqa: PLR2004


@dataclass(slots=True)
class _Allowance:
    """How many dials a node's addresses are worth now."""

    dials: float
    at_s: float

    def take(self, now_s: float) -> bool:
        self.dials = min(DIALS_BURST, self.dials + (now_s - self.at_s) * DIALS_PER_S)
        self.at_s = now_s
        if self.dials < 1:
            return False
        self.dials -= 1
        return True


class AddressProver(Worker):
    """Dials the addresses that nodes say and that nobody has proved yet."""

    name = "node addresses"

    def __init__(
        self, table: LiveNodes, meet: Meet, wakes: Wakes, clock: Clock, randomness: Randomness
    ) -> None:
        """Note in ``table`` where ``meet`` finds the nodes."""
        self._table = table
        self._meet = meet
        self._clock = clock
        self._randomness = randomness
        self._postponed: Postponed[tuple[NodeId, Address]] = Postponed(RETRIES)
        self._allowances: dict[NodeId, _Allowance] = {}
        self._wakes = wakes
        self._log = structlog.get_logger("coordinator.addresses")

    def queue(self) -> int:
        """Return how many addresses are not proved."""
        return sum(len(live.unproven) for live in self._table.all())

    async def work(self) -> Outcome:
        """Dial one address of each node that has one due."""
        now_s = self._clock.monotonic_s()
        due = self._due(now_s)
        if not due:
            return IDLE
        async with asyncio.TaskGroup() as group:
            for node, address in due:
                group.create_task(self._dial(node, address))
        return BUSY

    async def wait(self) -> None:
        """Wait for another address, or until one is due again."""
        next_s = self._postponed.next_s(self._clock.monotonic_s())
        await pause(
            self._wakes.addresses, IDLE_S if next_s is None else min(IDLE_S, max(1.0, next_s))
        )

    def _due(self, now_s: float) -> list[tuple[NodeId, Address]]:
        nodes = self._table.all()
        known = {live.record.node for live in nodes}
        for gone in self._allowances.keys() - known:
            del self._allowances[gone]
        self._postponed.keep((live.record.node, one) for live in nodes for one in live.unproven)
        found = []
        for live in nodes:
            node = live.record.node
            waiting = [one for one in live.unproven if self._postponed.is_due((node, one), now_s)]
            if not waiting or live.refused:
                continue
            allowance = self._allowances.setdefault(node, _Allowance(DIALS_BURST, now_s))
            if allowance.take(now_s):
                found.append((node, waiting[0]))
        return found[:PARALLEL]

    async def _dial(self, node: NodeId, address: Address) -> None:
        try:
            await self._meet(self._table.identity(node), address)
        except Exception as error:  # noqa: BLE001 - the edge of a task: the others' dials go on
            if not isinstance(error, CollectiveError):
                self._log.exception("dial_broke", node=node, address=str(address))
            now_s = self._clock.monotonic_s()
            delay_s = self._postponed.failed((node, address), now_s, self._randomness.uniform())
            self._table.disproved(node, address)
            self._log.warning(
                "node_not_found_at_its_address",
                node=node,
                address=str(address),
                why=str(error),
                again_s=round(delay_s),
            )
        else:
            self._table.proved(node, address)
            self._postponed.worked((node, address))
