"""A member that lies about its trees: whatever it lists, nothing is written outside of the target."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collective.client.disk import tree_target
from collective.core.errors import CollectiveError, RejectedError
from collective.rpc.gen.collective.v1 import Entry, EntryKind
from collective.rpc.gen.collective.v1.files import ListRequest, ListResponse
from collective.rpc.gen.collective.v1.transfer import Hole
from tests.unit.client.fakes import World

EXAMPLES = itertools.count()
PRECIOUS: Final = b"precious"


@dataclass(frozen=True)
class Listed:
    """One entry of a listing."""

    names: tuple[str, ...]
    kind: EntryKind
    target: bytes = b""


NAMES: Final = st.lists(
    st.sampled_from(("a", "b", "A", "precious", "e\u0301", "\u00e9")), min_size=1, max_size=3
).map(tuple)
WAYS_OUT: Final = st.sampled_from(
    (b"../outside", b"../outside/precious", b"..", b".", b"/", b"a", b"../../..", b"OUTSIDE")
)
LISTED: Final = st.one_of(
    st.builds(Listed, NAMES, st.sampled_from((EntryKind.FILE, EntryKind.DIRECTORY))),
    st.builds(Listed, NAMES, st.just(EntryKind.LINK), WAYS_OUT),
)
A, AB = ("a",), ("a", "precious")
FILE, FOLDER, LINK = EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.LINK


def shown(folder: Path) -> dict[str, object]:
    """Return everything below ``folder``."""
    found: dict[str, object] = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        status = os.lstat(path)
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        found[str(path)] = (status.st_ino, status.st_mode, status.st_mtime_ns, content)
    return found


def serve(world: World, listing: list[Listed], outside: Path) -> None:
    """Have the coordinator list exactly this, in this order, twice the same name too."""
    entries = [
        Entry(
            path="/m/" + "/".join(one.names),
            kind=one.kind,
            modified_s=0,
            mode=0o600 if one.kind is EntryKind.FILE else 0o700,
            version=1,
            target=os.fsencode(outside) if one.target == b"OUTSIDE" else one.target,
        )
        for one in listing
    ]
    world.coordinator.files["/m"] = (Entry(path="/m", kind=EntryKind.DIRECTORY, modified_s=0), [])
    for entry in entries:
        world.coordinator.files[entry.path] = (entry, [])

    async def list_all(_: ListRequest, **__: Any) -> ListResponse:
        return ListResponse(entries=entries)

    setattr(world.coordinator, "list", list_all)  # noqa: B010 - the type checker knows methods


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    listing=st.lists(LISTED, max_size=8), before=st.lists(LISTED, max_size=3), folds=st.booleans()
)
@example(listing=[Listed(A, LINK, b"OUTSIDE"), Listed(AB, FILE)], before=[], folds=False)
@example(
    listing=[Listed(A, FOLDER), Listed(A, LINK, b"OUTSIDE"), Listed(AB, FILE)],
    before=[],
    folds=False,
)
@example(listing=[Listed(AB, FILE)], before=[Listed(A, LINK, b"OUTSIDE")], folds=False)
@example(
    listing=[Listed(("precious",), FILE)],
    before=[Listed(("precious",), LINK, b"../outside/precious")],
    folds=False,
)
@example(
    listing=[Listed(A, LINK, b"OUTSIDE"), Listed(("A", "precious"), FILE)], before=[], folds=True
)
def test_nothing_outside_of_the_target_changes(
    tmp_path: Path, listing: list[Listed], before: list[Listed], folds: bool
) -> None:
    folder = tmp_path / str(next(EXAMPLES))
    outside, target = folder / "outside", folder / "target"
    for made in (outside / "a", target):
        made.mkdir(parents=True)
    for file in (outside / "precious", outside / "b", outside / "a" / "precious"):
        file.write_bytes(PRECIOUS)
    for one in before:
        plant(target, one, outside)
    state = shown(outside)

    async def get() -> None:
        world = World()
        serve(world, listing, outside)
        for _ in range(2):
            await world.collective.get_tree("/m", str(target), keeps_set_id=True)
        world.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_target, "folds_names", lambda _folder, _randomness: folds)
        asyncio.run(get())
    assert shown(outside) == state
    assert sorted(os.listdir(folder)) == ["outside", "target"]
    shutil.rmtree(folder)


def plant(target: Path, one: Listed, outside: Path) -> None:
    """Have something lie in the target before."""
    path = target.joinpath(*one.names)
    if os.path.lexists(path) or os.path.realpath(path.parent) != str(path.parent):
        return
    if not path.parent.is_dir():
        return
    if one.kind is EntryKind.LINK:
        path.symlink_to(outside if one.target == b"OUTSIDE" else os.fsdecode(one.target))
    elif one.kind is EntryKind.DIRECTORY:
        path.mkdir()
    else:
        os.mkfifo(path)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.close()


@pytest.mark.parametrize(
    "entry",
    [
        Entry(path="/m/../x", kind=EntryKind.FILE, modified_s=0),
        Entry(path="/m/a\0b", kind=EntryKind.FILE, modified_s=0),
        Entry(path="/m/a", kind=EntryKind.LINK, modified_s=0),
        Entry(path="/m/a", kind=EntryKind.LINK, modified_s=0, target=b"x\0y"),
        Entry(path="/m/a", kind=EntryKind.LINK, modified_s=0, target=b"x" * 4096),
        Entry(path="/m/a", kind=EntryKind.FILE, modified_s=0, modified_ns=1 << 31),
        Entry(path="/m/a", kind=EntryKind.FILE, modified_s=1 << 61),
        Entry(path="/m/a", kind=EntryKind.FILE, modified_s=0, mode=0o10000),
        Entry(path="/m/a", kind=EntryKind.UNSPECIFIED, modified_s=0),
    ],
)
async def test_an_entry_that_no_member_has_ends_the_download(
    world: World, tmp_path: Path, entry: Entry
) -> None:
    await world.collective.mkdir("/m")
    world.coordinator.files[entry.path] = (entry, [])
    with pytest.raises(RejectedError):
        await world.collective.get_tree("/m", str(tmp_path / "back"))
    assert os.listdir(tmp_path / "back") == []


@pytest.mark.parametrize("name", ["CON", "nul.txt", "aux", "COM1", "dev", "prn ", "x:y", "a\\b"])
async def test_names_of_devices_elsewhere_are_names_like_others(
    world: World, tmp_path: Path, name: str
) -> None:
    await world.collective.mkdir("/m")
    await world.collective.write(f"/m/{name}", b"x")
    result = await world.collective.get_tree("/m", str(tmp_path / "back"))
    assert result.left_out == []
    assert (tmp_path / "back" / name).read_bytes() == b"x"


async def test_what_a_device_or_pipe_stands_for_is_not_written_to(
    world: World, tmp_path: Path
) -> None:
    await world.collective.mkdir("/m")
    await world.collective.write("/m/a", b"x")
    await world.collective.make_link("/m/b", b"x")
    await world.collective.mkdir("/m/c")
    for name in "abc":
        os.mkfifo(tmp_path / name)
    result = await world.collective.get_tree("/m", str(tmp_path))
    assert sorted(one.name for one in result.left_out) == ["/m/a", "/m/b", "/m/c"]
    assert all(stat.S_ISFIFO(os.lstat(tmp_path / name).st_mode) for name in "abc")


async def test_a_hole_that_goes_on_for_ever_is_no_plan(world: World, tmp_path: Path) -> None:
    entry = await world.collective.write("/m/a", b"x")
    told, _ = world.coordinator.files["/m/a"]
    for hole in (
        Hole(offset=0, length=0),
        Hole(offset=0, length=1 << 61),
        Hole(offset=9, length=9),
    ):
        world.coordinator.files["/m/a"] = (told, [hole])
        with pytest.raises(CollectiveError):
            await world.collective.read("/m/a")
    assert entry.size_bytes == 1
