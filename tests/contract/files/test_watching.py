"""Watching a folder, whichever way leads to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

import pytest

from collective.client.files.interface import Files
from collective.core.errors import (
    BusyError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.limits import WATCH_WAIT_MAX_S
from collective.member.files.changes import WAITS_PER_PERSON_MAX
from collective.model.changes import Change, Changes, Cursor, ListAnew
from collective.model.entries import EntryKind
from collective.model.rights import Right
from collective.model.writing import Attributes
from tests.contract.files.ways import Way

LONG_S: Final = WATCH_WAIT_MAX_S


class Watcher:
    """One who watches a folder by turns, and remembers the cursor."""

    def __init__(self, files: Files, path: str) -> None:
        self.files = files
        self.path = path
        self.cursor: Cursor | None = None

    async def begin(self) -> Watcher:
        assert await self.lists_anew()
        return self

    async def lists_anew(self) -> bool:
        found = await self.files.changes(self.path, self.cursor)
        self.cursor = found.cursor
        return isinstance(found, ListAnew)

    async def told(self, wait_s: float = 0.0) -> Mapping[str, Change]:
        """Return what changed, by path."""
        found = await self.files.changes(self.path, self.cursor, wait_s=wait_s)
        assert isinstance(found, Changes), "nothing here makes it list anew"
        self.cursor = found.cursor
        changes = {str(one.path): one for one in found.changes}
        assert len(changes) == len(found.changes), "each path once"
        return changes


async def watch(way: Way) -> Watcher:
    return await Watcher(way.ann, way.root).begin()


# --- what is told --------------------------------------------------------------------------------


async def test_each_change_is_told_with_what_is_there_now(way: Way) -> None:
    watcher = await watch(way)
    assert await watcher.told() == {}
    await way.ann.mkdir(way.path("d"))
    await way.ann.write(way.path("d", "f"), b"one")
    await way.ann.make_link(way.path("l"), b"d/f")
    told = await watcher.told()
    assert list(told) == [way.path("d"), way.path("d", "f"), way.path("l")]
    for path, change in told.items():
        assert change.entry == await way.ann.stat(path)
    assert not any(one.below for one in told.values())
    assert await watcher.told() == {}


async def test_a_path_that_changed_often_is_told_of_once_as_it_is_now(way: Way) -> None:
    watcher = await watch(way)
    for content in (b"1", b"22", b"333"):
        await way.ann.write(way.path("f"), content)
    await way.ann.set_attributes(way.path("f"), Attributes(mode=0o600))
    await way.ann.write(way.path("gone"), b"x")
    await way.ann.remove(way.path("gone"))
    told = await watcher.told()
    assert list(told) == [way.path("f"), way.path("gone")]
    entry = told[way.path("f")].entry
    assert entry is not None
    assert (entry.size_bytes, entry.mode) == (3, 0o600)
    assert told[way.path("gone")].entry is None


async def test_a_tree_that_is_made_moved_or_removed_is_one_change(way: Way) -> None:
    watcher = await watch(way)
    await way.ann.mkdir(way.path("a", "b", "c"), parents=True)
    [(path, change)] = (await watcher.told()).items()
    assert (path, change.below) == (way.path("a"), True)
    for number in range(3):
        await way.ann.write(way.path("a", "b", f"f{number}"), b"x")
    await watcher.told()
    await way.ann.move(way.path("a"), way.path("z"))
    told = await watcher.told()
    assert {path: (one.entry is None, one.below) for path, one in told.items()} == {
        way.path("a"): (True, True),
        way.path("z"): (False, True),
    }
    await way.ann.remove(way.path("z"), recursive=True)
    [(path, change)] = (await watcher.told()).items()
    assert (path, change.entry, change.below) == (way.path("z"), None, True)


async def test_what_is_moved_in_or_out_shows_only_by_its_end_in_the_folder(way: Way) -> None:
    await way.ann.mkdir(way.path("in"))
    await way.ann.mkdir(way.path("out", "tree"), parents=True)
    await way.ann.write(way.path("out", "tree", "f"), b"x")
    watcher = await Watcher(way.ann, way.path("in")).begin()
    await way.ann.move(way.path("out", "tree"), way.path("in", "tree"))
    [(path, change)] = (await watcher.told()).items()
    assert (path, change.below) == (way.path("in", "tree"), True)
    assert change.entry is not None
    assert change.entry.kind is EntryKind.DIRECTORY
    await way.ann.write(way.path("in", "tree", "g"), b"y")
    await way.ann.move(way.path("in", "tree"), way.path("out", "tree"))
    told = await watcher.told()
    assert {path: one.entry for path, one in told.items()} == {
        way.path("in", "tree", "g"): None,
        way.path("in", "tree"): None,
    }
    await way.ann.write(way.path("out", "tree", "g"), b"z")
    assert await watcher.told() == {}


async def test_a_folder_that_is_moved_away_removed_or_put_back_is_told_of_as_itself(
    way: Way,
) -> None:
    await way.ann.mkdir(way.path("above", "here", "sub"), parents=True)
    watcher = await Watcher(way.ann, way.path("above", "here")).begin()
    for act in (
        way.ann.move(way.path("above"), way.path("elsewhere")),
        way.ann.move(way.path("elsewhere"), way.path("above")),
        way.ann.remove(way.path("above"), recursive=True),
    ):
        await act
        [(path, change)] = (await watcher.told()).items()
        assert (path, change.below) == (way.path("above", "here"), True)
        is_there = [one.path async for one in way.ann.list(way.root) if one.path.name == "above"]
        assert (change.entry is not None) == bool(is_there)
    await way.ann.mkdir(way.path("above", "here"), parents=True)
    [(path, change)] = (await watcher.told()).items()
    assert (path, change.entry is None) == (way.path("above", "here"), False)
    with pytest.raises(NotFoundError):
        await way.ann.changes(way.path("absent"))


async def test_many_changes_come_in_pages(way: Way) -> None:
    watcher = await watch(way)
    paths = [way.path(f"f{number}") for number in range(5)]
    for path in (*paths, paths[0]):
        await way.ann.write(path, b"x")
    told, more = [], True
    while more:
        found = await way.ann.changes(way.root, watcher.cursor, page_size=2)
        assert isinstance(found, Changes)
        assert len(found.changes) <= 2
        told += [str(one.path) for one in found.changes]
        watcher.cursor, more = found.cursor, found.more
    assert set(told) == set(paths)
    assert told[-1] == paths[0]
    assert await watcher.told() == {}
    for size in (0, 10**6):
        with pytest.raises(UsageError):
            await way.ann.changes(way.root, watcher.cursor, page_size=size)


# --- waiting -------------------------------------------------------------------------------------


async def test_a_wait_ends_with_the_first_change_and_not_with_others(way: Way) -> None:
    await way.ann.mkdir(way.path("in"))
    watcher = await Watcher(way.ann, way.path("in")).begin()
    waiting = asyncio.ensure_future(watcher.told(LONG_S))
    await way.ann.write(way.path("beside"), b"x")
    await way.ann.set_attributes(way.root, Attributes(mode=0o700))
    await way.ann.write(way.path("in", "f"), b"x")
    assert list(await waiting) == [way.path("in", "f")]
    await way.ann.write(way.path("beside"), b"y")
    assert await watcher.told(0.01) == {}


async def test_a_watch_begins_with_a_listing_and_tells_of_each_change(way: Way) -> None:
    async with aclosing(way.ann.watch(way.root)) as told:
        first = await anext(told)
        assert isinstance(first, ListAnew)
        for name in ("a", "b"):
            coming = asyncio.ensure_future(anext(told))
            await way.ann.write(way.path(name), b"x")
            found = await coming
            assert isinstance(found, Changes)
            assert [one.path.name for one in found.changes] == [name]
    async with aclosing(way.ann.watch(way.root, first.cursor)) as again:
        found = await anext(again)
        assert isinstance(found, Changes)
        assert [one.path.name for one in found.changes] == ["a", "b"]


@asynccontextmanager
async def waiting_calls(way: Way, count: int) -> AsyncIterator[list[asyncio.Task[object]]]:
    """Have so many of ann's calls wait, and return once all do."""
    cursor = (await way.ann.changes(way.root)).cursor
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(_changes(way, cursor)) for _ in range(count)
    ]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _changes(way: Way, cursor: Cursor) -> object:
    while True:
        with suppress(
            BusyError
        ):  # the test looks whether there is a place, and takes it for a moment
            return await way.ann.changes(way.root, cursor, wait_s=LONG_S)
        await asyncio.sleep(0.01)


