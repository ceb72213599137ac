"""Uploads and downloads over a coordinator and nodes in memory, with their faults."""

from __future__ import annotations

import asyncio
import io
import math
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collective.client.disk.holes import DataRuns
from collective.client.options import ClientOptions
from collective.core.errors import (
    ConflictError,
    CorruptionError,
    NotEnoughCopiesError,
    NotFoundError,
    UsageError,
)
from collective.core.ids import SpiffeId
from collective.core.limits import CHUNK_SIZE_BYTES, KIB, MIB
from collective.model.routes import RouteMode
from collective.rpc.gen.collective.v1.reads import CopyProblem
from collective.rpc.gen.collective.v1.uploads import RecordExtentsRequest, RecordExtentsResponse
from collective.transfer.engine import download
from collective.transfer.engine.direct_trial import DELAY_S
from collective.transfer.engine.node_health import NodeHealth
from collective.transfer.engine.window import Window

from .fakes import DIAL_S, FakeNodes, World, node_name

pytestmark = pytest.mark.virtual_time

SIZES = [0, 1, 65536, CHUNK_SIZE_BYTES - 1, CHUNK_SIZE_BYTES, CHUNK_SIZE_BYTES + 1]


def data_of(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
async def make_world() -> AsyncIterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**options: object) -> World:
        worlds.append(World(**options))  # type: ignore[arg-type]
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.mark.parametrize("size", [*SIZES, 9 * CHUNK_SIZE_BYTES + 7])
async def test_what_was_written_is_read_back(make_world: Callable[..., World], size: int) -> None:
    world, data = make_world(), data_of(size)
    entry = await world.collective.write("/s/a", io.BytesIO(data))
    assert entry.size_bytes == size
    assert await world.collective.read("/s/a") == data
    assert all(count == 3 for count in world.copies_of("/s/a"))


async def test_a_small_file_takes_two_calls(make_world: Callable[..., World]) -> None:
    world = make_world()
    await world.collective.write("/s/a", b"hello")
    assert world.coordinator.calls == ["open_upload", "commit_upload"]


async def test_an_iterator_of_odd_blocks_is_a_source(make_world: Callable[..., World]) -> None:
    world, data = make_world(), data_of(CHUNK_SIZE_BYTES + 1000)

    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 333_333):
            yield data[start : start + 333_333]
            yield b""

    await world.collective.write("/s/a", blocks())
    assert await world.collective.read("/s/a") == data


async def test_a_repeated_chunk_is_sent_once(make_world: Callable[..., World]) -> None:
    world = make_world()
    zeros = bytes(6 * CHUNK_SIZE_BYTES)
    await world.collective.write("/s/zeros", zeros)
    assert world.nodes.puts == 1
    assert await world.collective.read("/s/zeros") == zeros


async def test_a_range_touches_only_its_chunks(make_world: Callable[..., World]) -> None:
    world, data = make_world(), data_of(6 * CHUNK_SIZE_BYTES)
    await world.collective.write("/s/a", data)
    middle = 3 * CHUNK_SIZE_BYTES + 17
    assert await world.collective.read("/s/a", offset=middle, length=1) == data[middle : middle + 1]
    assert len(world.nodes.gets) == 1


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 0), (CHUNK_SIZE_BYTES - 1, 2), (10**9, 5), (5, None), (2 * CHUNK_SIZE_BYTES, 10**9)],
)
async def test_ranges_are_those_of_the_bytes(
    make_world: Callable[..., World], offset: int, length: int | None
) -> None:
    world, data = make_world(), data_of(2 * CHUNK_SIZE_BYTES + 9)
    await world.collective.write("/s/a", data)
    expected = data[offset:] if length is None else data[offset : offset + length]
    assert await world.collective.read("/s/a", offset=offset, length=length) == expected


async def test_negative_ranges_are_refused(make_world: Callable[..., World]) -> None:
    with pytest.raises(UsageError):
        async with make_world().collective.open_read("/s/a", offset=-1):
            pass


