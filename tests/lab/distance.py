"""``python -m tests.lab.distance``: files at a peer 40 ms away, beside what a connection's window gives there.

Two members on hosts of their own.  Each round moves a large file over one plain TCP connection, over one
with TLS, and as the product does, straight and relayed; a ratio is the median of the rounds' own ratios to
TLS.  Then a tree of small files goes each way.  With and without loss.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from collective.client.collective import Collective
from collective.rpc.tls_links import TlsLinks
from tests.bench.ceiling import tls_context
from tests.bench.certificates import BenchCertificates, make_certificates
from tests.bench.federation.distance import received_mb_s, serve_sender
from tests.bench.federation.files import MIB, median_ratio, read_mb_s
from tests.bench.member import Synthetic, grow_tree
from tests.integration.federation.no_nodes import NoNodes
from tests.lab.houses import LOSS, ONE_WAY_S, Lab, running_lab
from tests.lab.network import Host, why_not
from tests.worlds import REAL

T = TypeVar("T")

FAR: Final = "/@home.bob/shared"
TCP, TLS = "one TCP connection", "one TLS connection"
LEAST: Final = 0.8


@dataclass(slots=True)
class Rates:
    """MB/s of each way, one for each round, in the order in which they were measured."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, found: Mapping[str, float]) -> None:
        """Take a round."""
        for way, rate in found.items():
            self.found.setdefault(way, []).append(rate)

    def lines(self) -> Iterator[str]:
        for way, rates in self.found.items():
            ratio = f"{median_ratio(rates, self.found[TLS]):.2f} TLS"
            spread = f"{min(rates):.1f} to {max(rates):.1f}"
            yield f"  {way:32}{statistics.median(rates):8.1f} MB/s  ({spread})  {ratio}"


def measure(
    lab: Lab, folder: Path, contents: Iterator[int], *, size_bytes: int, rounds: int
) -> Rates:
    """Measure the large file, with the link as it is; all connections stand, and have carried one.

    ``contents``: numbers of contents not used yet, for what is there already is not sent.
    """
    certificates = make_certificates(folder)
    here, there = lab.host("alice"), lab.host("bob")
    credentials, addresses = lab.people["alice"].login()
    rates = Rates()

    async def work() -> None:
        async with (
            Collective.connect(credentials, addresses) as free,
            Collective.connect(credentials, addresses, links=NoNodes(TlsLinks(REAL))) as bound,
        ):
            for number in range(rounds + 1):
                found = {name: received_mb_s(one, size_bytes) for name, one in senders.items()}
                for way, home in (("straight", free), ("relayed", bound)):
                    path = f"{FAR}/large-{way}"
                    begin_s = time.perf_counter()
                    await home.write(path, Synthetic(size_bytes, next(contents)))
                    found[f"written, {way}"] = size_bytes / (time.perf_counter() - begin_s) / 1e6
                    found[f"read, {way}"] = await read_mb_s(home, path, size_bytes)
                if number:
                    rates.add(found)

    with (
        _sender(certificates, here, there, is_tls=False) as plain,
        _sender(certificates, here, there, is_tls=True) as secure,
    ):
        senders = {TCP: plain, TLS: secure}
        _on(here, work)
    return rates


def _at_home(lab: Lab, work: Callable[[Collective], Awaitable[object]]) -> object:
    """Return what ``work`` gets as una, on alice's host."""
    credentials, addresses = lab.people["alice"].login()

    async def run() -> object:
        async with Collective.connect(credentials, addresses) as home:
            return await work(home)

    return _on(lab.host("alice"), run)


def _on(host: Host, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    def run() -> T:
        with host.inside():
            return uvloop.run(work())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


@contextlib.contextmanager
def _sender(
    certificates: BenchCertificates, here: Host, there: Host, *, is_tls: bool
) -> Iterator[socket.socket]:
    """Yield a connection from ``here`` to a process ``there`` that sends what it is asked for."""
    context = multiprocessing.get_context("spawn")
    ours: Connection
    ours, theirs = context.Pipe()
    process = context.Process(target=serve_sender, args=(certificates, is_tls, theirs), daemon=True)
    with there.inside():
        process.start()
    port = ours.recv()
    with here.inside():
        raw = socket.create_connection((there.address, port), timeout=120)
    with tls_context(certificates, server=False).wrap_socket(raw) if is_tls else raw as connection:
        yield connection
    process.join(10)


def trees(lab: Lab, folder: Path, *, files: int) -> Iterator[str]:
    """Move a tree of small files each way; yield a line for each."""
    grow_tree(folder / "tree", files, in_folder=50)
    mine, far = "/shared/tree", f"{FAR}/tree"
    local = str(folder / "tree")
    ways: list[tuple[str, Callable[[Collective], Awaitable[object]]]] = [
        ("put at home", lambda home: home.put_tree(local, mine)),
        ("put at the peer", lambda home: home.put_tree(local, far)),
        ("got from home", lambda home: home.get_tree(mine, str(folder / "a"))),
        ("got from the peer", lambda home: home.get_tree(far, str(folder / "b"))),
        ("copied to the peer", lambda home: home.copy_tree(mine, f"{far}-copied")),
        ("copied from the peer", lambda home: home.copy_tree(far, f"{mine}-copied")),
    ]
    for name, work in ways:
        begin_s = time.perf_counter()
        result = _at_home(lab, work)
        assert getattr(result, "files", 0) == files, result
        took_s = time.perf_counter() - begin_s
        yield f"  {files} files of 4 KiB {name}: {files / took_s:.0f} files/s"


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=1)
    given = parser.parse_args()
    if reason := why_not():
        sys.stderr.write(f"No hosts of their own for members can be made here: {reason}.\n")
        return 1
    contents = itertools.count()
    settings = {"COLLECTIVE_LOG_LEVEL": "warning"}
    with (
        tempfile.TemporaryDirectory() as scratch,
        running_lab(
            Path(scratch) / "lab", members=("alice", "bob"), settings=settings, nodes=given.nodes
        ) as lab,
    ):
        for loss in (0.0, LOSS):
            lab.network.link(one_way_s=ONE_WAY_S, loss=loss)
            sys.stdout.write(
                f"{ONE_WAY_S * 1000:.0f} ms each way, {loss:.0%} lost, {given.size_mib} MiB "
                f"(goal: {LEAST} TLS)\n"
            )
            folder = Path(scratch) / f"loss-{loss}"
            rates = measure(
                lab,
                folder / "certificates",
                contents,
                size_bytes=given.size_mib * MIB,
                rounds=given.rounds,
            )
            for line in rates.lines():
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            if not loss:
                for line in trees(lab, folder, files=given.files):
                    sys.stdout.write(f"{line}\n")
                    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