async def eventually(ask: Callable[[], Awaitable[object]], ends: type[Exception] | None) -> None:
    """Ask until it raises ``ends`` (None: until it raises nothing): what others began or ended takes a moment."""
    while True:
        try:
            await ask()
        except BusyError:
            if ends is BusyError:
                return
        else:
            if ends is None:
                return
        await asyncio.sleep(0.01)


async def test_waits_are_bounded_take_no_other_calls_place_and_end_when_their_caller_leaves(
    way: Way,
) -> None:
    cursor = (await way.ann.changes(way.root)).cursor

    async def wait_briefly() -> None:
        await way.ann.changes(way.root, cursor, wait_s=0.01)

    async with waiting_calls(way, WAITS_PER_PERSON_MAX) as tasks:
        await eventually(wait_briefly, ends=BusyError)
        assert isinstance(await way.ann.changes(way.root, cursor), Changes)
        await asyncio.gather(*(way.ann.stat(way.root) for _ in range(20)))
        assert not any(task.done() for task in tasks)
    await eventually(wait_briefly, ends=None)


async def test_waits_end_at_once_with_what_they_wait_for(way: Way) -> None:
    async with waiting_calls(way, 5) as tasks:
        await way.ann.write(way.path("f"), b"x")
        for found in await asyncio.gather(*tasks):
            assert isinstance(found, Changes)
            assert [one.path.name for one in found.changes] == ["f"]


