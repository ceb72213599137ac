"""What every chunk store promises, whatever disk it runs on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.store import ChunkStore, StoredCopy
from collective.core.disk import Disk
from collective.core.errors import (
    CorruptionError,
    DataDirError,
    NoSpaceError,
    NotFoundError,
    UsageError,
)
from collective.core.ids import ChunkId, Generation, StoreUuid
from collective.core.randomness import SeededRandomness
from tests.contract.chunk_store.conftest import CAPACITY, Opener
from tests.faults.disk import FaultDisk
from tests.worlds import world_of

G1, G2 = Generation(1), Generation(2)
SIZES = [0, 1, 100, 1999, 2000, 2001, 70000]


def sample(size: int, seed: int = 1) -> tuple[ChunkId, bytes]:
    data = SeededRandomness(seed).token(size)
    return chunk_id(data), data


async def everything(store: ChunkStore, page_entries: int = 3) -> list[StoredCopy]:
    return [copy async for page in store.inventory(page_entries) for copy in page]


def damage(disk: Disk, data_dir: str, body: bytes, *, cut: bool = False) -> None:
    """Flip a bit in the middle of ``body`` wherever it is stored, or cut the file there."""
    if isinstance(disk, FaultDisk):
        for path in disk.paths():
            content = disk.content(path)
            if (at := content.find(body)) >= 0:
                if cut:
                    del content[at + len(body) // 2 :]
                else:
                    content[at + len(body) // 2] ^= 1
        return
    for file in Path(data_dir).rglob("*"):
        if file.is_file() and (at := file.read_bytes().find(body)) >= 0:
            content = bytearray(file.read_bytes())
            if cut:
                del content[at + len(body) // 2 :]
            else:
                content[at + len(body) // 2] ^= 1
            file.write_bytes(content)


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_put_is_read_also_after_reopening(
    store: ChunkStore, reopen: Opener, size: int
) -> None:
    chunk, data = sample(size)
    await store.put(chunk, G1, [data[: size // 3], memoryview(data)[size // 3 :]])
    for current in (store, None):
        current = current or await reopen(uuid=store.uuid)  # noqa: PLW2901
        buffer = bytearray(size + 10)
        assert await current.get_into(chunk, memoryview(buffer)) == size
        assert buffer[:size] == data
        assert await current.read(chunk, G1) == data
        assert await current.verify(chunk, G1) == size
        assert current.length_of(chunk) == size
        assert await everything(current) == [StoredCopy(chunk, G1, size)]
        assert current.chunk_count == 1
        assert current.used_bytes >= size


@pytest.mark.parametrize("size", [100, 5000])
async def test_bytes_that_are_not_the_chunk_are_not_published(store: ChunkStore, size: int) -> None:
    chunk, _ = sample(size)
    _, other = sample(size, seed=2)
    with pytest.raises(CorruptionError):
        await store.put(chunk, G1, other)
    assert not store.holds(chunk)
    assert store.used_bytes == 0


@pytest.mark.parametrize("size", [100, 5000])
async def test_put_again_is_success_and_costs_nothing(store: ChunkStore, size: int) -> None:
    chunk, data = sample(size)
    await store.put(chunk, G1, data)
    used = store.used_bytes
    await asyncio.gather(*(store.put(chunk, G1, data) for _ in range(5)))
    assert (store.used_bytes, store.chunk_count) == (used, 1)


@pytest.mark.parametrize("size", [100, 5000])
async def test_delete_touches_its_generation_only(
    store: ChunkStore, reopen: Opener, size: int
) -> None:
    chunk, data = sample(size)
    await store.put(chunk, G1, data)
    await store.put(chunk, G2, data)
    assert store.chunk_count == 2
    assert await store.delete(chunk, G1)
    assert not await store.delete(chunk, G1)
    store = await reopen()
    assert await everything(store) == [StoredCopy(chunk, G2, size)]
    assert await store.read(chunk) == data
    with pytest.raises(NotFoundError):
        await store.read(chunk, G1)
    assert await store.delete(chunk, G2)
    assert (await reopen()).chunk_count == 0


async def test_what_is_not_there_is_not_found(store: ChunkStore) -> None:
    chunk, _ = sample(10)
    with pytest.raises(NotFoundError):
        await store.get_into(chunk, memoryview(bytearray(100)))
    with pytest.raises(NotFoundError):
        await store.verify(chunk, G1)
    with pytest.raises(NotFoundError):
        store.length_of(chunk)


async def test_a_buffer_too_small_is_refused(store: ChunkStore) -> None:
    chunk, data = sample(100)
    await store.put(chunk, G1, data)
    with pytest.raises(UsageError):
        await store.get_into(chunk, memoryview(bytearray(99)))


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("size", [500, 5000])
async def test_damage_is_never_returned_and_a_new_put_heals_it(
    store: ChunkStore, disk: Disk, data_dir: str, size: int, cut: bool
) -> None:
    chunk, data = sample(size)
    await store.put(chunk, G1, data)
    damage(disk, data_dir, data, cut=cut)
    with pytest.raises(CorruptionError):
        await store.read(chunk)
    with pytest.raises(CorruptionError):
        await store.verify(chunk, G1)
    await store.put(chunk, G1, data)
    assert await store.read(chunk) == data


@pytest.mark.parametrize("size", [500, 5000])
async def test_another_generation_is_read_when_the_newest_is_damaged(
    store: ChunkStore, disk: Disk, data_dir: str, size: int
) -> None:
    chunk, data = sample(size)
    await store.put(chunk, G2, data)
    damage(disk, data_dir, data)
    await store.put(chunk, G1, data)
    assert await store.read(chunk) == data
    with pytest.raises(CorruptionError):
        await store.read(chunk, G2)


async def test_damage_in_the_middle_of_a_pack_drops_no_later_record(
    store: ChunkStore, reopen: Opener, disk: Disk, data_dir: str
) -> None:
    samples = [sample(300, seed) for seed in range(6)]
    for chunk, data in samples:
        await store.put(chunk, G1, data)
    header_of_second = samples[1][0]
    damage(disk, data_dir, header_of_second)
    damage(disk, data_dir, samples[3][1])
    store = await reopen()
    assert not store.holds(samples[1][0])
    with pytest.raises(CorruptionError):
        await store.read(samples[3][0])
    for position in (0, 2, 4, 5):
        assert await store.read(samples[position][0]) == samples[position][1]


async def test_a_record_inside_a_body_is_never_taken_for_one(
    store: ChunkStore, reopen: Opener, disk: Disk, data_dir: str
) -> None:
    victim, victim_data = sample(300, seed=1)
    await store.put(victim, G1, victim_data)
    await store.delete(victim, G1)
    with disk.open(f"{data_dir}/packs/00000001.pack", "read") as file:
        pack = bytearray(file.size_bytes())
        file.read_into(memoryview(pack), 0)
    forged = bytes(pack[32:])
    chunk = chunk_id(forged)
    await store.put(chunk, G1, forged)
    damage(disk, data_dir, chunk)
    store = await reopen()
    assert not store.holds(victim)
    assert not store.holds(chunk)


async def test_compaction_gives_dead_bytes_back_and_keeps_the_rest(
    store: ChunkStore, reopen: Opener
) -> None:
    samples = [sample(900, seed) for seed in range(30)]
    for chunk, data in samples:
        await store.put(chunk, G1, data)
    for chunk, _ in samples[:20]:
        assert await store.delete(chunk, G1)
    before = store.used_bytes
    freed = await store.compact()
    assert freed > 0
    assert store.used_bytes < before - 10000
    used = store.used_bytes
    store = await reopen()
    assert store.used_bytes == used
    assert await everything(store) == sorted(StoredCopy(c, G1, 900) for c, _ in samples[20:])
    for chunk, data in samples[20:]:
        assert await store.read(chunk) == data


async def test_inventory_is_sorted_and_paged(store: ChunkStore) -> None:
    samples = [sample(size, size) for size in (10, 20, 3000, 4000, 30, 5000, 40)]
    for chunk, data in samples:
        await store.put(chunk, G1, data)
    pages = [page async for page in store.inventory(3)]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [c for page in pages for c in page] == sorted(
        StoredCopy(chunk, G1, len(data)) for chunk, data in samples
    )


async def test_capacity_is_reserved_before_bytes_are_accepted(store: ChunkStore) -> None:
    chunk, data = sample(5000)
    with store.reserve(CAPACITY - 1000) as held:
        with pytest.raises(NoSpaceError):
            store.reserve(1001)
        with pytest.raises(NoSpaceError):
            await store.put(chunk, G1, data)
        await store.put(chunk, G1, data, reservation=held)
        assert held.length == CAPACITY - 6000
    with store.reserve(CAPACITY - 5000):
        pass
    with pytest.raises(NoSpaceError):
        store.reserve(CAPACITY - 4999)
    await store.delete(chunk, G1)
    with store.reserve(CAPACITY):
        pass


@pytest.mark.parametrize("threads", [1, 8])
async def test_concurrent_puts_and_reads_and_deletes(reopen: Opener, threads: int) -> None:
    store = await reopen(threads=threads)
    samples = [sample(100 + 150 * seed, seed) for seed in range(40)]

    async def life(chunk: ChunkId, data: bytes, *, keep: bool) -> None:
        await store.put(chunk, G1, data)
        assert await store.read(chunk) == data
        if not keep:
            assert await store.delete(chunk, G1)

    async with asyncio.TaskGroup() as tasks:
        for position, (chunk, data) in enumerate(samples):
            tasks.create_task(life(chunk, data, keep=position % 3 == 0))
        tasks.create_task(store.compact())
    kept = sorted(StoredCopy(chunk, G1, len(data)) for chunk, data in samples[::3])
    assert await everything(store) == kept
    used = store.used_bytes
    store = await reopen()
    assert await everything(store) == kept
    assert store.used_bytes == used


async def test_a_cancelled_put_ends_before_its_buffer_is_free(store: ChunkStore) -> None:
    chunk, data = sample(5000)
    task = asyncio.create_task(store.put(chunk, G1, data))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.holds(chunk)


async def test_two_processes_on_one_data_dir_are_refused(
    store: ChunkStore, disk: Disk, data_dir: str
) -> None:
    with pytest.raises(DataDirError, match="Another process"):
        await ChunkStore.open(data_dir, world_of(disk=disk), capacity_bytes=CAPACITY)


async def test_an_unmounted_disk_is_refused(disk: Disk, data_dir: str) -> None:
    with pytest.raises(DataDirError, match="mounted"):
        await ChunkStore.open(
            data_dir,
            world_of(disk=disk),
            capacity_bytes=CAPACITY,
            expected_uuid=StoreUuid("0" * 32),
        )
    assert not disk.exists(data_dir)


async def test_a_foreign_store_is_refused_and_unlocked(store: ChunkStore, reopen: Opener) -> None:
    with pytest.raises(DataDirError, match="mounted"):
        await reopen(uuid=StoreUuid("0" * 32))
    assert (await reopen(uuid=store.uuid)).uuid == store.uuid


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"format": 2}', "newer"),
        (b"", "damaged"),
        (b"[]", "damaged"),
        (b'{"format":1}', "damaged"),
    ],
)
async def test_a_store_of_a_newer_version_or_damaged_is_refused(
    disk: Disk, data_dir: str, text: bytes, words: str
) -> None:
    disk.make_dir(data_dir)
    with disk.open(f"{data_dir}/store.json", "create") as file:
        file.write(text, 0)
    with pytest.raises(DataDirError, match=words):
        await ChunkStore.open(data_dir, world_of(disk=disk), capacity_bytes=CAPACITY)


async def test_chunks_without_store_json_are_not_taken_over(
    store: ChunkStore, reopen: Opener, disk: Disk, data_dir: str
) -> None:
    chunk, data = sample(5000)
    await store.put(chunk, G1, data)
    await store.close()
    disk.unlink(f"{data_dir}/store.json")
    with pytest.raises(DataDirError, match=r"no store\.json"):
        await ChunkStore.open(data_dir, world_of(disk=disk), capacity_bytes=CAPACITY)


async def test_temporaries_are_swept(
    store: ChunkStore, reopen: Opener, disk: Disk, data_dir: str
) -> None:
    await store.close()
    with disk.open(f"{data_dir}/tmp/7.tmp", "create") as file:
        file.write(b"half", 0)
    await reopen()
    assert disk.list_dir(f"{data_dir}/tmp") == []


async def test_compaction_never_removes_what_it_could_not_carry(
    store: ChunkStore, reopen: Opener, disk: Disk, data_dir: str
) -> None:
    samples = [sample(900, seed) for seed in range(8)]
    for chunk, data in samples:
        await store.put(chunk, G1, data)
    for chunk, _ in samples[:6]:
        await store.delete(chunk, G1)
    chunk, data = samples[6]
    damage(disk, data_dir, chunk)
    await store.compact()
    assert await store.read(chunk) == data
    assert await store.read(samples[7][0]) == samples[7][1]
    assert await store.delete(chunk, G1)
    assert await (await reopen()).read(samples[7][0]) == samples[7][1]


async def test_a_damaged_copy_can_be_compacted_and_deleted(
    store: ChunkStore, disk: Disk, data_dir: str
) -> None:
    samples = [sample(900, seed) for seed in range(4)]
    for chunk, data in samples:
        await store.put(chunk, G1, data)
    for chunk, _ in samples[:3]:
        await store.delete(chunk, G1)
    chunk, data = samples[3]
    damage(disk, data_dir, data)
    assert await store.compact() > 0
    with pytest.raises(CorruptionError):
        await store.read(chunk)
    assert await store.delete(chunk, G1)
    assert store.chunk_count == 0
