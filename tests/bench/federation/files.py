"""A large file at a peer, beside one at home: straight from the owner's nodes, and through both coordinators.

Every round does all ways one after the other, so that whatever else the machine does meets all alike; a
ratio is the median of the rounds' own ratios.  Rates are MB/s (10^6 bytes).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from collective.client.collective import Collective
from collective.rpc.tls_links import TlsLinks
from tests.bench.member import Synthetic
from tests.bench.report import Row
from tests.integration.cluster import Cluster
from tests.integration.federation.houses import Person, running_houses
from tests.integration.federation.no_nodes import NoNodes
from tests.worlds import REAL

MIB: Final = 1 << 20
WARM_BYTES: Final = 16 * MIB
SETTINGS: Final[Mapping[str, str]] = {"COLLECTIVE_LOG_LEVEL": "warning"}
HOME, DIRECT, RELAYED = "at home", "at a peer, straight", "at a peer, relayed"
LEAST: Final[Mapping[str, float]] = {DIRECT: 0.9, RELAYED: 0.35}
"""Of the rate of reading at home."""


@dataclass(frozen=True, slots=True)
class FileFigures:
    """Rates in MB/s of each way, one for each round."""

    size_bytes: int
    read: dict[str, list[float]]
    write: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to a file."""

    name: str
    client: Collective
    folder: str


def measure_files(folder: Path, *, size_bytes: int, rounds: int) -> FileFigures:
    """Start two members, and measure."""

    def prepare(member: Cluster) -> None:
        for node in member.nodes:  # what is removed lies there for a while
            node.environment["COLLECTIVE_STORAGE_CAPACITY"] = "16GiB"

    with running_houses(folder, "alice", "bob", extra=SETTINGS, prepare=prepare) as houses:
        houses.peer("alice", "bob")
        houses["alice"].cli("mkdir", "/shared")
        houses["bob"].cli("mkdir", "/media")
        una = houses.person("alice", "una", "/shared:read+write")
        houses["bob"].cli("grant", "add", "/media:read+write", "una@home.alice")
        return uvloop.run(_measure(una, size_bytes, rounds))


async def _measure(una: Person, size_bytes: int, rounds: int) -> FileFigures:
    async with _ways(una) as ways:
        figures = FileFigures(
            size_bytes,
            read={way.name: [] for way in ways},
            write={way.name: [] for way in ways},
        )
        number = 0
        for way in ways:
            number += 1
            await _once(way, WARM_BYTES, number)  # opens connections
        for _ in range(rounds):
            for way in ways:
                number += 1
                write, read = await _once(way, size_bytes, number)
                figures.write[way.name].append(write)
                figures.read[way.name].append(read)
    return figures


@asynccontextmanager
async def _ways(una: Person) -> AsyncIterator[list[_Way]]:
    credentials, addresses = una.login()
    async with AsyncExitStack() as stack:
        free = await stack.enter_async_context(Collective.connect(credentials, addresses))
        bound = await stack.enter_async_context(
            Collective.connect(credentials, addresses, links=NoNodes(TlsLinks(REAL)))
        )
        yield [
            _Way(HOME, free, "/shared"),
            _Way(DIRECT, free, "/@home.bob/media"),
            _Way(RELAYED, bound, "/@home.bob/media"),
        ]


async def _once(way: _Way, size_bytes: int, number: int) -> tuple[float, float]:
    """Write a file that is like no other, and read it; return both rates."""
    path = f"{way.folder}/large"
    begin_s = time.perf_counter()
    await way.client.write(path, Synthetic(size_bytes, number))
    write = size_bytes / (time.perf_counter() - begin_s) / 1e6
    read = await read_mb_s(way.client, path, size_bytes)
    await way.client.remove(path)
    return write, read


async def read_mb_s(client: Collective, path: str, size_bytes: int) -> float:
    """Return at what rate a file of ``size_bytes`` is read."""
    begin_s = time.perf_counter()
    received = 0
    async with client.open_read(path) as reader:
        async for block in reader:
            received += len(block)
    assert received == size_bytes
    return size_bytes / (time.perf_counter() - begin_s) / 1e6


def median_ratio(found: list[float], others: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(found, others, strict=True))


def file_rows(figures: FileFigures) -> list[Row]:
    """Return the lines of the table."""
    rows = []
    for what, found in (("read", figures.read), ("write", figures.write)):
        for way, rates in found.items():
            ratio = median_ratio(rates, found[HOME])
            least = LEAST.get(way) if what == "read" else None
            rows.append(
                Row(
                    f"{figures.size_bytes // MIB} MiB {way}: {what}",
                    f"{statistics.median(rates):.0f} MB/s",
                    "" if way == HOME else f"{ratio:.2f} home",
                    "" if least is None else f">= {least:g} home",
                    None if least is None else ratio >= least,
                )
            )
    return rows
