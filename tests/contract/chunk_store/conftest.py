"""The same suite runs on the machine's disk and on the fault disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from collective.chunking.store import ChunkStore, StoreOptions
from collective.core.disk import Disk, OsDisk
from collective.core.ids import StoreUuid
from tests.faults.disk import FaultDisk
from tests.worlds import world_of

CAPACITY = 1 << 20
OPTIONS = StoreOptions(
    small_max_bytes=2000, pack_max_bytes=8000, batch_max_bytes=4000, free_margin_bytes=0
)
Opener: TypeAlias = Callable[..., Awaitable[ChunkStore]]


@pytest.fixture(params=["os", "fault"])
def disk(request: pytest.FixtureRequest) -> Disk:
    return OsDisk() if request.param == "os" else FaultDisk()


@pytest.fixture
def data_dir(disk: Disk, tmp_path: Path) -> str:
    if isinstance(disk, FaultDisk):
        return "/srv/node"
    return str(tmp_path / "a" / "node")


@pytest.fixture
async def reopen(disk: Disk, data_dir: str) -> AsyncIterator[Opener]:
    opened: list[ChunkStore] = []

    async def again(
        *, uuid: StoreUuid | None = None, capacity: int = CAPACITY, threads: int = 4
    ) -> ChunkStore:
        while opened:
            await opened.pop().close()
        store = await ChunkStore.open(
            data_dir,
            world_of(disk=disk),
            capacity_bytes=capacity,
            expected_uuid=uuid,
            options=OPTIONS,
            threads=threads,
        )
        opened.append(store)
        return store

    yield again
    for store in opened:
        await store.close()


@pytest.fixture
async def store(reopen: Opener) -> ChunkStore:
    return await reopen()