async def test_a_dead_node_in_the_chain_is_gone_round(make_world: Callable[..., World]) -> None:
    world, data = make_world(nodes=4), data_of(3 * CHUNK_SIZE_BYTES)
    world.nodes.state[node_name(2)] = "down"
    await world.collective.write("/s/a", data)
    assert world.copies_of("/s/a") == [3, 3, 3]
    assert await world.collective.read("/s/a") == data


@pytest.mark.parametrize("down", [1, 2, 3])
async def test_one_of_three_nodes_down_leaves_a_quorum(
    make_world: Callable[..., World], down: int
) -> None:
    world = make_world()
    world.nodes.state[node_name(down)] = "down"
    await world.collective.write("/s/a", data_of(10))
    assert world.copies_of("/s/a") == [2]


@pytest.mark.parametrize("hung", [1, 2, 3])
async def test_a_hung_node_is_paid_for_once(make_world: Callable[..., World], hung: int) -> None:
    world, data = make_world(nodes=4), data_of(12 * CHUNK_SIZE_BYTES)
    world.nodes.state[node_name(hung)] = "hung"
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await world.collective.write("/s/a", data)
    assert loop.time() - began_s < 3 * world.options.stall_s
    assert min(world.copies_of("/s/a")) >= 2
    assert await world.collective.read("/s/a") == data


async def test_two_hung_nodes_of_three_fail_a_write_within_10_s(
    make_world: Callable[..., World],
) -> None:
    """With the options that clients have: they give up in time for whoever waits."""
    usual = ClientOptions()
    world = make_world(stall_s=usual.stall_s, give_up_s=usual.give_up_s, retry_s=usual.retry_s)
    for number in (1, 2):
        world.nodes.state[node_name(number)] = "hung"
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(NotEnoughCopiesError):
        await world.collective.write("/s/a", data_of(1000))
    assert 0 < loop.time() - began_s <= 10


