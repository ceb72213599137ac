"""Local files and directories: resuming, replacing, skipping."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from collective.client.disk.errors import LocalError
from collective.client.single_file import put_get
from collective.core.errors import (
    ConflictError,
    NoSpaceError,
    NotEnoughCopiesError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
    UsageError,
)
from collective.core.limits import CHUNK_SIZE_BYTES
from collective.core.paths import FilePath
from collective.model.writing import Attributes
from collective.rpc.gen.collective.v1 import Entry as EntryMessage
from tests.unit.client.fakes import World, node_name, part_path

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
    named: list[str] = []
    result = await world.collective.put_tree(
        str(source), "/s/t", named=lambda one: named.append(os.path.basename(one.name))
    )
    assert (result.files, result.links, result.bytes, len(result.left_out)) == (2, 1, 3, 2)
    assert sorted(named) == sorted([os.fsdecode(b"bad\xff"), "new\nline"])
    back = tmp_path / "back"
    fetched = await world.collective.get_tree("/s/t", str(back))
    assert fetched.left_out == []
    assert (back / "d" / "x").read_bytes() == b"1"
    assert (back / "ü").read_bytes() == b"22"
    assert (back / "d" / "empty").is_dir()
    assert os.readlink(back / "link") == "ü"


# --- what a download leaves -------------------------------------------------------------------------


def parts(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".part")]


async def test_a_full_disk_keeps_nothing_of_a_download(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file_of(tmp_path / "a", 2)
    await world.collective.write("/s/a", data)
    real = put_get.write_at

    def full(descriptor: int, block: memoryview, offset: int) -> None:
        if offset >= CHUNK_SIZE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, block, offset)

    monkeypatch.setattr(put_get, "write_at", full)
    with pytest.raises(LocalError, match="No space left"):
        await world.collective.get("/s/a", str(tmp_path / "b"))
    assert os.listdir(tmp_path) == ["a"]
    monkeypatch.setattr(put_get, "write_at", real)
    monkeypatch.setattr(os, "fsync", lambda _: full(0, memoryview(b""), CHUNK_SIZE_BYTES))
    with pytest.raises(LocalError, match="No space left"):  # told when the file is flushed
        await world.collective.get("/s/a", str(tmp_path / "b"))
    assert os.listdir(tmp_path) == ["a"]


async def test_what_an_interrupted_download_leaves_is_named_and_used(
    world: World, tmp_path: Path
) -> None:
    data = random.Random(6).randbytes(12 * CHUNK_SIZE_BYTES)
    await world.collective.write("/s/a", data)

    def fail(count: int) -> None:
        for number in (1, 2, 3):
            world.nodes.state[node_name(number)] = "down"

    target = tmp_path / "b"
    with pytest.raises(NotEnoughCopiesError) as caught:
        await world.collective.get("/s/a", str(target), progress=fail)
    (part,) = parts(tmp_path)
    assert repr(str(tmp_path / part)) in caught.value.message
    world.nodes.state.clear()
    before = len(world.nodes.gets)
    await world.collective.get("/s/a", str(target))
    assert target.read_bytes() == data
    assert len(world.nodes.gets) - before < 12
    assert parts(tmp_path) == []


async def test_parts_of_other_versions_go_and_those_that_are_written_stay(
    world: World, tmp_path: Path
) -> None:
    first = await world.collective.write("/s/a", b"first")
    for name in ("a", "ab"):
        Path(part_path(str(tmp_path / name), "home.alice", first)).write_bytes(b"fi")
    await world.collective.write("/s/a", b"second")
    held = Path(part_path(str(tmp_path / "a"), "home.bob", first))
    with held.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        await world.collective.get("/s/a", str(tmp_path / "a"))
        assert held.exists()
    assert (tmp_path / "a").read_bytes() == b"second"
    assert len(parts(tmp_path)) == 2
    await world.collective.get("/s/a", str(tmp_path / "a"))
    (left,) = parts(tmp_path)
    assert left.startswith(".ab.")


async def test_a_file_that_changed_a_moment_ago_is_waited_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another change in the same tick of the file system's clock would not be seen."""
    (tmp_path / "a").write_bytes(b"1")
    changed_s = (tmp_path / "a").stat().st_ctime
    began_s = world.session.clock.monotonic_s()
    clock = type(world.session.clock)
    monkeypatch.setattr(
        clock, "wall_s", lambda self: changed_s + 0.001 + self.monotonic_s() - began_s
    )
    await world.collective.put(str(tmp_path / "a"), "/s/a")
    assert world.session.clock.monotonic_s() - began_s >= put_get.TICK_S - 0.0011
    monkeypatch.setattr(clock, "wall_s", lambda _: changed_s)  # a clock that stands still
    await world.collective.put(str(tmp_path / "a"), "/s/a")


# --- links and single names -------------------------------------------------------------------------


