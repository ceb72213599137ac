"""What local calls take while peers are in trouble, beside what they take while all is well.

Of one member's peers one hangs (its coordinator is stopped), one is at an address that loses every packet
(where this process may have a network of its own), and one answers at 1 KB/s.  Each round measures without
trouble and with all of it, and both again while another process calls those peers all the time; what it
calls without trouble is a member that nobody knows, which costs the coordinator and the machine as much as a
call that fails because a peer is away.  The trouble begins with the measuring: its detection is a part of it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

import uvloop

from collective.client.collective import Collective
from collective.core.errors import CollectiveError
from tests.bench.federation.far import FAR, FarLink
from tests.bench.federation.files import SETTINGS
from tests.bench.federation.slow_proxy import SlowProxy
from tests.bench.report import Row
from tests.integration.cluster import PATIENCE_S, Cluster
from tests.integration.federation.houses import Houses, Person, login_of, running_houses
from tests.integration.ports import free_port

CALM, TROUBLE = "no trouble", "peers in trouble"
CALM_CALLED, TROUBLE_CALLED = "no trouble, calls that fail", "peers in trouble and called"
PHASES: Final = (CALM, TROUBLE, CALM_CALLED, TROUBLE_CALLED)
COMPARED: Final = ((TROUBLE, CALM), (TROUBLE_CALLED, CALM_CALLED))
KINDS: Final = ("put", "get", "stat", "ls")
SMALL: Final = b"x" * 4096
LISTED: Final = 20
RATIO_MOST: Final = 1.1
MORE_MOST_MS: Final = 1.0
SLOW_BYTES_PER_S: Final = 1000.0
CALLERS: Final = 2
"""That call each of those peers at the same time."""
CALLER_PAUSE_S: Final = 0.25
"""Between the end of a call and the next: a person's program that tries again."""
NOBODY: Final = "/@home.nobody/media/file"
_LOST_HOST: Final = 3


