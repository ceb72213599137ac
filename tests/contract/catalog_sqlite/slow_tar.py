"""A backup program that copies files one by one while they change, and the member that changes them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.disk import DiskFile, OpenMode, OsDisk, OsDiskFile
from collective.core.randomness import SeededRandomness
from collective.core.world import OsThreads, World
from tests.contract.catalog.world import ANY, OPERATOR, enrol, p, write

SETTINGS = CatalogSettings(copies=3, readers=2)
BLOCK_BYTES = 64 * 1024
Order = Callable[[list[str]], list[str]]


class _QuickFile(OsDiskFile):
    def datasync(self) -> None:
        """Nothing here is about power."""


class QuickDisk(OsDisk):
    """The real files, without flushing."""

    def open(
        self, path: str, mode: OpenMode, *, permissions: int = 0o600, direct: bool = False
    ) -> DiskFile:
        del direct
        return _QuickFile(os.open(path, self._FLAGS[mode], permissions))

    def sync_dir(self, path: str) -> None:
        del path


async def opened(folder: Path, seed: int = 1, clock: ManualClock | None = None) -> SqliteCatalog:
    world = World(clock or ManualClock(), SeededRandomness(seed), QuickDisk(), OsThreads())
    return await SqliteCatalog.open(str(folder), world, SETTINGS, synchronous="OFF")


@dataclass
class Member:
    """A catalogue under constant change, and everything that it acknowledged."""

    catalog: SqliteCatalog
    clock: ManualClock
    chance: random.Random
    states: list[frozenset[str]] = field(default_factory=lambda: [frozenset()])
    """The names that exist after each acknowledged change."""
    snapshot_of: int = 0
    """The number of the last state acknowledged before the newest complete snapshot began."""
    count: int = 0

    @classmethod
    async def start(cls, folder: Path, seed: int) -> Member:
        clock = ManualClock()
        member = cls(await opened(folder, seed, clock), clock, random.Random(seed))
        await enrol(member.catalog)
        for _ in range(3):
            await member.change(20)
            await member.snapshot()
            clock.advance(300)
        return member

    async def change(self, times: int) -> None:
        """Make, replace, move and remove names, one acknowledged after the other."""
        for _ in range(times):
            self.count += 1
            exists = set(self.states[-1])
            kind = self.chance.random() if len(exists) > 10 else 0.0
            if kind < 0.5:
                path = f"/{'d' * self.chance.randrange(1, 60)}{self.count}"
                await self.catalog.names.make_directory(OPERATOR, p(path), parents=False)
                exists.add(path)
            elif kind < 0.8:
                path = f"/{'m' * self.chance.randrange(1, 60)}{self.count}"
                await self.catalog.names.move(OPERATOR, p(min(exists)), p(path), condition=ANY)
                exists = exists - {min(exists)} | {path}
            else:
                path = self.chance.choice(sorted(exists))
                await self.catalog.names.remove(OPERATOR, p(path), recursive=True, condition=ANY)
                exists.remove(path)
            self.states.append(frozenset(exists))

    async def write_file(self) -> None:
        """Write one file of two chunks into the first directory."""
        self.count += 1
        folder = min(self.states[-1])
        await write(self.catalog, f"{folder}/f{self.count}", f"a{self.count}", f"b{self.count}")

    async def snapshot(self) -> None:
        began = len(self.states) - 1
        await self.catalog.upkeep.snapshot()
        self.snapshot_of = began


async def slow_tar(
    source: Path, target: Path, order: Order, pause: Callable[[], Awaitable[None]]
) -> None:
    """Copy a folder as tar does: a listing of each folder, then its files, block by block.

    Times of modification are kept to the second; what vanished since it was listed is left out.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in order(sorted(entry.name for entry in source.iterdir())):
        await pause()
        path, copy = source / name, target / name
        if path.is_dir():
            await slow_tar(path, copy, order, pause)
            continue
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            with copy.open("wb") as made:
                while block := file.read(BLOCK_BYTES):
                    made.write(block)
                    await pause()
            second = int(os.fstat(file.fileno()).st_mtime)
            os.utime(copy, (second, second))


def unpack(backup: Path, over: Path, *, in_place: bool) -> None:
    """Put a backup over what is there: as tar does (removing each file first) or as cp does."""
    for path in sorted(backup.rglob("*")):
        target = over / path.relative_to(backup)
        if path.is_dir():
            target.mkdir(exist_ok=True)
            continue
        if not in_place:
            target.unlink(missing_ok=True)
        shutil.copyfile(path, target)
        stat = path.stat()
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
