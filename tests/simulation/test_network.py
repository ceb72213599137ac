"""The simulated network: a link that carries little has what is sent wait, and lets nothing of it arrive late."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from unittest import mock

import pytest

from collective.core.errors import UnreachableError
from tests.simulation.link_faults import THIN_BYTES_PER_S
from tests.simulation.loop import VirtualLoop
from tests.simulation.member import Surroundings
from tests.simulation.network import (
    _HEAD_BYTES,
    STUCK_S,
    Connection,
    Link,
    Network,
    _Served,
)
from tests.simulation.process import Process
from tests.simulation.scenario import Scenario
from tests.simulation.seeds import run_seed
from tests.simulation.trace import Trace

PIECE = bytes(round(THIN_BYTES_PER_S) - _HEAD_BYTES)
"""What takes a second."""


@pytest.fixture
def network() -> Iterator[Network]:
    loop = VirtualLoop()
    around = Surroundings.made(1, loop, Trace(loop.time))
    yield around.network
    loop.close()
    around.vfs.forget()


def connected(network: Network) -> Connection:
    trace = network.trace
    return Connection(network, Process("one", trace), Process("two", trace), "here", "there")


def arrivals(network: Network, count: int, widened_s: float) -> tuple[list[float], list[str]]:
    """Send pieces that take a second each, have the link whole at ``widened_s``; return when they came, and the end."""
    connection, loop = connected(network), network.loop
    assert isinstance(loop, VirtualLoop)
    came: list[float] = []
    ended: list[str] = []
    connection.on_end[0].append(lambda error: ended.append(error.message))
    network.link("here", "there").bytes_per_s = THIN_BYTES_PER_S
    for _ in range(count):
        connection.send(0, lambda _: came.append(loop.now_s), PIECE, ordered=True)
    loop.call_later(widened_s, network.widen, "here", "there")

    async def wait() -> None:
        await asyncio.sleep(100.0)

    loop.run(wait())
    return came, ended


def test_what_is_sent_over_a_slow_link_waits_for_what_went_before(network: Network) -> None:
    came, ended = arrivals(network, 3, widened_s=2.5)
    assert [round(at_s) for at_s in came] == [1, 2, 3]
    assert not ended


def test_what_would_wait_long_on_a_link_that_is_whole_again_does_not_arrive(
    network: Network,
) -> None:
    came, ended = arrivals(network, 9 + round(STUCK_S), widened_s=1.5)
    assert [round(at_s) for at_s in came] == [1]
    assert ended == ["The connection timed out."]


def test_the_other_direction_does_not_wait(network: Network) -> None:
    network.link("here", "there").bytes_per_s = THIN_BYTES_PER_S
    assert network.link("there", "here").carried_s(5.0, 10_000) == 5.0


@pytest.mark.parametrize(
    "change", [{"cut": True}, {"loss": 0.1}, {"silence": 0.1}, {"bytes_per_s": 1e3}, {"most_s": 2}]
)
def test_a_link_with_anything_amiss_is_not_whole(change: dict[str, float]) -> None:
    assert Link().is_whole
    assert not Link(**change).is_whole  # type: ignore[arg-type]


@pytest.mark.parametrize("is_cut", [False, True])
def test_why_a_connection_ends_is_not_heard_over_a_link_that_is_cut(
    network: Network, is_cut: bool
) -> None:
    connection, loop = connected(network), network.loop
    assert isinstance(loop, VirtualLoop)
    heard: list[tuple[str, bool]] = []
    connection.on_end[0].append(lambda error: heard.append((error.message, loop.now_s < 1.0)))
    network.link("there", "here").cut = is_cut

    async def end() -> None:
        connection.farewell(UnreachableError("You count no more."))
        assert not connection.open
        await asyncio.sleep(100.0)

    loop.run(end())
    assert heard == [
        ("The connection timed out.", False) if is_cut else ("You count no more.", True)
    ]


def test_a_call_that_ended_is_let_go_without_the_garbage_collector() -> None:
    alive: list[int] = []
    dispose = Scenario._dispose

    def count(stage: Scenario) -> None:
        alive.append(sum(isinstance(one, _Served) for one in gc.get_objects()))
        dispose(stage)

    with mock.patch.object(Scenario, "_dispose", count):
        result = run_seed(3, 2.0)
    assert not result.failure
    assert alive[0] < 100, "those that are under way, and those of processes that died"