# --- what nobody learns --------------------------------------------------------------------------


async def test_without_the_right_to_read_the_folder_nothing_is_told(way: Way) -> None:
    await way.grant("eve", Right.WRITE | Right.SHARE, way.root)
    await way.grant("eve", Right.READ, way.path("sub"))
    await way.ann.mkdir(way.path("sub"))
    for path in (way.root, way.path("absent")):
        with pytest.raises(PermissionDeniedError):
            await way.eve.changes(path)
    watcher = await Watcher(way.eve, way.path("sub")).begin()
    await way.ann.write(way.path("f"), b"x")
    await way.ann.write(way.path("sub", "g"), b"x")
    assert list(await watcher.told()) == [way.path("sub", "g")]


async def test_cursors_tell_nothing_of_what_happened_elsewhere(way: Way) -> None:
    await way.ann.mkdir(way.path("in"))
    watcher = await Watcher(way.ann, way.path("in")).begin()
    seen = []
    for count in (0, 1, 7):
        for number in range(count):
            await way.ann.write(way.path(f"f{number}"), b"x")
        assert await watcher.told() == {}
        assert watcher.cursor is not None
        seen.append(watcher.cursor)
    assert len({len(one) for one in seen}) == 1
    assert len(set(seen)) == len(seen), "else the same one would say that nothing happened"
    again = [(await way.ann.changes(way.path("in"), seen[-1])).cursor for _ in range(3)]
    assert len({*again, seen[-1]}) == 4


async def test_a_cursor_is_good_for_one_caller_and_one_folder(way: Way) -> None:
    await way.grant("eve", Right.READ, way.root)
    await way.ann.mkdir(way.path("sub"))
    cursor = (await way.ann.changes(way.root)).cursor
    assert isinstance(await way.ann.changes(way.root, cursor), Changes)
    assert isinstance(await way.eve.changes(way.root, cursor), ListAnew)
    assert isinstance(await way.ann.changes(way.path("sub"), cursor), ListAnew)
    for bad in ("x", cursor[:-2], cursor[:-4] + "AAAA", "é"):
        assert isinstance(await way.ann.changes(way.root, Cursor(bad)), ListAnew)


async def test_what_came_and_went_while_there_was_no_right_never_shows(way: Way) -> None:
    first = await way.grant("eve", Right.READ, way.root)
    watcher = await Watcher(way.eve, way.root).begin()
    await way.ungrant(first)
    with pytest.raises(PermissionDeniedError):
        await watcher.told()
    await way.ann.write(way.path("secret"), b"x")
    await way.ann.remove(way.path("secret"))
    await way.grant("eve", Right.READ, way.root)
    assert await watcher.lists_anew()
    assert await watcher.told() == {}


async def test_a_right_that_is_taken_ends_a_wait(way: Way) -> None:
    given = await way.grant("eve", Right.READ, way.root)
    watcher = await Watcher(way.eve, way.root).begin()
    waiting = asyncio.ensure_future(watcher.told(LONG_S))
    await asyncio.sleep(0)
    await way.ungrant(given)
    with pytest.raises(PermissionDeniedError):
        await waiting


async def test_rights_that_others_get_or_lose_and_further_ones_of_ones_own_do_not_show(
    way: Way,
) -> None:
    watcher = await watch(way)
    await way.ungrant(await way.grant("eve", Right.READ, way.root))
    further = await way.grant("ann", Right.READ, way.root)
    await way.ann.write(way.path("f"), b"x")
    assert list(await watcher.told()) == [way.path("f")]
    await way.ungrant(further)
    assert await watcher.told() == {}
    assert isinstance((await way.ann.changes(way.root, watcher.cursor)), Changes)