@dataclass(slots=True)
class TroubleFigures:
    """p99 in ms of each kind of call in each phase, one for each round."""

    peers: tuple[str, ...]
    """What trouble there was."""
    p99_ms: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {kind: {phase: [] for phase in PHASES} for kind in KINDS}
    )
    calls_made: int = 0
    """Of the other process, to those peers."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """A member and its peers."""

    houses: Houses
    proxy: SlowProxy
    link: FarLink | None

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(name for name in self.houses.members if name != "alice")

    def begin(self) -> None:
        self.houses["bob"].coordinator.pause()
        self.proxy.limit(SLOW_BYTES_PER_S)
        if self.link is not None:
            self.link.drop(_LOST_HOST)

    def end(self) -> None:
        """End the trouble; return when every peer is there again."""
        self.houses["bob"].coordinator.resume()
        self.proxy.limit(0)
        if self.link is not None:
            self.link.heal()
        for name in self.peers:
            self.houses.wait_peer(
                self.houses["alice"], f"home.{name}", lambda peer: peer["is_healthy"]
            )


def measure_trouble(
    folder: Path, *, rounds: int, calls: int, link: FarLink | None
) -> TroubleFigures:
    """Start the members, and measure ``rounds`` rounds with ``calls`` calls of each kind in a phase."""
    with _scene(folder, link) as scene:
        una = _prepare(scene)
        names = {"bob": "one hangs", "carol": "one's packets are lost", "dave": "one at 1 KB/s"}
        figures = TroubleFigures(tuple(names[name] for name in scene.peers))
        uvloop.run(_rounds(scene, una, figures, rounds, calls))
    return figures


@contextmanager
def _scene(folder: Path, link: FarLink | None) -> Iterator[_Scene]:
    slow_port = free_port()

    def prepare(member: Cluster) -> None:
        settings = member.coordinator.environment
        if member.member == "dave":
            settings["COLLECTIVE_ADVERTISE_ADDRESS"] = f"127.0.0.1:{slow_port}"
        elif member.member == "carol":
            port = member.coordinator_port
            settings["COLLECTIVE_COORDINATOR_ADDRESS"] = f"0.0.0.0:{port}"
            settings["COLLECTIVE_ADVERTISE_ADDRESS"] = f"{FAR}.{_LOST_HOST}:{port}"

    names = ["alice", "bob", "dave"] if link is None else ["alice", "bob", "carol", "dave"]
    with ExitStack() as stack:
        started = running_houses(
            folder, *names, nodes=1, extra={**SETTINGS, "COLLECTIVE_COPIES": "1"}, prepare=prepare
        )
        houses = stack.enter_context(started)
        proxy = stack.enter_context(SlowProxy(slow_port, houses["dave"].coordinator_port))
        for name in names[1:]:
            houses.peer("alice", name)
        yield _Scene(houses, proxy, link)


def _prepare(scene: _Scene) -> Person:
    houses = scene.houses
    houses["alice"].cli("mkdir", "/shared")
    una = houses.person("alice", "una", "/shared:read+write")
    for name in scene.peers:
        houses[name].cli("mkdir", "/media")
        houses[name].write("/media/file", SMALL)
        houses[name].cli("grant", "add", "/media:read", "una@home.alice")
    return una


async def _rounds(
    scene: _Scene, una: Person, figures: TroubleFigures, rounds: int, calls: int
) -> None:
    credentials, addresses = una.login()
    async with Collective.connect(credentials, addresses) as home:
        await home.mkdir("/shared/listed")
        for number in range(LISTED):
            await home.write(f"/shared/listed/{number}", SMALL)
        await _phase(home, figures, "warm", max(20, calls // 4))
        for _ in range(rounds):
            for in_trouble, calm in COMPARED:
                with _calling(una, scene, figures, is_called=calm == CALM_CALLED) as to_peers:
                    await _phase(home, figures, calm, calls)
                    try:
                        scene.begin()
                        to_peers()
                        await _phase(home, figures, in_trouble, calls)
                    finally:
                        await asyncio.to_thread(scene.end)


async def _phase(home: Collective, figures: TroubleFigures, phase: str, calls: int) -> None:
    """Make every kind of call in turn, so that all meet the same moments."""

    async def put(number: int) -> None:
        await home.write(f"/shared/put{number % LISTED}", number.to_bytes(8, "big") + SMALL[8:])

    async def get(number: int) -> None:
        assert await home.read(f"/shared/listed/{number % LISTED}") == SMALL

    async def stat(number: int) -> None:
        await home.stat(f"/shared/listed/{number % LISTED}")

    async def ls(_: int) -> None:
        assert len([one async for one in home.list("/shared/listed")]) == LISTED

    acts: Sequence[Callable[[int], Awaitable[None]]] = (put, get, stat, ls)
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(calls):
        for kind, act in zip(KINDS, acts, strict=True):
            began_s = time.perf_counter()
            await act(number)
            taken[kind].append((time.perf_counter() - began_s) * 1e3)
    if phase in PHASES:
        for kind, times in taken.items():
            figures.p99_ms[kind][phase].append(sorted(times)[int(len(times) * 0.99)])


# --- calls to peers, from another process --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Orders:
    """What the other process is told."""

    began: Event
    to_peers: Event
    """Call the peers, no longer one that nobody knows."""
    stop: Event


@contextmanager
def _calling(
    una: Person, scene: _Scene, figures: TroubleFigures, *, is_called: bool
) -> Iterator[Callable[[], None]]:
    """Have another process call within, if ``is_called``; yield what lets it call the peers."""
    if not is_called:
        yield lambda: None
        return
    context = multiprocessing.get_context("spawn")
    orders = _Orders(context.Event(), context.Event(), context.Event())
    ours, theirs = context.Pipe()
    paths = [f"/@home.{name}/media/file" for name in scene.peers]
    arguments = (una.environment["HOME"], paths, orders, theirs)
    process = context.Process(target=_call_on, args=arguments, daemon=True)
    process.start()
    assert orders.began.wait(PATIENCE_S)
    try:
        yield orders.to_peers.set
    finally:
        orders.stop.set()
        figures.calls_made += ours.recv()
        process.join(PATIENCE_S)


def _call_on(user_home: str, paths: Sequence[str], orders: _Orders, told: Connection) -> None:
    """Call until told to stop; tell how many calls of peers were made."""
    made = 0

    async def call(home: Collective, path: str) -> None:
        nonlocal made
        while True:
            is_peer = orders.to_peers.is_set()
            try:
                await home.stat(path if is_peer else NOBODY)
                await home.read(path if is_peer else NOBODY)
            except CollectiveError:
                pass
            made += is_peer
            await asyncio.sleep(CALLER_PAUSE_S)

    async def run() -> None:
        credentials, addresses = login_of(user_home)
        async with Collective.connect(credentials, addresses) as home:
            callers = [
                asyncio.create_task(call(home, path)) for path in paths for _ in range(CALLERS)
            ]
            await asyncio.sleep(CALLER_PAUSE_S)
            orders.began.set()
            await asyncio.to_thread(orders.stop.wait)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)

    asyncio.run(run())
    told.send(made)


def trouble_rows(figures: TroubleFigures) -> list[Row]:
    """Return the lines of the table."""
    rows = [
        Row("peers in trouble", ", ".join(figures.peers), f"{figures.calls_made} calls", "", None)
    ]
    for kind, found in figures.p99_ms.items():
        for phase, calm in COMPARED:
            pairs = list(zip(found[phase], found[calm], strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            more = statistics.median(one - other for one, other in pairs)
            rows.append(
                Row(
                    f"local {kind}, p99, {phase}",
                    f"{statistics.median(found[phase]):.1f} ms"
                    f" (without {statistics.median(found[calm]):.1f})",
                    f"{ratio:.2f} x, {more:+.1f} ms",
                    f"<= {RATIO_MOST:g} x or +{MORE_MOST_MS:g} ms",
                    ratio <= RATIO_MOST or more <= MORE_MOST_MS,
                )
            )
    return rows
