"""The buffer pool: bounded, in turn, and nothing lost."""

from __future__ import annotations

import asyncio

import pytest

from collective.core.errors import BusyError, UsageError
from collective.core.limits import CHUNK_STORED_MAX_BYTES, KIB, MIB
from collective.transfer.buffers import BufferPool


def pool() -> BufferPool:
    return BufferPool(CHUNK_STORED_MAX_BYTES)


async def test_memory_is_used_again() -> None:
    buffers = pool()
    with await buffers.acquire(4 * MIB) as first:
        assert len(first) == 4 * MIB
        first.view[:3] = b"abc"
    with await buffers.acquire(4 * MIB) as again:
        assert bytes(again.view[:3]) == b"abc"
    assert buffers.outstanding == 0
    assert buffers.used_bytes == 0
    assert buffers.kept_bytes > 0


async def test_limit_holds_for_used_and_kept_together() -> None:
    buffers = pool()
    small = [await buffers.acquire(64 * KIB) for _ in range(100)]
    for buffer in small:
        buffer.release()
    with await buffers.acquire(CHUNK_STORED_MAX_BYTES):
        assert buffers.used_bytes + buffers.kept_bytes <= CHUNK_STORED_MAX_BYTES


async def test_waiters_are_served_in_turn() -> None:
    buffers = pool()
    held = await buffers.acquire(CHUNK_STORED_MAX_BYTES)
    order: list[int] = []

    async def take(number: int, size: int) -> None:
        with await buffers.acquire(size):
            order.append(number)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(take(n, size)) for n, size in enumerate([16 * MIB, 10, 10])]
    await asyncio.sleep(0)
    assert buffers.try_acquire(1) is None
    held.release()
    await asyncio.wait(tasks)
    assert order == [0, 1, 2]
    assert buffers.outstanding == 0


async def test_timeout_is_busy_and_leaves_nothing() -> None:
    buffers = pool()
    with await buffers.acquire(CHUNK_STORED_MAX_BYTES), pytest.raises(BusyError):
        await buffers.acquire(1, timeout_s=0.01)
    assert buffers.try_acquire(1) is not None


async def test_cancelled_waiter_leaves_nothing_and_lets_the_next_in() -> None:
    buffers = pool()
    held = await buffers.acquire(8 * MIB)
    large = asyncio.create_task(buffers.acquire(16 * MIB))
    small = asyncio.create_task(buffers.acquire(10))
    await asyncio.sleep(0)
    large.cancel()
    await asyncio.wait([large, small])
    small.result().release()
    held.release()
    assert buffers.outstanding == 0


async def test_waiter_cancelled_when_just_served_gives_its_buffer_back() -> None:
    buffers = pool()
    held = await buffers.acquire(16 * MIB)
    waiting = asyncio.create_task(buffers.acquire(10))
    await asyncio.sleep(0)
    held.release()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert buffers.outstanding == 0


async def test_waiter_that_was_cancelled_and_passed_over_is_cancelled_and_nothing_else() -> None:
    buffers = pool()
    held = await buffers.acquire(16 * MIB)
    waiting = [asyncio.create_task(buffers.acquire(10)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    held.release()
    await asyncio.wait(waiting)
    assert waiting[0].cancelled()
    waiting[1].result().release()
    assert buffers.outstanding == 0


async def test_references() -> None:
    buffers = pool()
    buffer = (await buffers.acquire(10)).retain()
    buffer.release()
    assert buffers.outstanding == 1
    buffer.release()
    assert buffers.outstanding == 0
    with pytest.raises(AssertionError):
        buffer.release()


async def test_idle_memory_goes_back_to_the_system() -> None:
    buffers = BufferPool(CHUNK_STORED_MAX_BYTES, idle_s=0.01)
    (await buffers.acquire(4 * MIB)).release()
    assert buffers.kept_bytes
    while buffers.kept_bytes:
        await asyncio.sleep(0.01)


async def test_oversize_is_refused() -> None:
    with pytest.raises(UsageError):
        await pool().acquire(CHUNK_STORED_MAX_BYTES + 1)
    with pytest.raises(UsageError):
        BufferPool(1)
