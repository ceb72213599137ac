from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from collective.chunking.store import ChunkStore
from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, Generation
from collective.core.limits import KIB, MIB
from collective.core.randomness import SeededRandomness
from collective.core.work import IDLE
from collective.roles.node.bad_copies import Problems
from collective.roles.node.metrics import NodeMetrics
from collective.roles.node.scrub import Progress, Scrubber, pace_s
from collective.roles.node.storage import NodeStorage
from collective.roles.runtime.metrics import Metrics
from tests.worlds import REAL, world_of

FIRST = Generation(1)


class Bench:
    """A scrubber over a real store, with time that only moves when it sleeps."""

    def __init__(self, folder: Path, store: ChunkStore) -> None:
        self.folder = folder
        self.store = store
        self.clock = ManualClock()
        self.problems = Problems()
        metrics = NodeMetrics(Metrics())
        self.storage = NodeStorage(store, self.problems, metrics, REAL.clock)
        self.slept_s = 0.0
        self.scrubber = Scrubber(
            store,
            self.storage,
            metrics,
            world_of(self.clock),
            path=str(folder / "scrub.json"),
            cycle_s=30 * 86400.0,
        )

    async def cycle(self, progress: Progress | None = None) -> Progress:
        """Run the worker to the end of a cycle, with ``progress`` kept by an earlier process."""
        if progress is not None:
            kept = {"started_s": progress.started_s, "after": progress.after.hex()}
            text = json.dumps({**kept, "finished": progress.finished})
            (self.folder / "scrub.json").write_text(text)
        while self.scrubber.progress is None or not self.scrubber.progress.finished:
            outcome = await self.scrubber.work()
            self.slept_s += outcome.rest_s
            self.clock.advance(outcome.rest_s)
        return self.scrubber.progress

    async def put(self, content: bytes) -> ChunkId:
        chunk = ChunkId(blake3(content).digest())
        await self.store.put(chunk, FIRST, content)
        return chunk

    def damage(self, chunk: ChunkId) -> None:
        (path,) = (self.folder / "store").rglob(f"*{chunk.hex()}*")
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await ChunkStore.open(
        str(tmp_path / "store"),
        world_of(randomness=SeededRandomness(1)),
        capacity_bytes=64 * MIB,
        threads=2,
    )
    async with store:
        yield Bench(tmp_path, store)


async def test_a_flipped_bit_is_found_and_noted(bench: Bench) -> None:
    good = await bench.put(b"a" * (300 * KIB))
    bad = await bench.put(b"b" * (300 * KIB))
    bench.damage(bad)
    finished = await bench.cycle()
    assert finished.finished
    assert await bench.scrubber.work() == IDLE, "a new cycle begins when this one's time is over"
    bench.clock.advance(30 * 86400.0)
    assert await bench.scrubber.work() != IDLE
    assert bench.problems.batch() == {(bad, FIRST): True}
    assert (good, FIRST) not in bench.problems.batch()


async def test_a_vanished_file_is_noted(bench: Bench) -> None:
    gone = await bench.put(b"c" * (300 * KIB))
    (path,) = (bench.folder / "store").rglob(f"*{gone.hex()}*")
    path.unlink()
    await bench.cycle()
    assert list(bench.problems.batch()) == [(gone, FIRST)]


async def test_a_cycle_goes_on_where_it_stopped(bench: Bench) -> None:
    chunks = sorted([await bench.put(bytes([n]) * (300 * KIB)) for n in range(4)])
    for chunk in chunks:
        bench.damage(chunk)
    await bench.cycle(Progress(0.0, after=chunks[1]))
    assert [chunk for chunk, _ in bench.problems.batch()] == chunks[2:]


async def test_corruption_met_by_a_reader_is_noted_for_the_coordinator(bench: Bench) -> None:
    bad = await bench.put(b"d" * (300 * KIB))
    bench.damage(bad)
    with pytest.raises(Exception, match="damaged"):
        await bench.storage.get_into(bad, memoryview(bytearray(300 * KIB)))
    assert bench.problems.batch() == {(bad, FIRST): True}


def test_the_pace_spreads_a_large_store_over_the_cycle() -> None:
    used = 10 * 1024**4
    assert pace_s(used, used, 30 * 86400.0) == pytest.approx(30 * 86400.0)


async def test_scrubbing_is_a_trickle(bench: Bench) -> None:
    for number in range(4):
        await bench.put(bytes([number]) * (300 * KIB))
    await bench.cycle()
    assert bench.slept_s >= 4 * 300 / 64
