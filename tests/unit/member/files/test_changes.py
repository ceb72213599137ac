"""Waits are bounded for each person, each peer as a whole, and in all; places are given back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from collective.catalog.interface.changes import Changes as KeptChanges
from collective.core.errors import BusyError
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.core.limits import WATCH_WAIT_MAX_S
from collective.core.paths import FilePath
from collective.member.files import changes as member_changes
from collective.member.files.changes import (
    WAITS_PER_PEER_MAX,
    WAITS_PER_PERSON_MAX,
    MemberChanges,
)
from collective.model.calls import Call
from collective.model.changes import Changes, Cursor

FOLDER = FilePath.parse("/a")
HOME, PEER = Domain("home.alice"), Domain("garage.bob")


class Quiet:
    """Nothing changes, and who waits does so until ``ring``, or their time is over."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.until_s: list[float] = []
        self.bell = asyncio.Event()

    async def since(self, _call: Call, _folder: FilePath, cursor: str, **_: Any) -> Changes:
        self.asked.append(cursor)
        return Changes(Cursor(f"{len(self.asked)}"), [])

    @contextmanager
    def waiting(self, _folder: FilePath) -> Iterator[Quiet]:
        yield self

    async def notified(self, until_s: float) -> bool:
        self.until_s.append(until_s)
        await self.bell.wait()
        return False


def person(name: str, *, via: Domain | None = None) -> Call:
    who = SpiffeId.user(via or HOME, GlobalId(name, via or HOME))
    return Call(who, is_operator=False, via=via)


async def watch(files: MemberChanges, call: Call, wait_s: float = 10.0) -> object:
    return await files.since(call, FOLDER, "", wait_s=wait_s, page_size=5)


async def begin(files: MemberChanges, calls: list[Call]) -> list[asyncio.Task[object]]:
    tasks = [asyncio.create_task(watch(files, call)) for call in calls]
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


async def test_places_are_bounded_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = Quiet()
    files = MemberChanges(cast("KeptChanges", quiet))
    ann = person("ann")
    tasks = await begin(files, [ann] * WAITS_PER_PERSON_MAX)
    with pytest.raises(BusyError):
        await watch(files, ann)
    assert await watch(files, ann, wait_s=0), "who does not wait takes no place"
    some = [person(f"p{number}", via=PEER) for number in range(WAITS_PER_PEER_MAX)]
    tasks += await begin(files, some)
    with pytest.raises(BusyError, match=r"garage\.bob"):
        await watch(files, person("another", via=PEER))
    monkeypatch.setattr(member_changes, "WAITS_MAX", len(tasks))
    with pytest.raises(BusyError, match="Too many"):
        await watch(files, person("eve"))
    for task in tasks[:3]:
        task.cancel()
    await asyncio.gather(*tasks[:3], return_exceptions=True)
    tasks += await begin(files, [ann] * 3)
    quiet.bell.set()
    await asyncio.gather(*tasks[3:])
    assert not files._waits
    assert files._all == 0


async def test_a_wait_is_bounded_and_ends_with_a_look_from_the_newest_cursor() -> None:
    quiet = Quiet()
    [task] = await begin(MemberChanges(cast("KeptChanges", quiet)), [person("ann")])
    quiet.bell.set()
    found = await task
    assert isinstance(found, Changes)
    assert quiet.asked == ["", "1"]
    assert found.cursor == "2"
    quiet.bell.set()
    now_s = asyncio.get_running_loop().time()
    await watch(MemberChanges(cast("KeptChanges", quiet)), person("ann"), wait_s=1e9)
    assert quiet.until_s[-1] < now_s + WATCH_WAIT_MAX_S + 100
