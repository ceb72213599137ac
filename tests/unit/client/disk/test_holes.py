"""Holes of local files: found, told, stored nowhere, read as zeros, and holes again."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collective.client.disk import holes
from collective.client.disk.holes import DataRuns, run_from, zeros_from
from collective.core.errors import NotEnoughCopiesError
from collective.core.limits import BATCH_MAX_CHUNKS, CHUNK_SIZE_BYTES, HOLE_LEAST_BYTES
from collective.rpc.gen.collective.v1.transfer import Hole
from tests.unit.client.fakes import World, node_name, part_path

pytestmark = pytest.mark.virtual_time

GIB = 1 << 30
LEAST = HOLE_LEAST_BYTES


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(state_dir=str(tmp_path / "state"))
    yield made
    made.close()


def sparse(path: Path, size: int, *pieces: tuple[int, bytes]) -> None:
    with path.open("wb") as file:
        for offset, data in pieces:
            os.pwrite(file.fileno(), data, offset)
        file.truncate(size)


def shape(world: World, path: str) -> list[tuple[str, int, int]]:
    return [
        ("hole" if isinstance(piece, Hole) else "data", piece.offset, piece.length)
        for piece in world.coordinator.files[path][1]
    ]


async def test_two_gib_with_8_kib_in_it_are_8_kib_there_and_here(
    world: World, tmp_path: Path
) -> None:
    first, last = random.Random(1).randbytes(4096), random.Random(2).randbytes(4096)
    sparse(tmp_path / "a", 2 * GIB, (0, first), (GIB, last))
    progress: list[int] = []
    entry = await world.collective.put(str(tmp_path / "a"), "/s/a", progress=progress.append)
    assert (entry.size_bytes, sum(progress)) == (2 * GIB, 2 * GIB)
    assert shape(world, "/s/a") == [
        ("data", 0, 4096),
        ("hole", 4096, GIB - 4096),
        ("data", GIB, 4096),
        ("hole", GIB + 4096, GIB - 4096),
    ]
    assert world.nodes.puts == 2
    got: list[int] = []
    await world.collective.get("/s/a", str(tmp_path / "b"), progress=got.append)
    status = (tmp_path / "b").stat()
    assert (status.st_size, sum(got)) == (2 * GIB, 2 * GIB)
    assert status.st_blocks * 512 <= 64 * 1024
    with (tmp_path / "b").open("rb") as file:
        assert file.read(8192) == first + bytes(4096)
        file.seek(GIB - 1)
        assert file.read(4098) == bytes(1) + last + bytes(1)


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 10), (4090, 12), (4096, LEAST), (5000, 7), (4096 + LEAST, 300_000), (0, None), (9, 0)],
)
async def test_a_hole_reads_as_zeros_in_every_range(
    world: World, tmp_path: Path, offset: int, length: int | None
) -> None:
    size = 4096 + 5 * LEAST
    sparse(tmp_path / "a", size, (0, b"x" * 4096), (4096 + 3 * LEAST, b"y" * LEAST))
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    assert len(shape(world, "/s/a")) == 4
    content = (tmp_path / "a").read_bytes()
    end = size if length is None else offset + length
    assert await world.collective.read("/s/a", offset=offset, length=length) == content[offset:end]


async def test_more_holes_than_one_call_tells_of(world: World, tmp_path: Path) -> None:
    count = 2 * BATCH_MAX_CHUNKS + 3
    pieces = [(number * 2 * LEAST, b"same" * 1024) for number in range(count)]
    sparse(tmp_path / "a", count * 2 * LEAST, *pieces)
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    assert sum(kind == "hole" for kind, _, _ in shape(world, "/s/a")) == count
    await world.collective.get("/s/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("size", [LEAST, CHUNK_SIZE_BYTES, 3 * GIB])
async def test_a_file_of_nothing_but_a_hole(world: World, tmp_path: Path, size: int) -> None:
    sparse(tmp_path / "a", size)
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    assert shape(world, "/s/a") == [("hole", 0, size)]
    await world.collective.get("/s/a", str(tmp_path / "b"))
    status = (tmp_path / "b").stat()
    assert (status.st_size, status.st_blocks) == (size, 0)


async def test_chunks_behind_a_hole_end_where_they_would_without_it(
    world: World, tmp_path: Path
) -> None:
    data = random.Random(3).randbytes(2 * CHUNK_SIZE_BYTES)
    sparse(tmp_path / "a", 3 * CHUNK_SIZE_BYTES, (LEAST * 3, data))
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    first = 3 * LEAST
    assert [piece for piece in shape(world, "/s/a") if piece[0] == "data"] == [
        ("data", first, CHUNK_SIZE_BYTES - first),
        ("data", CHUNK_SIZE_BYTES, CHUNK_SIZE_BYTES),
        ("data", 2 * CHUNK_SIZE_BYTES, first),
    ]


async def test_a_run_that_is_found_in_parts_is_cut_where_it_always_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holes, "LOOK_BYTES", 3 * LEAST)
    data = random.Random(4).randbytes(CHUNK_SIZE_BYTES + 7 * LEAST)
    sparse(tmp_path / "a", CHUNK_SIZE_BYTES + 10 * LEAST, (LEAST, data))
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    assert shape(world, "/s/a") == [
        ("hole", 0, LEAST),
        ("data", LEAST, CHUNK_SIZE_BYTES - LEAST),
        ("data", CHUNK_SIZE_BYTES, 8 * LEAST),
        ("hole", CHUNK_SIZE_BYTES + 8 * LEAST, 2 * LEAST),
    ]
    await world.collective.get("/s/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    with open(tmp_path / "b", "rb") as same:
        entry = await world.collective.stat("/s/a")
        assert await world.collective.transfers.local.holds(same.fileno(), entry, is_stored=True)


async def test_a_put_and_a_get_of_a_file_with_holes_go_on_where_they_stopped(
    world: World, tmp_path: Path
) -> None:
    chunks = [random.Random(number).randbytes(CHUNK_SIZE_BYTES) for number in range(24)]
    pieces = [(2 * number * CHUNK_SIZE_BYTES, chunk) for number, chunk in enumerate(chunks)]
    sparse(tmp_path / "a", 50 * CHUNK_SIZE_BYTES, *pieces)
    seen = 0

    def fail_late(count: int) -> None:
        nonlocal seen
        seen += count
        if seen > 36 * CHUNK_SIZE_BYTES:
            for number in (1, 2, 3):
                world.nodes.state[node_name(number)] = "down"

    with pytest.raises(NotEnoughCopiesError):
        await world.collective.put(str(tmp_path / "a"), "/s/a", progress=fail_late)
    world.nodes.state.clear()
    before = world.nodes.puts
    entry = await world.collective.put(str(tmp_path / "a"), "/s/a")
    assert world.nodes.puts - before < 17
    assert len(shape(world, "/s/a")) == 48

    part = Path(part_path(str(tmp_path / "b"), "home.alice", entry))
    sparse(part, 5 * CHUNK_SIZE_BYTES, *pieces[:3])
    with part.open("r+b") as file:
        file.truncate(5 * CHUNK_SIZE_BYTES + 1000)  # up to the middle of a hole
    await world.collective.get("/s/a", str(tmp_path / "b"))
    assert len(world.nodes.gets) == 21
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    more = (tmp_path / "b").stat().st_blocks - (tmp_path / "a").stat().st_blocks
    assert abs(more) < 100  # of the file system's own


async def test_a_part_whose_hole_is_not_zero_is_not_believed(world: World, tmp_path: Path) -> None:
    sparse(tmp_path / "a", 4 * LEAST, (0, b"x" * LEAST), (3 * LEAST, b"y" * LEAST))
    entry = await world.collective.put(str(tmp_path / "a"), "/s/a")
    part = Path(part_path(str(tmp_path / "b"), "home.alice", entry))
    part.write_bytes(b"x" * LEAST + bytes(LEAST) + b"EVIL" + bytes(LEAST))
    await world.collective.get("/s/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


# --- where holes are --------------------------------------------------------------------------------


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.tuples(st.booleans(), st.integers(1, 40).map(lambda blocks: 4096 * blocks)), max_size=8
    ),
    rest=st.integers(0, 4095),
)
def test_runs_and_holes_cover_a_file_and_no_data_lies_in_a_hole(
    tmp_path: Path, pieces: list[tuple[bool, int]], rest: int
) -> None:
    path, position = tmp_path / "x", 0
    with path.open("wb") as file:
        for is_data, length in pieces:
            if is_data:
                os.pwrite(file.fileno(), b"d" * length, position)
            position += length
        file.truncate(position + rest)
    content, size = path.read_bytes(), position + rest
    found, copied, at = [], bytearray(size), 0
    fd = os.open(path, os.O_RDONLY)
    try:
        while at < size:
            begin, end = run_from(fd, at, size)
            assert begin == at or begin - at >= LEAST
            assert not content[at:begin].strip(b"\0")
            if begin > at:
                assert zeros_from(fd, at, begin, reads_data=False) == begin
            assert end > at
            found.append((begin, end))
            at = end
        runs, at = DataRuns(fd, os.fstat(fd)), 0
        buffer = memoryview(bytearray(5000))
        while at < size:
            at += runs.skip()
            count = runs.readinto(buffer)
            copied[at : at + count] = buffer[:count]
            at += count
    finally:
        os.close(fd)
    assert bytes(copied) == content


def test_zeros_are_no_hole_and_other_bytes_are_no_zeros(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(10_000) + b"x")
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        assert zeros_from(fd, 0, 10_000, reads_data=True) == 10_000
        assert zeros_from(fd, 0, 10_000, reads_data=False) is None
        assert zeros_from(fd, 0, 10_001, reads_data=True) is None
        assert zeros_from(fd, 0, 10_002, reads_data=True) is None
    finally:
        os.close(fd)


def test_a_file_that_is_cut_ends_early(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"d" * 200_000)
    fd = os.open(tmp_path / "x", os.O_RDWR)
    try:
        runs = DataRuns(fd, os.fstat(fd))
        assert runs.skip() == 0
        os.ftruncate(fd, 10)
        buffer = memoryview(bytearray(1000))
        assert (runs.readinto(buffer), runs.readinto(buffer)) == (10, 0)
    finally:
        os.close(fd)
