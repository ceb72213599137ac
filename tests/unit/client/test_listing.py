"""Listing ahead: one page is on its way while another is used, and nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import cast

import pytest

from collective.core.errors import PermissionDeniedError
from collective.rpc.gen.collective.v1 import Entry, EntryKind
from collective.rpc.gen.collective.v1.files import ListRequest, ListResponse
from tests.unit.client.fakes import World

ENTRIES = 7


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    for number in range(ENTRIES):
        path = f"/x/{number}"
        made.coordinator.files[path] = (Entry(path=path, kind=EntryKind.FILE), [])
    yield made
    made.close()


async def test_every_entry_comes_once_and_in_order(world: World) -> None:
    names = [entry.path.name async for entry in world.collective.list("/x")]
    assert names == [str(number) for number in range(ENTRIES)]


async def test_the_next_page_is_asked_for_before_this_one_is_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answer = world.coordinator.list

    async def noting(message: ListRequest, **_: object) -> ListResponse:
        asked.append(message.page_token)
        return await answer(message)

    monkeypatch.setattr(world.coordinator, "list", noting)
    listing = world.collective.list("/x")
    await anext(aiter(listing))
    assert asked == ["", "2"]


async def test_a_listing_that_is_left_early_leaves_no_call_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = world.coordinator.list

    async def hanging_later(message: ListRequest, **_: object) -> ListResponse:
        if message.page_token:
            await asyncio.Event().wait()
        return await answer(message)

    monkeypatch.setattr(world.coordinator, "list", hanging_later)
    before = asyncio.all_tasks()
    listing = cast("AsyncGenerator[object]", world.collective.list("/x"))
    await anext(listing)
    await listing.aclose()
    assert asyncio.all_tasks() == before


async def test_a_refusal_of_a_later_page_comes_after_the_entries_before_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = world.coordinator.list

    async def refusing_later(message: ListRequest, **_: object) -> ListResponse:
        if message.page_token == "4":
            raise PermissionDeniedError("no longer")
        return await answer(message)

    monkeypatch.setattr(world.coordinator, "list", refusing_later)
    listing = aiter(world.collective.list("/x"))
    assert [(await anext(listing)).path.name for _ in range(4)] == ["0", "1", "2", "3"]
    with pytest.raises(PermissionDeniedError):
        await anext(listing)
