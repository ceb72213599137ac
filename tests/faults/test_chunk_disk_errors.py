"""A disk that is full, fails, or lies: a typed error, nothing wrong returned, nothing lost."""

from __future__ import annotations

import errno

import pytest

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.store import StoreCore, StoreOptions
from collective.core.errors import CorruptionError, NoSpaceError, OperatorError
from collective.core.ids import Generation
from collective.core.randomness import SeededRandomness
from tests.faults.chunk_workload import BIG, OPTIONS, SMALL
from tests.faults.disk import FaultDisk, Faults, Loss, PowerLostError

G1 = Generation(1)
SIZES = [SMALL, BIG]


def open_store(disk: FaultDisk, options: StoreOptions = OPTIONS) -> StoreCore:
    return StoreCore.open(
        "/srv/node",
        disk,
        capacity_bytes=1 << 20,
        randomness=SeededRandomness(1),
        options=options,
    )


def sample(size: int, seed: int = 1) -> bytes:
    return SeededRandomness(seed).token(size)


@pytest.mark.parametrize("size", SIZES)
def test_a_full_disk_refuses_and_recovers(size: int) -> None:
    disk = FaultDisk()
    store = open_store(disk)
    first, second = sample(size, 1), sample(size, 2)
    store.put(chunk_id(first), G1, first)
    used = store.used_bytes
    disk.faults.write_errno = errno.ENOSPC
    with pytest.raises(NoSpaceError, match="full"):
        store.put(chunk_id(second), G1, second)
    assert not store.holds(chunk_id(second))
    assert store.used_bytes == used
    assert store.read(chunk_id(first)) == first
    disk.faults.write_errno = 0
    store.put(chunk_id(second), G1, second)
    store.close()
    disk.restart(Loss.DROP)
    store = open_store(disk)
    assert store.read(chunk_id(first)) == first
    assert store.read(chunk_id(second)) == second


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("size", SIZES)
def test_a_failed_flush_acknowledges_nothing_and_the_retry_is_durable(
    size: int, loss: Loss
) -> None:
    disk = FaultDisk()
    store = open_store(disk)
    first, second = sample(size, 1), sample(size, 2)
    store.put(chunk_id(first), G1, first)
    disk.faults.flush_errno = errno.EIO
    with pytest.raises(OperatorError, match="disk failed"):
        store.put(chunk_id(second), G1, second)
    assert not store.holds(chunk_id(second))
    with pytest.raises(OperatorError, match="disk failed"):
        store.delete(chunk_id(first), G1)
    disk.faults.flush_errno = 0
    store.put(chunk_id(second), G1, second)
    assert store.delete(chunk_id(first), G1)
    disk.restart(loss, seed=3)
    store = open_store(disk)
    assert store.read(chunk_id(second)) == second
    assert not store.holds(chunk_id(first))


def test_a_failed_delete_of_a_small_chunk_leaves_it_readable() -> None:
    disk = FaultDisk()
    store = open_store(disk)
    data = sample(SMALL)
    store.put(chunk_id(data), G1, data)
    disk.faults.write_errno = errno.EIO
    with pytest.raises(OperatorError):
        store.delete(chunk_id(data), G1)
    disk.faults.write_errno = 0
    assert store.read(chunk_id(data)) == data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "faults", [Faults(flip_reads=True), Faults(short_reads=True), Faults(read_errno=errno.EIO)]
)
def test_a_lying_disk_is_caught(size: int, faults: Faults) -> None:
    disk = FaultDisk()
    store = open_store(disk)
    data = sample(size)
    store.put(chunk_id(data), G1, data)
    disk.faults = faults
    with pytest.raises(CorruptionError):
        store.read(chunk_id(data))
    with pytest.raises(CorruptionError):
        store.verify(chunk_id(data), G1)
    disk.faults = Faults()
    assert store.verify(chunk_id(data), G1) == size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_a_process_short_of_something_takes_no_copy_for_damaged(size: int, number: int) -> None:
    disk = FaultDisk()
    store = open_store(disk)
    data = sample(size)
    store.put(chunk_id(data), G1, data)
    disk.faults = Faults(read_errno=number)
    with pytest.raises(OperatorError):
        store.read(chunk_id(data))
    with pytest.raises(OperatorError):
        store.verify(chunk_id(data), G1)
    assert not store.damaged_copies()


def test_a_margin_of_free_space_is_never_used() -> None:
    disk = FaultDisk(free_bytes=10_000)
    store = open_store(disk, StoreOptions(free_margin_bytes=4_000))
    with store.reserve(6_000), pytest.raises(NoSpaceError, match="almost full"):
        store.reserve(1)
    with pytest.raises(NoSpaceError, match="almost full"):
        store.reserve(6_001)


def test_a_disk_that_fails_at_open_is_reported_and_unlocked() -> None:
    disk = FaultDisk()
    open_store(disk).close()
    disk.faults.flush_errno = errno.EIO
    with pytest.raises(OperatorError, match="disk failed"):
        open_store(disk)
    disk.faults.flush_errno = 0
    open_store(disk).close()


@pytest.mark.parametrize("loss", list(Loss))
def test_a_store_opens_on_a_read_only_disk_serves_and_writes_again_later(loss: Loss) -> None:
    disk = FaultDisk()
    store = open_store(disk)
    small, big, never = sample(SMALL, 1), sample(BIG, 2), sample(SMALL, 3)
    for content in (small, big):
        store.put(chunk_id(content), G1, content)
    disk.faults.crash_at = disk.operations + 1  # in the middle of the write
    with pytest.raises(PowerLostError):
        store.put(chunk_id(never), G1, never)
    disk.restart(loss, faults=Faults(read_only=True))
    before = {path: bytes(disk.content(path)) for path in disk.paths()}
    store = open_store(disk)
    for content in (small, big):
        assert store.read(chunk_id(content)) == content
    with pytest.raises(OperatorError, match="cannot be written"):
        store.put(chunk_id(never), G1, never)
    with pytest.raises(OperatorError, match="cannot be written"):
        store.delete(chunk_id(small), G1)
    assert {path: bytes(disk.content(path)) for path in disk.paths()} == before
    disk.faults.read_only = False
    for size in (SMALL, BIG):
        content = sample(size, 4)
        store.put(chunk_id(content), G1, content)
    store.close()
    disk.restart(Loss.DROP)
    store = open_store(disk)
    for content in (small, big, sample(SMALL, 4), sample(BIG, 4)):
        assert store.read(chunk_id(content)) == content


def test_a_disk_that_stays_full_leaves_no_heap_of_empty_packs() -> None:
    disk = FaultDisk()
    store = open_store(disk)
    content = sample(SMALL)
    store.put(chunk_id(content), G1, content)
    disk.faults.flush_errno = errno.ENOSPC
    for _ in range(20):
        with pytest.raises(NoSpaceError):
            store.delete(chunk_id(content), G1)
    disk.faults.flush_errno = 0
    assert sum(path.endswith(".pack") for path in disk.paths()) <= 2
    assert store.delete(chunk_id(content), G1)
    store.compact()
    store.close()
    disk.restart(Loss.DROP)
    assert not open_store(disk).holds(chunk_id(content))
