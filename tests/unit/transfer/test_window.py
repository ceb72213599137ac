"""What is in memory at once: few chunks, or many small files, and none that waits for ever."""

from __future__ import annotations

import asyncio
import random

import pytest

from collective.core.limits import CHUNK_SIZE_BYTES, KIB, MIB
from collective.transfer.buffers import memory_bytes
from collective.transfer.engine.window import CHUNK_SHARES, Window, shares_of


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_piece_takes_of_the_window_what_it_takes_of_memory() -> None:
    assert [shares_of(size) for size in (0, 4 * KIB, MIB, CHUNK_SIZE_BYTES)] == [1, 1, 2, 8]
    assert shares_of(16 * MIB) == CHUNK_SHARES, "never more than fits into any window"
    of_a_chunk = memory_bytes(CHUNK_SIZE_BYTES)
    for size in range(1, CHUNK_SIZE_BYTES, 8 * KIB):
        assert memory_bytes(size) / of_a_chunk <= shares_of(size) / CHUNK_SHARES


async def test_eight_small_pieces_are_let_in_for_one_chunk() -> None:
    window = Window(2)
    waiting = [asyncio.create_task(window.acquire(4 * KIB)) for _ in range(17)]
    await let_run()
    assert [one.done() for one in waiting] == [True] * 16 + [False]
    window.release(waiting[0].result())
    await let_run()
    assert waiting[16].done()
    for one in waiting[1:]:
        window.release(one.result())
    assert window.is_empty
    assert [await window.acquire(CHUNK_SIZE_BYTES) for _ in range(2)] == [CHUNK_SHARES] * 2
    assert not window.is_empty


async def test_small_pieces_do_not_pass_by_a_chunk_that_came_before() -> None:
    window = Window(1)
    first = await window.acquire(1)
    chunk = asyncio.create_task(window.acquire(CHUNK_SIZE_BYTES))
    await let_run()
    small = asyncio.create_task(window.acquire(1))
    await let_run()
    assert not chunk.done()
    assert not small.done()
    window.release(first)
    await let_run()
    assert chunk.done()
    assert not small.done()
    window.release(chunk.result())
    await let_run()
    assert small.done()


async def test_who_is_cancelled_while_waiting_leaves_the_way_free() -> None:
    window = Window(1)
    first = await window.acquire(1)
    chunk = asyncio.create_task(window.acquire(CHUNK_SIZE_BYTES))
    small = asyncio.create_task(window.acquire(1))
    await let_run()
    chunk.cancel()
    await let_run()
    assert small.done()
    window.release(first)
    window.release(small.result())
    assert window.is_empty


async def test_who_is_cancelled_when_just_let_in_gives_it_back() -> None:
    window = Window(1)
    first = await window.acquire(CHUNK_SIZE_BYTES)
    chunk = asyncio.create_task(window.acquire(CHUNK_SIZE_BYTES))
    await let_run()
    window.release(first)
    chunk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await chunk
    assert window.is_empty


async def test_a_window_that_is_widened_lets_in_who_waited() -> None:
    window = Window(1)
    await window.acquire(CHUNK_SIZE_BYTES)
    waiting = asyncio.create_task(window.acquire(CHUNK_SIZE_BYTES))
    await let_run()
    window.widen(1)
    await let_run()
    assert not waiting.done()
    window.widen(2)
    await let_run()
    assert waiting.done()
    assert window.chunks == 2


@pytest.mark.parametrize("seed", range(20))
async def test_all_are_let_in_and_never_too_much(seed: int) -> None:
    chance = random.Random(seed)
    window, held, most = Window(3), 0, 3 * CHUNK_SHARES

    async def one(size: int, turns: int) -> None:
        nonlocal held
        shares = await window.acquire(size)
        held += shares
        assert held <= most
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
        finally:
            held -= shares
            window.release(shares)

    sizes = (1, 100 * KIB, MIB, CHUNK_SIZE_BYTES)
    tasks = []
    for _ in range(200):
        work = one(chance.choice(sizes), chance.randrange(6))
        tasks.append(asyncio.create_task(work))
        if chance.random() < 0.2:
            await asyncio.sleep(0)
        if chance.random() < 0.1:
            chance.choice(tasks).cancel()
    await asyncio.wait(tasks)
    assert window.is_empty
    ended = [one for one in tasks if not one.cancelled()]
    assert [one.exception() for one in ended] == [None] * len(ended)
    assert len(ended) > 100