async def test_a_link_is_got_as_a_link_and_read_as_nothing(world: World, tmp_path: Path) -> None:
    await world.collective.make_link("/s/l", b"../nowhere", attributes=Attributes(modified_ns=5))
    (tmp_path / "l").write_bytes(b"in the way")
    await world.collective.get("/s/l", str(tmp_path / "l"))
    assert os.readlink(tmp_path / "l") == "../nowhere"
    assert os.lstat(tmp_path / "l").st_mtime_ns == 5
    (tmp_path / "d").mkdir()
    with pytest.raises(UsageError):
        await world.collective.get("/s/l", str(tmp_path / "d"))
    with pytest.raises(UsageError):
        await world.collective.make_link("/s/l", b"")


async def test_a_single_file_is_put_through_a_link_and_a_pipe_is_read(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "l").symlink_to("a")
    await world.collective.put(str(tmp_path / "l"), "/s/l")
    assert await world.collective.read("/s/l") == b"x"
    with pytest.raises(UsageError):
        await world.collective.put(str(tmp_path), "/s/d")
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(writer, b"through a pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY)
    os.close(writer)
    try:
        await world.collective.transfers.local.put_open(
            reader, str(tmp_path / "pipe"), FilePath.parse("/s/p")
        )
    finally:
        os.close(reader)
    assert await world.collective.read("/s/p") == b"through a pipe"


# --- trees ------------------------------------------------------------------------------------------


async def test_a_path_that_is_too_deep_or_too_long_is_named_and_the_rest_goes_on(
    world: World, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    deep = tree.joinpath(*["d"] * 130)
    deep.mkdir(parents=True)
    (deep / "x").write_bytes(b"1")
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tree)
        for _ in range(20):  # its path is longer than the kernel takes at once
            os.mkdir("n" * 250)
            os.chdir("n" * 250)
        Path("y").write_bytes(b"2")
    finally:
        os.fchdir(before)
        os.close(before)
    (tree / "z").write_bytes(b"3")
    result = await world.collective.put_tree(str(tree), "/s/t")
    assert sorted(one.error.message for one in result.left_out) == [
        "A path may be at most 128 names deep.",
        "A path may have at most 4096 bytes.",
    ]
    assert (result.files, result.bytes) == (1, 1)
    shutil.rmtree(tree)  # it goes by descriptors, too


async def test_who_may_only_write_sends_a_whole_tree(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is listed for them; of a name they see what it is, and no more."""
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "x").write_bytes(b"1")
    (tree / "l").symlink_to("d")
    (tree / "d").chmod(0o710)
    real_stat = world.coordinator.stat

    async def refused(*_: object, **__: object) -> NoReturn:
        raise PermissionDeniedError("You may write here but not read.")

    async def stat_of(*args: Any, **options: Any) -> EntryMessage:
        entry = await real_stat(*args, **options)
        return EntryMessage(path=entry.path, kind=entry.kind)

    monkeypatch.setattr(world.coordinator, "list", refused)
    monkeypatch.setattr(world.coordinator, "stat", stat_of)
    for _ in range(2):
        result = await world.collective.put_tree(str(tree), "/s")
        assert (result.files, result.links, result.left_out) == (1, 1, [])
    (tree / "d").chmod(0o750)
    await world.collective.put_tree(str(tree), "/s")
    assert world.coordinator.files["/s/d"][0].mode == 0o750


async def test_a_tree_outlives_a_coordinator_that_restarts(world: World, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "l").symlink_to("d")
    (tree / "d" / "x").write_bytes(b"1")
    await world.collective.mkdir("/s")
    real = world.coordinator._called

    def restarting(name: str) -> None:
        if name != "open_upload" and world.coordinator.calls.count(name) == 0:
            world.coordinator.calls.append(name)
            raise UnreachableError("The coordinator restarts.")
        real(name)

    world.coordinator.calls.clear()
    world.coordinator._called = restarting  # type: ignore[method-assign]
    result = await world.collective.put_tree(str(tree), "/s")
    assert (result.files, result.links, result.directories, result.left_out) == (1, 1, 1, [])
    assert {"make_directory", "make_link", "set_attributes"} <= set(world.coordinator.calls)


async def test_a_tree_ends_where_nobody_answers_any_more(world: World, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in "abcdefghijklmnop":
        (tree / name).write_bytes(name.encode())
    await world.collective.mkdir("/s")
    world.coordinator.down_for = 10_000
    with pytest.raises(UnreachableError):
        await world.collective.put_tree(str(tree), "/s")


async def test_a_full_quota_is_said_of_each_file_and_smaller_ones_go(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("large", "small"):
        (tree / name).write_bytes(name.encode())
    real = world.coordinator.open_upload

    async def bounded(message: Any, **options: Any) -> Any:
        if message.path.endswith("large"):
            raise NoSpaceError("The quota has no room.")
        return await real(message, **options)

    monkeypatch.setattr(world.coordinator, "open_upload", bounded)
    result = await world.collective.put_tree(str(tree), "/s")
    assert (result.files, [os.path.basename(one.name) for one in result.left_out]) == (1, ["large"])
