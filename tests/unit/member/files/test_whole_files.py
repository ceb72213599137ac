from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from collective.core.errors import NotEnoughCopiesError, NotFoundError, PermissionDeniedError
from collective.core.ids import NodeId
from collective.core.paths import FilePath
from collective.core.world import InlineThreads
from collective.member.files import rights_watch
from collective.member.files.whole_files import READ_CHUNKS, WINDOW_CHUNKS
from collective.model.calls import Call
from collective.model.extents import Extent, Hole
from collective.model.rights import Right
from collective.model.routes import RouteMode
from collective.model.writing import Attributes, Precondition
from tests.contract.catalog.world import data_of
from tests.unit.member.cluster import USER
from tests.unit.member.farm import CARRYING, OPERATOR, Scene, scene

CHUNK = 4 << 20
PATH = FilePath.parse("/d/file")


async def stream(data: bytes, step: int = 700_001) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


async def write(here: Scene, data: bytes) -> None:
    await here.whole.write(OPERATOR, PATH, Attributes(), Precondition(), stream(data))


async def read(here: Scene, offset: int = 0, length: int = 0) -> bytes:
    async with here.whole.read(OPERATOR, PATH, offset=offset, length=length) as (_, pieces):
        return b"".join([piece async for piece in pieces])


async def prepare(here: Scene) -> None:
    await here.catalog.names.make_directory(OPERATOR, PATH.parent, parents=False)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
async def test_what_is_written_is_read_back_in_three_copies(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, data)
        assert await read(here) == data
        assert here.farm.copies() == 3 * -(-size // CHUNK)
        assert here.farm.pool.used_bytes == 0
        assert all(put.closed for put in here.farm.puts)


async def test_a_range_over_a_chunk_boundary(tmp_path: Path) -> None:
    data = random.Random(5).randbytes(2 * CHUNK)
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, data)
        assert await read(here, CHUNK - 1, 2) == data[CHUNK - 1 : CHUNK + 1]
        assert await read(here, 2 * CHUNK - 1, 100) == data[-1:]


async def test_a_node_that_is_down_costs_a_write_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        here.farm.down.add(NodeId("b"))
        await write(here, b"x" * 1000)
        assert await read(here) == b"x" * 1000
        assert here.farm.copies() == 2


async def test_two_nodes_down_fail_the_write_and_show_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        here.farm.down.update({NodeId("a"), NodeId("b")})
        with pytest.raises(NotEnoughCopiesError):
            await write(here, b"x" * 1000)
        with pytest.raises(NotFoundError):
            await here.catalog.names.stat(OPERATOR, PATH)
        assert here.farm.pool.used_bytes == 0


async def test_a_flipped_bit_is_never_returned_and_is_doubted(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, b"x" * 1000)
        for node in (NodeId("a"), NodeId("b")):
            for key, data in here.farm.stored[node].items():
                here.farm.stored[node][key] = data[:-1] + b"y"
        for _ in range(8):
            assert await read(here) == b"x" * 1000
        assert here.complaints.take() is not None


async def test_no_copy_left_is_not_enough_copies(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, b"x" * 1000)
        here.farm.stored.clear()
        with pytest.raises(NotEnoughCopiesError):
            await read(here)


