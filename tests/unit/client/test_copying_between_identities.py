"""Copies between two identities: each judged at its end; the coordinators move the bytes, else this machine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any, Final

import pytest

from collective.client.copying_between_identities import PAUSE_S, Carrying
from collective.client.owners import Owner
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from collective.core.ids import Domain
from collective.core.limits import CHUNK_SIZE_BYTES
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.writing import Attributes, Precondition
from collective.rpc.remote.owner_paths import OwnerPaths
from tests.unit.client.fakes import World

pytestmark = pytest.mark.virtual_time

HERE, THERE = FilePath.parse("/s/film"), FilePath.parse("/@garage.bob/s/film")
ALWAYS: Final = Precondition()
CONTENT: Final = random.Random(4).randbytes(6 * CHUNK_SIZE_BYTES + 5)


class ByCoordinators:
    """The copies that the own member's coordinator makes."""

    def __init__(self, answer: CollectiveError | Entry, told: int = 0) -> None:
        self.answer = answer
        self.told = told
        self.asked: list[tuple[FilePath, FilePath, Precondition]] = []

    async def copy(
        self, source: FilePath, target: FilePath, condition: Precondition, *, progress: Any
    ) -> tuple[Entry, bool]:
        self.asked.append((source, target, condition))
        if self.told:
            progress(self.told)
        if isinstance(self.answer, CollectiveError):
            raise self.answer
        return self.answer, False


class Houses:
    """A file at alice's, and bob's, which this client has joined as well."""

    def __init__(self, answer: CollectiveError | Entry, *, told: int = 0) -> None:
        self.alice, self.bob = World(), World()
        self.by_coordinators = ByCoordinators(answer, told)
        vars(self.alice.connection)["copying"] = self.by_coordinators
        paths = OwnerPaths(Domain("garage.bob"))
        self.home = Owner(self.alice.connection, self.alice.connection.names)
        connection = self.bob.connection
        self.straight = Owner(connection, connection.names_as(paths))
        self.carried: list[CollectiveError] = []
        self.progress: list[int] = []
        self.carrying = Carrying(self.home, self.home, self.straight, self._carry)

    def _carry(self, why: CollectiveError) -> None:
        self.carried.append(why)

    def back(self) -> Carrying:
        return Carrying(self.home, self.straight, self.home, self._carry)

    def fetched(self) -> int:
        return len(self.alice.nodes.gets) + len(self.bob.nodes.gets)

    def close(self) -> None:
        for world in (self.alice, self.bob):
            world.close()
            assert world.coordinator.uploads == {}, "an upload was left open"


@pytest.fixture
def refused() -> Iterator[Houses]:
    houses = Houses(PermissionDeniedError("No grant."))
    yield houses
    houses.close()


async def test_this_machine_carries_what_the_coordinators_may_not(refused: Houses) -> None:
    told = Attributes(modified_ns=7, mode=0o640, content_type="video/x")
    await refused.alice.collective.write(str(HERE), CONTENT, attributes=told)
    made, is_same = await refused.carrying.copy(
        HERE, THERE, ALWAYS, progress=refused.progress.append
    )
    assert (made.path, made.size_bytes, is_same) == (THERE, len(CONTENT), False)
    assert (made.modified_ns, made.mode) == (7, 0o640)
    assert await refused.bob.collective.read("/s/film") == CONTENT
    assert refused.by_coordinators.asked == [(HERE, THERE, ALWAYS)]
    assert refused.carried == [refused.by_coordinators.answer]
    assert sum(refused.progress) == len(CONTENT)


async def test_further_files_of_a_command_are_carried_at_once(refused: Houses) -> None:
    for name in ("one", "two"):
        path = HERE.parent.child(name)
        await refused.alice.collective.write(str(path), name.encode())
        await refused.carrying.copy(path, THERE.parent.child(name), ALWAYS)
    assert len(refused.by_coordinators.asked) == 1
    assert refused.carried == [refused.by_coordinators.answer]
    assert await refused.bob.collective.read("/s/two") == b"two"


async def test_a_copy_back_is_called_as_it_is_here(refused: Houses) -> None:
    await refused.bob.collective.write("/s/film", CONTENT)
    made, _ = await refused.back().copy(THERE, HERE, ALWAYS)
    assert made.path == HERE
    assert refused.by_coordinators.asked == [(THERE, HERE, ALWAYS)]
    assert await refused.alice.collective.read("/s/film") == CONTENT


