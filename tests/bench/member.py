"""A real member (one coordinator, three nodes) as a client program sees it.

The processes are those that users run, started by the harness of the integration tests; the client
is the library, in this process.  Times are wall-clock seconds or milliseconds, rates MB/s (10^6
bytes), memory MB (10^6 bytes).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop

from collective.client.collective import Collective
from collective.core.units import Address
from collective.pki.credentials import load_credentials
from tests.bench.ceiling import payload
from tests.bench.pacing import at_once
from tests.integration.cluster import Cluster
from tests.worlds import REAL

BLOCK_BYTES = 8 << 20
SMALL_BYTES = 4096
MARK_BYTES = 8
TREE_FOLDER_FILES = 100
LIST_ENTRIES = 10_000
WARM_OPENS = 40
COLD_OPENS = 11

Connect = Callable[[], AbstractAsyncContextManager[Collective]]


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds a GiB and greatest resident memory of one kind of process in one phase."""

    client_cpu_s_gib: float
    coordinator_cpu_s_gib: float
    nodes_cpu_s_gib: float
    client_peak_mb: float
    coordinator_peak_mb: float
    node_peak_mb: float


@dataclass(frozen=True, slots=True)
class FirstByteFigures:
    """Until the first bytes of a large file are here, verified; medians."""

    warm_ms: float
    """On connections that stand; from the file's start and from its middle by turns."""
    cold_ms: float
    """With the connections that it needs."""


@dataclass(frozen=True, slots=True)
class WholeFileFigures:
    """One large file, written and read."""

    write_mb_s: float
    read_mb_s: float
    first_bytes: FirstByteFigures
    write_usage: Usage
    read_usage: Usage


@dataclass(frozen=True, slots=True)
class Latencies:
    """Many small operations."""

    per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class SmallFileFigures:
    """4 KiB files, one at a time and 16 at once."""

    put_1: Latencies
    put_16: Latencies
    get_1: Latencies
    get_16: Latencies


@dataclass(frozen=True, slots=True)
class TreeFigures:
    """A tree of 4 KiB files, 100 in a folder, as ``put``, ``get`` and ``rm -r`` move it: files a second."""

    put_per_s: float
    unchanged_per_s: float
    """Put once more, with nothing to send, as the command does it: with its notes of what it has sent."""
    compared_per_s: float
    """The same without notes: each file is compared with what is stored."""
    get_per_s: float
    remove_per_s: float


@dataclass(frozen=True, slots=True)
class MetadataFigures:
    """Calls that move no data."""

    stat_1: Latencies
    stat_16: Latencies
    list_10000_s: float


@dataclass(frozen=True, slots=True)
class IdleFigures:
    """A minute after start: proportional set size and share of one core."""

    coordinator_pss_mb: float
    node_pss_mb: float
    coordinator_cpu_percent: float
    node_cpu_percent: float