async def test_two_of_three_nodes_down_fail_cleanly(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.nodes.state |= {node_name(2): "down", node_name(3): "down"}
    with pytest.raises(NotEnoughCopiesError):
        await world.collective.write("/s/a", b"x")
    assert "/s/a" not in world.coordinator.files
    assert world.coordinator.calls[-1] == "abort_upload"


async def test_two_of_three_nodes_hung_fail_cleanly(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.nodes.state |= {node_name(1): "hung", node_name(3): "hung"}
    with pytest.raises(NotEnoughCopiesError):
        await world.collective.write("/s/a", b"x")


async def test_a_busy_node_is_asked_again(make_world: Callable[..., World]) -> None:
    world = make_world(give_up_s=3.0)
    world.nodes.state[node_name(1)] = "busy-1"
    await world.collective.write("/s/a", b"x")
    assert world.copies_of("/s/a") == [3]


async def test_tickets_of_a_key_that_was_replaced_meanwhile_are_exchanged_unnoticed(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(give_up_s=3.0)
    blamed: list[SpiffeId] = []
    monkeypatch.setattr(NodeHealth, "avoid", lambda _, node: blamed.append(node))
    world.nodes.state[node_name(1)] = "stale-1"
    await world.collective.write("/s/a", b"x")
    assert world.copies_of("/s/a") == [3]
    assert blamed == []
    world.nodes.state[node_name(1)] = "stale-9"
    await world.collective.write("/s/b", b"y")
    assert SpiffeId.parse(node_name(1)) in blamed, "one that refuses every ticket is avoided"


async def test_relay_is_used_where_nodes_cannot_be_reached(
    make_world: Callable[..., World],
) -> None:
    world = make_world(nodes=6)
    world.nodes.direct_works = False
    await world.collective.write("/s/a", b"x")
    assert await world.collective.read("/s/a") == b"x"


async def test_nodes_that_close_each_connection_are_not_taken_for_reached(
    make_world: Callable[..., World],
) -> None:
    """By TLS 1.3 a certificate is refused just after the connection stands: no direct way is one that works."""
    world = make_world(nodes=3)
    world.nodes.admits = False
    await world.collective.write("/s/a", b"x")
    assert await world.collective.read("/s/a") == b"x"
    assert mode_of(world) is RouteMode.RELAY


async def test_a_hint_costs_a_long_transfer_no_direct_way(
    make_world: Callable[..., World],
) -> None:
    world = make_world(relay_first=True)
    await world.collective.write("/s/a", b"x")
    assert await world.collective.read("/s/a") == b"x"
    assert mode_of(world) is RouteMode.RELAY, "what is short goes by what worked"
    for number in range(4):
        await world.collective.write(f"/s/{number}", b"y")
    assert mode_of(world) is RouteMode.DIRECT
    await world.session.engine.trial.close()


def mode_of(world: World) -> RouteMode:
    return world.session.engine.choice.mode


async def test_a_firewall_that_drops_costs_a_moment(make_world: Callable[..., World]) -> None:
    world = make_world(stall_s=2.0, give_up_s=6.0)
    await world.collective.write("/s/a", b"x")
    world = make_world(stall_s=2.0, give_up_s=6.0)
    world.nodes.direct_after_s = math.inf
    began_s = asyncio.get_running_loop().time()
    await world.collective.write("/s/a", b"x")
    assert await world.collective.read("/s/a") == b"x"
    assert asyncio.get_running_loop().time() - began_s <= DELAY_S + 0.05
    assert mode_of(world) is RouteMode.RELAY
    await asyncio.sleep(DIAL_S)  # the attempts have come to an end
    assert mode_of(world) is RouteMode.DIRECT, "one node that is not reached may be dead"
    await world.collective.write("/s/b", b"y")
    assert mode_of(world) is RouteMode.RELAY, "meanwhile, or for good after the second"
    await world.session.engine.trial.close()


async def test_nodes_far_away_are_reached_directly_once_they_answer(
    make_world: Callable[..., World],
) -> None:
    world = make_world(stall_s=2.0, give_up_s=6.0)
    world.nodes.direct_after_s = 2 * DELAY_S
    await world.collective.write("/s/a", b"x")
    assert mode_of(world) is RouteMode.RELAY
    await asyncio.sleep(2 * DELAY_S)
    assert mode_of(world) is RouteMode.DIRECT
    assert await world.collective.read("/s/a") == b"x"
    assert mode_of(world) is RouteMode.DIRECT


async def test_nodes_that_answer_at_once_are_asked_directly(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    meanwhile: list[SpiffeId] = []
    choice = world.session.engine.choice
    monkeypatch.setattr(type(choice), "overdue", lambda _, node: meanwhile.append(node))
    await world.collective.write("/s/a", b"x")
    assert await world.collective.read("/s/a") == b"x"
    assert not meanwhile
    assert not choice.is_open


def held_back(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], asyncio.Event]:
    """Have the first get of ``world`` wait for an event; count the gets under way at each begin."""
    begun: list[int] = []
    release = asyncio.Event()
    real = type(world.nodes).get

    async def get(nodes: FakeNodes, route: Any, **more: Any) -> Any:
        begun.append(len(begun))
        if len(begun) == 1:
            await release.wait()
        return await real(nodes, route, **more)

    monkeypatch.setattr(type(world.nodes), "get", get)
    return begun, release


async def test_the_first_chunk_has_the_way_for_itself(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, data = make_world(), data_of(3 * CHUNK_SIZE_BYTES)
    await world.collective.write("/s/a", data)
    begun, release = held_back(world, monkeypatch)
    monkeypatch.setattr(download, "HEAD_START_S", 60.0)
    reading = asyncio.create_task(world.collective.read("/s/a"))
    while not begun:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(begun) == 1
    release.set()
    assert await reading == data
    assert len(begun) == 3


async def test_a_first_chunk_that_is_slow_keeps_the_others_waiting_for_a_moment_only(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, data = make_world(), data_of(3 * CHUNK_SIZE_BYTES)
    await world.collective.write("/s/a", data)
    begun, release = held_back(world, monkeypatch)
    reading = asyncio.create_task(world.collective.read("/s/a"))
    while len(begun) < 3:
        await asyncio.sleep(0.01)
    release.set()
    assert await reading == data


@pytest.mark.parametrize(("size", "at_once"), [(64 * KIB, 64), (MIB, 32), (CHUNK_SIZE_BYTES, 8)])
async def test_files_are_read_at_once_by_their_size(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, size: int, at_once: int
) -> None:
    world = make_world()
    data = [data_of(size, seed) for seed in range(at_once + 2)]
    for number, content in enumerate(data):
        await world.collective.write(f"/s/{number}", content)
    begun, release = 0, asyncio.Event()
    real = type(world.nodes).get

    async def get(nodes: FakeNodes, route: Any, **more: Any) -> Any:
        nonlocal begun
        begun += 1
        await release.wait()
        return await real(nodes, route, **more)

    monkeypatch.setattr(type(world.nodes), "get", get)
    reads = [asyncio.create_task(world.collective.read(f"/s/{n}")) for n in range(len(data))]
    for _ in range(1000):
        await asyncio.sleep(0)
    assert begun == at_once
    release.set()
    assert await asyncio.gather(*reads) == data


async def test_a_small_file_on_disk_takes_little_of_the_window(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    asked: list[int] = []
    real = Window.acquire

    async def acquire(window: Window, size_bytes: int) -> int:
        asked.append(size_bytes)
        return await real(window, size_bytes)

    monkeypatch.setattr(Window, "acquire", acquire)
    small = tmp_path / "small"
    small.write_bytes(b"hello")
    with small.open("rb", buffering=0) as file:
        await world.collective.write("/s/a", DataRuns(file.fileno(), small.stat()))
    assert asked == [5]


async def test_a_coordinator_that_restarts_is_waited_for(make_world: Callable[..., World]) -> None:
    world, data = make_world(), data_of(6 * CHUNK_SIZE_BYTES)
    blocks = iter([data[: CHUNK_SIZE_BYTES * 5], data[CHUNK_SIZE_BYTES * 5 :]])

    async def source() -> AsyncIterator[bytes]:
        yield next(blocks)
        while not world.coordinator.calls:
            await asyncio.sleep(0)
        world.coordinator.down_for = 2
        yield next(blocks)

    await world.collective.write("/s/a", source())
    assert await world.collective.read("/s/a") == data


async def test_a_source_that_fails_leaves_nothing_visible(
    make_world: Callable[..., World],
) -> None:
    world = make_world()

    async def source() -> AsyncIterator[bytes]:
        yield bytes(9 * CHUNK_SIZE_BYTES)
        raise ConflictError("The source broke.")

    with pytest.raises(ConflictError):
        await world.collective.write("/s/a", source())
    assert "/s/a" not in world.coordinator.files
    assert not world.coordinator.uploads


async def test_a_cancelled_write_leaves_nothing_behind(make_world: Callable[..., World]) -> None:
    world = make_world(stall_s=60.0)
    for number in (1, 2, 3):
        world.nodes.state[node_name(number)] = "hung"
    writing = asyncio.create_task(world.collective.write("/s/a", data_of(4 * CHUNK_SIZE_BYTES)))
    while not world.nodes.puts:
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert not world.coordinator.uploads


async def test_reading_survives_a_node_that_dies_in_the_middle(
    make_world: Callable[..., World],
) -> None:
    world, data = make_world(window_chunks=2), data_of(8 * CHUNK_SIZE_BYTES)
    await world.collective.write("/s/a", data)
    found = bytearray()
    async with world.collective.open_read("/s/a") as reader:
        async for block in reader:
            found += block
            world.nodes.state[node_name(1)] = "down"
    assert found == data


async def test_reading_goes_round_a_node_that_hangs(make_world: Callable[..., World]) -> None:
    world, data = make_world(), data_of(8 * CHUNK_SIZE_BYTES)
    await world.collective.write("/s/a", data)
    world.nodes.state[node_name(1)] = "hung"
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert await world.collective.read("/s/a") == data
    assert 0 < loop.time() - began_s < 3 * world.options.stall_s


def _flip(world: World, number: int) -> Iterator[bytes]:
    chunks = world.nodes.chunks[node_name(number)]
    for chunk, stored in list(chunks.items()):
        chunks[chunk] = stored[:-1] + bytes([stored[-1] ^ 1])
        yield chunk


async def test_a_damaged_copy_is_gone_round_and_reported(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    await world.collective.write("/s/a", b"precious")
    flipped = list(_flip(world, 1))
    assert await world.collective.read("/s/a") == b"precious"
    (report,) = world.coordinator.reports
    assert (report.node, report.problem) == (node_name(1), CopyProblem.CORRUPT)
    assert report.chunk_id in flipped


async def test_bytes_are_never_returned_when_every_copy_is_damaged(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    await world.collective.write("/s/a", b"precious")
    for number in (1, 2, 3):
        list(_flip(world, number))
    with pytest.raises(CorruptionError):
        await world.collective.read("/s/a")


async def test_no_node_at_all_is_not_enough_copies(make_world: Callable[..., World]) -> None:
    world = make_world()
    await world.collective.write("/s/a", b"x")
    for number in (1, 2, 3):
        world.nodes.state[node_name(number)] = "down"
    with pytest.raises(NotEnoughCopiesError):
        await world.collective.read("/s/a")


async def test_what_is_absent_is_not_found(make_world: Callable[..., World]) -> None:
    with pytest.raises(NotFoundError):
        await make_world().collective.read("/s/none")


async def test_a_reader_that_is_left_early_frees_everything(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    await world.collective.write("/s/a", data_of(9 * CHUNK_SIZE_BYTES))
    async with world.collective.open_read("/s/a") as reader:
        async for _ in reader:
            break
    await world.leases.close()
    assert world.coordinator.calls[-1] == "close_read"


async def test_memory_is_bounded_by_the_window(make_world: Callable[..., World]) -> None:
    world = make_world(window_chunks=3)
    await world.collective.write("/s/a", data_of(12 * CHUNK_SIZE_BYTES))
    async with world.collective.open_read("/s/a") as reader:
        async for _ in reader:
            await asyncio.sleep(0)
    assert world.nodes.most_in_flight <= 3


async def test_a_file_of_one_chunk_over_and_over_waits_for_what_is_recorded(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, block = make_world(window_chunks=4), bytes(CHUNK_SIZE_BYTES)
    record, may_record, waits = world.coordinator.record_extents, asyncio.Event(), asyncio.Event()
    taken = 0

    async def recorded(message: RecordExtentsRequest, **_: object) -> RecordExtentsResponse:
        waits.set()
        await may_record.wait()
        return await record(message)

    async def zeros() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield block

    monkeypatch.setattr(world.coordinator, "record_extents", recorded)
    writing = asyncio.create_task(world.collective.write("/s/zeros", zeros()))
    await waits.wait()
    before = -1
    while taken > before:
        before = taken
        for _ in range(100):
            await asyncio.sleep(0.001)
    assert taken < 30
    may_record.set()
    assert (await writing).size_bytes == 100 * CHUNK_SIZE_BYTES


async def test_a_read_given_up_while_it_reports_a_bad_copy_leaves_no_buffer(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, reports = make_world(), asyncio.Event()
    await world.collective.write("/s/a", data_of(1000))

    async def report_copy(_message: object, **_: object) -> None:
        reports.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(world.coordinator, "report_copy", report_copy)
    for number in (1, 2):
        list(_flip(world, number))
    reading = asyncio.create_task(world.collective.read("/s/a"))
    await reports.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