async def test_what_is_there_already_is_left(refused: Houses) -> None:
    await refused.alice.collective.write(str(HERE), CONTENT)
    await refused.carrying.copy(HERE, THERE, ALWAYS)
    before = refused.fetched()
    made, is_same = await refused.carrying.copy(HERE, THERE, ALWAYS, unless_same=True)
    assert (made.path, is_same) == (THERE, True)
    assert refused.fetched() == before
    await refused.alice.collective.write(str(HERE), CONTENT[1:])
    _, is_same = await refused.carrying.copy(HERE, THERE, ALWAYS, unless_same=True)
    assert not is_same
    assert await refused.bob.collective.read("/s/film") == CONTENT[1:]


async def test_no_byte_passes_here_where_the_coordinators_may() -> None:
    entry = Entry(THERE, EntryKind.FILE, size_bytes=len(CONTENT))
    houses = Houses(entry)
    await houses.alice.collective.write(str(HERE), CONTENT)
    assert await houses.carrying.copy(HERE, THERE, ALWAYS) == (entry, False)
    assert (houses.carried, houses.fetched(), houses.bob.nodes.puts) == ([], 0, 0)
    houses.close()


async def test_the_coordinators_are_asked_for_nothing_that_the_reader_may_not_read() -> None:
    houses = Houses(Entry(THERE, EntryKind.FILE))
    with pytest.raises(NotFoundError):
        await houses.carrying.copy(HERE, THERE, ALWAYS)
    assert houses.by_coordinators.asked == []
    houses.close()


async def test_the_coordinators_are_asked_for_nothing_that_the_writer_may_not_write() -> None:
    houses = Houses(Entry(THERE, EntryKind.FILE))
    await houses.alice.collective.write(str(HERE), b"content")

    async def refuse(*_: object, **__: object) -> None:
        raise PermissionDeniedError("No grant.")

    vars(houses.bob.coordinator)["open_upload"] = refuse
    with pytest.raises(PermissionDeniedError):
        await houses.carrying.copy(HERE, THERE, ALWAYS)
    assert houses.by_coordinators.asked == []
    houses.close()


async def copied(houses: Houses, *names: str) -> None:
    for name in names:
        path = HERE.parent.child(name)
        await houses.alice.collective.write(str(path), name.encode())
        await houses.carrying.copy(path, THERE.parent.child(name), ALWAYS)


@pytest.mark.parametrize("error", [NotFoundError("Gone."), ConflictError("Changed.")])
async def test_what_is_about_one_file_leaves_the_next_to_the_coordinators(
    error: CollectiveError,
) -> None:
    houses = Houses(error)
    await copied(houses, "one")
    assert await houses.bob.collective.read("/s/one") == b"one"
    houses.by_coordinators.answer = Entry(THERE, EntryKind.FILE)
    await copied(houses, "two")
    assert len(houses.by_coordinators.asked) == 2
    assert houses.carried == [error]
    with pytest.raises(NotFoundError):
        await houses.bob.collective.read("/s/two")
    houses.close()


@pytest.mark.parametrize("error", [UnreachableError("Away."), BusyError("Busy.")])
async def test_a_coordinator_that_cannot_just_now_is_asked_again_a_minute_later(
    error: CollectiveError,
) -> None:
    houses = Houses(error)
    await copied(houses, "one", "two")
    assert len(houses.by_coordinators.asked) == 1
    houses.by_coordinators.answer = Entry(THERE, EntryKind.FILE)
    await asyncio.sleep(PAUSE_S)
    await copied(houses, "three")
    assert len(houses.by_coordinators.asked) == 2
    assert await houses.bob.collective.read("/s/two") == b"two"
    with pytest.raises(NotFoundError):
        await houses.bob.collective.read("/s/three")
    houses.close()


async def test_one_that_refuses_is_not_asked_again(refused: Houses) -> None:
    await copied(refused, "one")
    await asyncio.sleep(100 * PAUSE_S)
    await copied(refused, "two")
    assert len(refused.by_coordinators.asked) == 1


@pytest.mark.parametrize("error", [UnreachableError("Away."), ConflictError("Changed.")])
async def test_no_byte_is_told_of_twice_when_the_coordinators_stop(error: CollectiveError) -> None:
    houses = Houses(error, told=2 * CHUNK_SIZE_BYTES)
    await houses.alice.collective.write(str(HERE), CONTENT)
    await houses.carrying.copy(HERE, THERE, ALWAYS, progress=houses.progress.append)
    assert sum(houses.progress) == len(CONTENT)
    assert min(houses.progress) > 0
    assert await houses.bob.collective.read("/s/film") == CONTENT
    houses.close()
