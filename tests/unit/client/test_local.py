"""Local files and directories: resuming, replacing, skipping."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collective.client.parts import part_path
from collective.core.errors import ConflictError, NotEnoughCopiesError, NotFoundError
from collective.core.limits import CHUNK_SIZE_BYTES

from .fakes import World, node_name

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(state_dir=str(tmp_path / "state"))
    yield made
    made.close()


def file_of(path: Path, chunks: int) -> bytes:
    data = random.Random(chunks).randbytes(chunks * CHUNK_SIZE_BYTES + 5)
    path.write_bytes(data)
    return data


async def test_put_and_get_keep_bytes_time_and_mode(world: World, tmp_path: Path) -> None:
    data = file_of(tmp_path / "a", 2)
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    await world.collective.get("/s/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == data
    assert not list(tmp_path.glob(".*part"))


async def test_a_put_stopped_by_nodes_is_resumed_without_sending_again(
    world: World, tmp_path: Path
) -> None:
    data = file_of(tmp_path / "a", 44)
    seen = 0

    def fail_late(count: int) -> None:
        nonlocal seen
        seen += count
        if seen > 38 * CHUNK_SIZE_BYTES:
            for number in (1, 2, 3):
                world.nodes.state[node_name(number)] = "down"

    with pytest.raises(NotEnoughCopiesError):
        await world.collective.put(str(tmp_path / "a"), "/s/a", progress=fail_late)
    assert world.coordinator.uploads, "a resumable upload must not be aborted"
    world.nodes.state.clear()
    before = world.nodes.puts
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    assert world.nodes.puts - before < 16
    assert await world.collective.read("/s/a") == data
    assert not list((tmp_path / "state" / "uploads").iterdir())


async def test_a_put_of_a_file_that_changed_meanwhile_starts_afresh(
    world: World, tmp_path: Path
) -> None:
    file_of(tmp_path / "a", 6)

    def change(_count: int) -> None:
        os.utime(tmp_path / "a", (1, 1))

    with pytest.raises(ConflictError, match="changed"):
        await world.collective.put(str(tmp_path / "a"), "/s/a", progress=change)
    assert "/s/a" not in world.coordinator.files


async def test_a_get_resumes_a_verified_beginning(world: World, tmp_path: Path) -> None:
    data = file_of(tmp_path / "a", 5)
    entry = await world.collective.put(str(tmp_path / "a"), "/s/a")
    part = Path(part_path(str(tmp_path / "b"), "home.alice", entry))
    part.write_bytes(data[: 3 * CHUNK_SIZE_BYTES + 100])
    await world.collective.get("/s/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == data
    assert len(world.nodes.gets) == 3


async def test_get_replaces_only_when_everything_is_there(world: World, tmp_path: Path) -> None:
    file_of(tmp_path / "a", 2)
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    target = tmp_path / "b"
    target.write_bytes(b"old")
    for number in (1, 2, 3):
        world.nodes.state[node_name(number)] = "down"
    with pytest.raises(NotEnoughCopiesError):
        await world.collective.get("/s/a", str(target))
    assert target.read_bytes() == b"old"


async def test_a_local_file_that_is_absent_is_not_found(world: World, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await world.collective.put(str(tmp_path / "none"), "/s/a")


async def test_a_get_into_a_directory_that_is_absent_names_the_directory(
    world: World, tmp_path: Path
) -> None:
    await world.collective.write("/s/a", b"x")
    with pytest.raises(NotFoundError, match=r"no local directory '.*/nope'; make it"):
        await world.collective.get("/s/a", str(tmp_path / "nope" / "x"))


async def test_a_tree_goes_in_and_out_and_bad_names_are_reported(
    world: World, tmp_path: Path
) -> None:
    source = tmp_path / "tree"
    (source / "d" / "empty").mkdir(parents=True)
    (source / "d" / "x").write_bytes(b"1")
    (source / "ü").write_bytes(b"22")
    (Path(os.fsdecode(os.fsencode(str(source)) + b"/bad\xff"))).write_bytes(b"3")
    (source / "new\nline").write_bytes(b"4")
    (source / "link").symlink_to("ü")
    skipped: list[str] = []
    result = await world.collective.put_tree(
        str(source), "/s/t", skip=lambda name, _: skipped.append(os.path.basename(name))
    )
    assert (result.files, result.bytes, result.skipped) == (2, 3, 3)
    assert sorted(skipped) == sorted([os.fsdecode(b"bad\xff"), "link", "new\nline"])
    back = tmp_path / "back"
    fetched = await world.collective.get_tree("/s/t", str(back))
    assert fetched.errors == []
    assert (back / "d" / "x").read_bytes() == b"1"
    assert (back / "ü").read_bytes() == b"22"
    assert (back / "d" / "empty").is_dir()