async def test_a_write_that_is_given_up_while_it_waits_gives_its_memory_back(
    tmp_path: Path,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * CHUNK

    async with scene(tmp_path) as here:
        await prepare(here)
        here.farm.stalled = asyncio.Event()
        writing = asyncio.create_task(
            here.whole.write(OPERATOR, PATH, Attributes(), Precondition(), endless())
        )
        while here.farm.pool.outstanding < WINDOW_CHUNKS:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert here.farm.pool.used_bytes == 0


async def test_a_write_that_fails_while_it_waits_gives_its_memory_back(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        here.farm.down.update({NodeId("a"), NodeId("b")})
        with pytest.raises(NotEnoughCopiesError):
            await write(here, random.Random(1).randbytes(9 * CHUNK))
        assert here.farm.pool.used_bytes == 0


async def test_copies_on_nodes_that_are_down_do_not_make_a_quorum(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, b"x" * 1000)
        here.world.clock.advance(11.0)
        here.world.hear("a")
        with pytest.raises(NotEnoughCopiesError):
            await here.whole.write(
                OPERATOR,
                PATH.parent.child("again"),
                Attributes(),
                Precondition(),
                stream(b"x" * 1000),
            )


async def test_a_read_that_runs_ends_when_its_right_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it lies within one batch of the plan, so that no renewal of the lease would ask."""
    monkeypatch.setattr(rights_watch, "CHECK_S", 0.0)
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, random.Random(2).randbytes(3 * CHUNK))
        given = await here.catalog.grants.add(OPERATOR, PATH, Right.READ, USER, None)
        bob = Call(USER, is_operator=False)
        async with here.whole.read(bob, PATH, offset=0, length=0) as (_, pieces):
            await anext(pieces)
            await here.catalog.grants.remove(OPERATOR, given.id)
            with pytest.raises(PermissionDeniedError):
                await anext(pieces)
        assert here.farm.pool.used_bytes == 0


async def test_a_write_that_runs_ends_when_its_right_ends_though_nothing_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights_watch, "CHECK_S", 0.0)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"x" * CHUNK
        await asyncio.Event().wait()

    async with scene(tmp_path) as here:
        await prepare(here)
        given = await here.catalog.grants.add(OPERATOR, PATH, Right.WRITE, USER, None)
        bob = Call(USER, is_operator=False)
        writing = asyncio.create_task(
            here.whole.write(bob, PATH, Attributes(), Precondition(), stuck())
        )
        while here.farm.copies() < 3 or here.farm.pool.used_bytes:  # until the chunk is recorded
            await asyncio.sleep(0)
        assert not writing.done()
        await here.catalog.grants.remove(OPERATOR, given.id)
        with pytest.raises(PermissionDeniedError):
            await writing
        with pytest.raises(NotFoundError):
            await here.catalog.names.stat(OPERATOR, PATH)
        assert here.farm.pool.used_bytes == 0


async def test_holes_stream_as_zeros_in_every_range(tmp_path: Path) -> None:
    data = random.Random(6).randbytes(1000)
    size, at = 3_000_000, 1_500_000
    whole = bytes(at) + data + bytes(size - at - len(data))
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, data)
        view = await here.catalog.reads.open(
            OPERATOR, PATH, offset=0, length=0, if_version=0, batch=1
        )
        (known,) = data_of(view)
        piece = Extent(at, len(data), known.extent.chunk, known.extent.stored_length)
        holes = [Hole(0, at), Hole(at + len(data), size - at - len(data))]
        upload = await here.files.uploads.open_upload(
            OPERATOR, PATH, Attributes(), Precondition(), [piece], holes, mode=RouteMode.DIRECT
        )
        extent = Extent(piece.offset, piece.length, piece.chunk, piece.stored_length)
        await here.files.uploads.commit_upload(OPERATOR, upload.id, [extent], [], size)
        assert await read(here) == whole
        ranges = ((0, 10), (at - 5, 10), (at + 995, 10), (at - 5, 2000), (size - 9, 99))
        for offset, length in ranges:
            assert await read(here, offset, length) == whole[offset : offset + length]
        assert here.farm.pool.used_bytes == 0


async def test_the_next_chunk_is_asked_for_once_the_first_byte_is_here(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, random.Random(4).randbytes(4 * CHUNK))
        async with here.whole.read(OPERATOR, PATH, offset=0, length=0) as (_, pieces):
            await anext(pieces)
            assert here.farm.reads == 1
            while here.farm.reads < 2:
                await asyncio.sleep(0)
            most = 0
            async for _ in pieces:
                await asyncio.sleep(0)
                most = max(most, here.farm.pool.outstanding)
            assert most == READ_CHUNKS


async def test_a_chunk_that_comes_again_is_sent_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, bytes(5 * CHUNK))
        assert len(here.farm.puts) == 1
        assert await read(here) == bytes(5 * CHUNK)


@pytest.mark.virtual_time
async def test_a_node_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    """By a write of many chunks, and by reads of them, each node's turn."""
    data = random.Random(3).randbytes(6 * CHUNK)
    loop = asyncio.get_running_loop()
    async with scene(tmp_path, InlineThreads()) as here:
        await prepare(here)
        for node in ("a", "b", "c"):
            here.farm.hung = {NodeId(node)}
            began_s = loop.time()
            await write(here, data)
            assert await read(here) == data
            assert loop.time() - began_s < 3 * CARRYING.stall_s
            assert here.farm.pool.outstanding == 0


@pytest.mark.virtual_time
async def test_a_read_turns_to_another_copy_while_it_waits_for_a_silent_node(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, InlineThreads()) as here:
        await prepare(here)
        await write(here, b"x" * 1000)
        here.farm.hung = {NodeId("a"), NodeId("b")}
        for _ in range(4):
            assert await read(here) == b"x" * 1000
        assert 0 < asyncio.get_running_loop().time() <= 3 * CARRYING.stall_s


async def test_memory_comes_back_wherever_a_write_is_cancelled(tmp_path: Path) -> None:
    """After each number of the loop's steps, until it is done before it is cancelled."""
    data = random.Random(7).randbytes(CHUNK + 5)
    async with scene(tmp_path) as here:
        await prepare(here)
        for steps in range(100_000):
            writing = asyncio.create_task(write(here, data))
            if await cancelled_after(steps, writing):
                await writing
                break
            assert here.farm.pool.outstanding == 0, f"after {steps} steps"
            here.world.hear("a", "b", "c")  # else what was promised fills the nodes in the end
        assert await read(here) == data


async def test_memory_comes_back_wherever_a_read_is_cancelled(tmp_path: Path) -> None:
    data = random.Random(8).randbytes(2 * CHUNK + 5)
    async with scene(tmp_path) as here:
        await prepare(here)
        await write(here, data)
        for steps in range(100_000):
            reading = asyncio.create_task(read(here))
            if await cancelled_after(steps, reading):
                break
            assert here.farm.pool.outstanding == 0, f"after {steps} steps"
        assert await reading == data


async def cancelled_after(steps: int, task: asyncio.Task[Any]) -> bool:
    """Cancel ``task`` after so many steps of the loop; tell whether it had ended before."""
    for _ in range(steps):
        await asyncio.sleep(0)
        if task.done():
            return True
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
        return True  # it ended in the step of its cancellation
    return False
