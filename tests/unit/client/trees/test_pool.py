"""How many files of a tree are under way at once."""

from __future__ import annotations

import asyncio
import resource

import pytest

from collective.client.trees.pool import FEW_DESCRIPTORS, FILES_AT_ONCE, FilePool
from collective.core.errors import ConflictError
from collective.core.limits import CHUNK_SIZE_BYTES, KIB


async def at_once(size_bytes: int, files: int = 100) -> int:
    """Return how many of ``files`` of a size are under way when none ends."""
    begun, go_on = 0, asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        await go_on.wait()

    async def start_all() -> None:
        async with FilePool() as pool:
            for _ in range(files):
                await pool.start(work(), size_bytes)

    starting = asyncio.create_task(start_all())
    for _ in range(5 * files):
        await asyncio.sleep(0)
    most = begun
    go_on.set()
    await starting
    assert begun == files
    return most


@pytest.mark.parametrize(("limit", "small"), [(FEW_DESCRIPTORS, 64), (FEW_DESCRIPTORS - 1, 8)])
async def test_small_files_go_by_many_where_there_are_descriptors_for_them(
    monkeypatch: pytest.MonkeyPatch, limit: int, small: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert await at_once(4 * KIB) == small
    assert await at_once(CHUNK_SIZE_BYTES) == FILES_AT_ONCE
    assert await at_once(1 << 40) == FILES_AT_ONCE


async def test_no_limit_of_descriptors_is_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert await at_once(0) == 64


async def test_the_first_error_ends_the_others_and_leaves_nothing_unawaited() -> None:
    ended = 0

    async def waits() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended += 1

    async def fails() -> None:
        raise ConflictError("It is there.")

    async def start_all() -> None:
        async with FilePool() as pool:
            for work in (waits, waits, fails, *(20 * [waits])):
                await pool.start(work(), CHUNK_SIZE_BYTES)

    with pytest.raises(ConflictError):
        await start_all()
    assert ended == FILES_AT_ONCE - 1
