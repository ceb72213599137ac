"""kill -9 of every process at random moments, and the checks that follow.

A round: writers run while processes are killed one after another and started again at once; then
everything is killed together, stores and catalogue are checked as they lie on disk, everything is
started and each file is compared with what its journal allows.  All choices come from one seed; how
the machine schedules the processes does not, so a seed repeats a run only roughly.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw

from collective.chunking.store import ChunkStore
from collective.client.collective import Collective
from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, Generation
from collective.core.units import Address
from collective.model.entries import EntryKind
from collective.pki.credentials import load_credentials
from tests.faults.crash_journal import Manifest, Value
from tests.integration.cluster import Cluster, Service
from tests.worlds import REAL

SETTINGS: Final = {
    "COLLECTIVE_LOG_LEVEL": "info",
    "COLLECTIVE_HEARTBEAT_INTERVAL": "0.3",
    "COLLECTIVE_NODE_SUSPECT_AFTER": "1",
    "COLLECTIVE_NODE_DOWN_AFTER": "2",
    "COLLECTIVE_COLLECTION_GRACE": "3",
    "COLLECTIVE_SNAPSHOT_INTERVAL": "7",
}
STARTING_EVERY: Final = 4
"""One kill of so many hits processes that start; the others come when writes can succeed."""
WORKING_TIMEOUT_S: Final = 120.0
ACKNOWLEDGED: Final = b'"code": "ok"'
READ_TRIES: Final = 3
PARALLEL_READS: Final = 8
HEAL_TIMEOUT_S: Final = 720.0
"""What a killed writer sent counts as short once it has been quiet for 300 s, and repair may rest as long."""
LOG_TAIL_CHARS: Final = 6000
STORE_CAPACITY: Final = 1 << 34


@dataclass(slots=True)
class WriterProcess:
    """One client process, started again whenever it was killed."""

    command: list[str]
    environment: dict[str, str]
    journal: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.journal.stem

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self.journal.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def describe(self) -> str:
        """Return how the process ended, with the end of its log."""
        code = None if self.process is None else self.process.poll()
        tail = self.journal.with_suffix(".log").read_text(errors="replace")[-LOG_TAIL_CHARS:]
        return f"{self.name} ended with {code}\n{tail}"

    def size(self) -> int:
        """Return the bytes in the journal."""
        return self.journal.stat().st_size if self.journal.exists() else 0

    def since(self, mark: int) -> bytes:
        """Return what the journal got after its first ``mark`` bytes."""
        if not self.journal.exists():
            return b""
        with self.journal.open("rb") as file:
            file.seek(mark)
            return file.read()


@dataclass(slots=True)
class CrashRun:
    """A cluster, its writers, and what was seen so far."""

    cluster: Cluster
    seed: int
    writers: int = 2
    tasks: int = 5
    paths: int = 12
    pause_s: tuple[float, float] = (0.1, 1.3)
    manifest: Manifest = field(default_factory=Manifest)
    kills: Counter[str] = field(default_factory=Counter)
    waits_in_vain: int = 0
    reads: int = 0
    copies_verified: int = 0
    clients: list[WriterProcess] = field(default_factory=list)
    draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.cluster.cli("mkdir", "-p", "/crash")
        for number in range(1, self.writers + 1):
            journal = self.cluster.folder / f"writer-{number}.journal"
            command = [
                sys.executable, "-X", "faulthandler", "-m", "tests.faults.crash_writer", *self.cluster.operator,
                "--journal", str(journal), "--seed", str(self.seed), "--writer", str(number),
                "--tasks", str(self.tasks), "--paths", str(self.paths),
            ]  # fmt: skip
            environment = self.cluster.client_environment
            self.clients.append(WriterProcess(command, environment, journal))

    @property
    def killed(self) -> int:
        """Processes killed so far."""
        return self.kills.total()

    @property
    def services(self) -> list[Service]:
        return list(self.cluster.services.values())

    def round(self, kills: int) -> None:
        """Kill ``kills`` processes while files are written, then check everything."""
        for client in self.clients:
            client.start()
        self.chaos(kills)
        for process in self.everything():
            self.kill(process)
        for client in self.clients:
            self.manifest.follow(client.journal)
        assert not self.manifest.wrong, "\n".join(self.manifest.wrong)
        self.check_disks()
        self.cluster.start()
        asyncio.run(self.check_files())

    def chaos(self, kills: int) -> None:
        """Kill one process after another, starting each again at once."""
        for number in range(kills):
            if number % STARTING_EVERY:
                self.wait_until_working()
            time.sleep(self.draw.uniform(*self.pause_s))
            processes = self.everything()
            dead = [one.describe() for one in self.clients if not one.is_running]
            dead += [one.log_tail() for one in self.services if not one.is_running]
            assert not dead, "Ended by themselves:\n" + "\n".join(dead)
            victim = self.draw.choice(processes)
            self.kill(victim)
            victim.start()

    def wait_until_working(self) -> None:
        """Wait, for a bounded time, until a change is acknowledged."""
        marks = [client.size() for client in self.clients]
        deadline = time.monotonic() + WORKING_TIMEOUT_S
        while time.monotonic() < deadline:
            fresh = (c.since(mark) for c, mark in zip(self.clients, marks, strict=True))
            if any(ACKNOWLEDGED in lines for lines in fresh):
                return
            time.sleep(0.03)
        self.waits_in_vain += 1

    def everything(self) -> list[Service | WriterProcess]:
        """Return all processes."""
        return [*self.services, *self.clients]

    def kill(self, process: Service | WriterProcess) -> None:
        """kill -9, counted."""
        process.kill()
        self.kills[process.name] += 1

    def end(self) -> None:
        """Leave nothing running of this run's own."""
        for client in self.clients:
            if client.is_running:
                client.kill()

    # --- as it lies on disk ----------------------------------------------------------------------

    def check_disks(self) -> None:
        """Check catalogue and stores of dead processes, and one against the other."""
        with tempfile.TemporaryDirectory(dir=self.cluster.folder) as folder:
            recorded = self._check_catalog(Path(folder))
        for node in self.cluster.nodes:
            stored = asyncio.run(self._check_store(node))
            lost = recorded.get(node.name, set()) - stored
            assert not lost, f"{node.name} lacks {len(lost)} copies that the catalogue counts"

    def _check_catalog(self, folder: Path) -> dict[str, set[tuple[ChunkId, Generation]]]:
        """Check a copy of the catalogue; return the copies that it counts, by node."""
        source = self.cluster.data_dir("coordinator") / "catalog"
        for suffix in ("", "-wal"):
            if (source / f"catalog.db{suffix}").exists():
                shutil.copy(source / f"catalog.db{suffix}", folder)
        db = apsw.Connection(str(folder / "catalog.db"))
        try:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            restored = db.execute("SELECT restored FROM state").fetchall()
            assert restored == [(0,)], "a killed coordinator went on from a snapshot"
            miscounted = db.execute(
                "SELECT id FROM chunks WHERE stored <> (SELECT count(*) FROM copies"
                " WHERE copies.chunk = chunks.id AND copies.state = 1)"
            ).fetchall()
            assert miscounted == []
            recorded: dict[str, set[tuple[ChunkId, Generation]]] = {}
            for name, chunk, generation in db.execute(
                "SELECT nodes.name, chunks.hash, copies.generation FROM copies"
                " JOIN nodes ON nodes.id = copies.node JOIN chunks ON chunks.id = copies.chunk"
                " WHERE copies.state = 1"
            ):
                copy = (ChunkId(bytes(chunk)), Generation(int(generation)))
                recorded.setdefault(str(name), set()).add(copy)
            return recorded
        finally:
            db.close()

    async def _check_store(self, node: Service) -> set[tuple[ChunkId, Generation]]:
        """Verify every copy of a store; return them."""
        found: set[tuple[ChunkId, Generation]] = set()
        folder = self.cluster.data_dir(node.name) / "node"
        if not (folder / "store.json").exists():
            return found
        async with await ChunkStore.open(str(folder), REAL, capacity_bytes=STORE_CAPACITY) as store:
            async for page in store.inventory():
                for copy in page:
                    await store.verify(copy.chunk, copy.generation)
                    found.add((copy.chunk, copy.generation))
            assert not store.damaged_copies()
            assert not list((folder / "tmp").iterdir()), "temporaries survive the opening"
        self.copies_verified += len(found)
        return found

    # --- as clients see it -----------------------------------------------------------------------

    async def check_files(self) -> None:
        """Compare what is listed and read with what the journals allow."""
        ca, certificate, key = (self.cluster.operator[index] for index in (3, 5, 7))
        credentials = load_credentials(certificate, key, ca, disk=REAL.disk)
        address = Address("127.0.0.1", self.cluster.coordinator_port)
        async with Collective.connect(credentials, [address]) as home:
            sizes = {
                str(entry.path): entry.size_bytes
                async for entry in home.list("/crash", recursive=True)
                if entry.kind is EntryKind.FILE
            }
            paths = sorted(set(self.manifest.allowed) | set(sizes))
            slots = asyncio.Semaphore(PARALLEL_READS)
            problems: list[str] = []

            async def check(path: str) -> None:
                async with slots:
                    value = await self._value(home, path) if path in sizes else None
                if value in self.manifest.may_be(path):
                    self.manifest.settle(path, value)
                else:
                    allowed = sorted(map(str, self.manifest.may_be(path)))
                    problems.append(f"{path} ({sizes.get(path)} bytes) is {value}, not {allowed}")

            async with asyncio.TaskGroup() as group:
                for path in paths:
                    group.create_task(check(path))
            assert not problems, "\n".join(problems)

    async def _value(self, home: Collective, path: str) -> Value:
        """Return a file's SHA-256, or what went wrong."""
        problem = ""
        for _ in range(READ_TRIES):
            digest = hashlib.sha256()
            try:
                async with home.open_read(path) as reader:
                    async for block in reader:
                        digest.update(block)
            except CollectiveError as error:
                problem = f"{error.code}: {error.message}"
                await asyncio.sleep(1)
                continue
            self.reads += 1
            return digest.hexdigest()
        return problem

    def heal(self) -> None:
        """Wait until no chunk is short of copies any more."""

        def whole(status: dict[str, dict[str, int]]) -> bool:
            chunks = status["chunks"]
            return chunks["unavailable"] == 0 and chunks["under_replicated"] == 0

        self.cluster.wait_status(whole, "chunks all in full number", HEAL_TIMEOUT_S)

    def report(self) -> Iterator[str]:
        """Yield what to print."""
        yield f"seed {self.seed}: {self.killed} kills: {dict(sorted(self.kills.items()))}"
        manifest = self.manifest
        yield (
            f"{manifest.acknowledged} changes acknowledged, {manifest.cut_off} cut off by the kill,"
            f" refused: {dict(sorted(manifest.refused.items()))}"
        )
        yield f"{self.waits_in_vain} times nothing was acknowledged for {WORKING_TIMEOUT_S:g} s"
        files = sum(1 for values in manifest.allowed.values() if None not in values)
        yield (
            f"{files} files at the end; {self.reads} files read back,"
            f" {self.copies_verified} copies verified in the stores"
        )
