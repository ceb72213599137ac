"""Figures are counted once for all who ask at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from collective.core.ids import NodeId
from collective.member.care.figures import Figures
from collective.model.nodes import Position
from collective.model.status import ChunkHealth, Survey, Totals
from tests.unit.member.cluster import World


class Counting:
    """A catalogue that counts when it is told to."""

    def __init__(self) -> None:
        self.sequence = 1
        self.asked: list[tuple[frozenset[NodeId], frozenset[NodeId]]] = []
        self.ended = 0
        self.release = asyncio.Event()
        self.restores = self.figures = self

    async def position(self) -> Position:
        return Position("ab" * 16, 1, self.sequence)

    async def survey(self, usable: frozenset[NodeId], lost: frozenset[NodeId]) -> Survey:
        self.asked.append((usable, lost))
        try:
            await self.release.wait()
        finally:
            self.ended += 1
        return Survey(Totals(0, 0, ChunkHealth(0, 0, 0, ())), len(self.asked), {}, 0, 0)


@pytest.fixture
def world() -> World:
    return World()


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def asking(figures: Figures, count: int) -> list[asyncio.Task[Survey]]:
    return [asyncio.create_task(figures.survey()) for _ in range(count)]


async def test_six_that_ask_are_one_counting(world: World) -> None:
    catalog: Any = Counting()
    figures = Figures(catalog, world.table)
    tasks = asking(figures, 6)
    await settle()
    catalog.release.set()
    assert [task.backlog for task in await asyncio.gather(*tasks)] == [1] * 6
    outlook = world.table.outlook()
    assert catalog.asked == [(outlook.sources, outlook.gone)]


async def test_what_changed_meanwhile_is_counted_anew(world: World) -> None:
    catalog: Any = Counting()
    figures = Figures(catalog, world.table)
    tasks = asking(figures, 1)
    await settle()
    catalog.sequence += 1
    tasks += asking(figures, 1)
    await settle()
    world.clock.advance(60)  # the nodes are down
    tasks += asking(figures, 1)
    await settle()
    catalog.release.set()
    await asyncio.gather(*tasks)
    assert len(catalog.asked) == 3
    assert catalog.asked[1][0] > catalog.asked[2][0]


async def test_the_counting_ends_with_the_last_who_waits(world: World) -> None:
    catalog: Any = Counting()
    tasks = asking(Figures(catalog, world.table), 3)
    await settle()
    for task in tasks[:2]:
        task.cancel()
    await settle()
    assert catalog.ended == 0
    tasks[2].cancel()
    await settle()
    assert catalog.ended == 1
    await asyncio.wait(tasks)