def pss_mb(pid: int) -> float:
    """Return the proportional set size of a process in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError


def reset_peak(pid: int) -> None:
    """Let the kernel count a process's peak memory anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pid: int) -> float:
    """Return the greatest resident size of a process since the last reset, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError


def measure_idle(cluster: Cluster, *, wait_s: float, sample_s: float) -> IdleFigures:
    """Leave a fresh member alone for ``wait_s`` seconds, then look at it for ``sample_s``."""
    time.sleep(wait_s)

    def cpu_s(pid: int) -> float:
        return float(sum(psutil.Process(pid).cpu_times()[:2]))

    coordinator = cluster.coordinator.pid
    nodes = [node.pid for node in cluster.nodes]
    before = cpu_s(coordinator), [cpu_s(pid) for pid in nodes]
    time.sleep(sample_s)
    after = cpu_s(coordinator), [cpu_s(pid) for pid in nodes]
    return IdleFigures(
        coordinator_pss_mb=pss_mb(coordinator),
        node_pss_mb=max(pss_mb(pid) for pid in nodes),
        coordinator_cpu_percent=100 * (after[0] - before[0]) / sample_s,
        node_cpu_percent=100
        * max(b - a for a, b in zip(before[1], after[1], strict=True))
        / sample_s,
    )


class _Watch:
    """CPU and peak memory of client, coordinator and nodes between two moments."""

    def __init__(self, cluster: Cluster) -> None:
        self._client = psutil.Process().pid
        self._coordinator = cluster.coordinator.pid
        self._nodes = [node.pid for node in cluster.nodes]
        for pid in self._all:
            reset_peak(pid)
        self._before = self._cpu()

    @property
    def _all(self) -> list[int]:
        return [self._client, self._coordinator, *self._nodes]

    def _cpu(self) -> dict[int, float]:
        return {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in self._all}

    def end(self, size_bytes: int) -> Usage:
        """Return what was used for ``size_bytes`` of file."""
        after = self._cpu()
        used = {pid: (after[pid] - self._before[pid]) / size_bytes * (1 << 30) for pid in after}
        return Usage(
            client_cpu_s_gib=used[self._client],
            coordinator_cpu_s_gib=used[self._coordinator],
            nodes_cpu_s_gib=sum(used[pid] for pid in self._nodes),
            client_peak_mb=peak_mb(self._client),
            coordinator_peak_mb=peak_mb(self._coordinator),
            node_peak_mb=max(peak_mb(pid) for pid in self._nodes),
        )


class Synthetic:
    """A file object of ``size_bytes`` in which no two chunks are equal, at the cost of a copy.

    Two files share no chunk either where ``number`` differs.
    """

    def __init__(self, size_bytes: int, number: int = 0) -> None:
        self._block = memoryview(payload(BLOCK_BYTES))
        self._size = size_bytes
        self._at = 0
        self._first_mark = number << 48

    def readinto(self, buffer: memoryview) -> int:
        """Fill ``buffer``; return the bytes filled."""
        count = min(len(buffer), self._size - self._at, BLOCK_BYTES)
        buffer[:count] = self._block[:count]
        if count >= MARK_BYTES:
            buffer[:MARK_BYTES] = (self._first_mark + self._at).to_bytes(MARK_BYTES, "big")
        self._at += count
        return count


async def _whole_file(
    cluster: Cluster, connect: Connect, home: Collective, size_bytes: int
) -> WholeFileFigures:
    await home.mkdir("/bench", parents=True)
    await home.write("/bench/warm", Synthetic(64 << 20))
    watch = _Watch(cluster)
    begin = time.perf_counter()
    await home.write("/bench/large", Synthetic(size_bytes))
    write_s = time.perf_counter() - begin
    write_usage = watch.end(size_bytes)
    watch = _Watch(cluster)
    begin = time.perf_counter()
    received = 0
    async with home.open_read("/bench/large") as reader:
        async for block in reader:
            received += len(block)
    read_s = time.perf_counter() - begin
    assert received == size_bytes
    read_usage = watch.end(size_bytes)
    first_bytes = await _first_bytes(connect, home, size_bytes)
    await home.remove("/bench/large")
    return WholeFileFigures(
        write_mb_s=size_bytes / write_s / 1e6,
        read_mb_s=size_bytes / read_s / 1e6,
        first_bytes=first_bytes,
        write_usage=write_usage,
        read_usage=read_usage,
    )


async def _first_bytes(connect: Connect, home: Collective, size_bytes: int) -> FirstByteFigures:
    warm, cold = [], []
    for number in range(WARM_OPENS):
        begin = time.perf_counter()
        async with home.open_read("/bench/large", offset=(number % 2) * size_bytes // 2) as reader:
            async for _ in reader:
                warm.append(time.perf_counter() - begin)
                break
    for _ in range(COLD_OPENS):
        begin = time.perf_counter()
        async with connect() as fresh, fresh.open_read("/bench/large") as reader:
            async for _ in reader:
                cold.append(time.perf_counter() - begin)
                break
    return FirstByteFigures(
        warm_ms=statistics.median(warm) * 1e3, cold_ms=statistics.median(cold) * 1e3
    )


async def timed(calls: Sequence[Callable[[], Coroutine[Any, Any, Any]]], width: int) -> Latencies:
    """Run ``calls``, ``width`` at a time, and return how long each took."""
    times: list[float] = []

    def wrap(
        call: Callable[[], Coroutine[Any, Any, Any]],
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        async def one() -> None:
            begin = time.perf_counter()
            await call()
            times.append(time.perf_counter() - begin)

        return one

    total_s = await at_once([wrap(call) for call in calls], width)
    ordered = sorted(times)
    return Latencies(
        per_s=len(calls) / total_s,
        p50_ms=statistics.median(ordered) * 1e3,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1e3,
    )


async def _small_files(home: Collective, count: int) -> SmallFileFigures:
    await home.mkdir("/bench/small", parents=True)
    base = bytes(payload(SMALL_BYTES))

    def content(number: int) -> bytes:
        return number.to_bytes(8, "big") + base[8:]

    def put(folder: str, number: int) -> Callable[[], Coroutine[Any, Any, Any]]:
        return lambda: home.write(f"/bench/small/{folder}-{number}", content(number))

    def get(folder: str, number: int) -> Callable[[], Coroutine[Any, Any, Any]]:
        async def read() -> None:
            assert await home.read(f"/bench/small/{folder}-{number}") == content(number)

        return read

    await timed([put("warm", number) for number in range(count, count + 20)], 4)
    numbers = range(2 * count, 3 * count)
    more = range(4 * count, 5 * count)
    put_1 = await timed([put("one", number) for number in numbers], 1)
    put_16 = await timed([put("many", number) for number in more], 16)
    get_1 = await timed([get("one", number) for number in numbers], 1)
    get_16 = await timed([get("many", number) for number in more], 16)
    return SmallFileFigures(put_1=put_1, put_16=put_16, get_1=get_1, get_16=get_16)


def grow_tree(tree: Path, files: int, *, in_folder: int) -> None:
    """Make a local tree of ``files`` files of 4 KiB, no two of them equal, ``in_folder`` in each folder."""
    base = bytes(payload(SMALL_BYTES))[MARK_BYTES:]
    for number in range(files):
        folder = tree / f"folder-{number // in_folder:04}"
        folder.mkdir(parents=True, exist_ok=True)
        mark = (1 << 56 | number).to_bytes(MARK_BYTES, "big")
        (folder / f"file-{number:06}").write_bytes(mark + base)


async def _tree(connect: Connect, noting: Connect, folder: Path, files: int) -> TreeFigures:
    """Move a tree; ``noting`` makes a client that keeps notes, ``connect`` one that keeps none."""
    grow_tree(folder / "tree", files, in_folder=TREE_FOLDER_FILES)
    rates = []

    async def rate(work: Coroutine[Any, Any, object]) -> None:
        begin = time.perf_counter()
        await work
        rates.append(files / (time.perf_counter() - begin))

    tree = str(folder / "tree")
    async with noting() as home:
        await rate(home.put_tree(tree, "/bench/tree"))
        await rate(home.put_tree(tree, "/bench/tree"))
    async with connect() as home:
        await rate(home.put_tree(tree, "/bench/tree"))
        await rate(home.get_tree("/bench/tree", str(folder / "got")))
        await rate(home.remove("/bench/tree", recursive=True))
    assert sum(path.is_file() for path in (folder / "got").rglob("*")) == files
    return TreeFigures(*rates)


async def _metadata(home: Collective, calls: int, entries: int) -> MetadataFigures:
    await home.mkdir("/bench/list", parents=True)
    await timed(
        [lambda n=n: home.write(f"/bench/list/entry-{n:05}", b"") for n in range(entries)],  # type: ignore[misc]
        16,
    )
    stat = [lambda: home.stat("/bench/list/entry-00001")] * calls
    await timed(stat[:50], 4)
    stat_1 = await timed(stat, 1)
    stat_16 = await timed(stat * 3, 16)
    begin = time.perf_counter()
    found = [entry async for entry in home.list("/bench/list")]
    list_s = time.perf_counter() - begin
    assert len(found) == entries
    return MetadataFigures(stat_1=stat_1, stat_16=stat_16, list_10000_s=list_s)


@dataclass(frozen=True, slots=True)
class MemberFigures:
    """Everything measured at one member."""

    whole: WholeFileFigures
    small: SmallFileFigures
    tree: TreeFigures
    metadata: MetadataFigures


def measure_member(
    cluster: Cluster,
    folder: Path,
    *,
    file_bytes: int,
    small_files: int,
    tree_files: int,
    calls: int,
    entries: int,
) -> MemberFigures:
    """Run every measurement of this module but the idle one on a started member.

    A local tree is made in ``folder``.
    """
    certs = cluster.cert_dir("coordinator")
    base = certs / "coordinators" / f"{cluster.member}-coordinator"
    credentials = load_credentials(
        f"{base}.crt", f"{base}.key", str(certs / "ca" / f"{cluster.member}-ca.crt"), disk=REAL.disk
    )
    address = Address("127.0.0.1", cluster.coordinator_port)

    def connect() -> AbstractAsyncContextManager[Collective]:
        return Collective.connect(credentials, (address,))

    def noting() -> AbstractAsyncContextManager[Collective]:
        return Collective.connect(credentials, (address,), state_dir=str(folder / "state"))

    async def run() -> MemberFigures:
        async with connect() as home:
            whole = await _whole_file(cluster, connect, home, file_bytes)
            small = await _small_files(home, small_files)
            tree = await _tree(connect, noting, folder, tree_files)
            metadata = await _metadata(home, calls, entries)
        return MemberFigures(whole, small, tree, metadata)

    return uvloop.run(run())
