"""A client that writes, replaces and removes files until it is killed, and keeps a journal.

Run as ``python -m tests.faults.crash_writer``.  Each task owns its paths, so the attempts at one path
come one after the other.  A line goes to the journal before an attempt and after it, in one
``os.write`` each: what a killed process has written there stays (the page cache outlives it).

Lines (JSON): ``{"begin": n, "path", "value"}``, ``{"end": n, "path", "code"}`` with code ``ok`` or that
of the error and then ``why``, ``{"wrong": sentence}`` for a promise seen broken.  ``value`` is a SHA-256,
or null for a removal.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from collective.client.collective import Collective
from collective.core.errors import CollectiveError, NotFoundError, RejectedError
from collective.core.units import Address
from collective.pki.credentials import load_credentials
from collective.rpc.loops import loop_factory
from tests.worlds import REAL

CHUNK: Final = 4 * 1024 * 1024
KIB: Final = 1024
REMOVE_PART: Final = 0.12
READ_BACK_PART: Final = 0.25
SHARED_CONTENTS: Final = 8
PAUSE_S: Final = 0.05


def size_of(draw: random.Random) -> int:
    """Return the size of a file to write: mostly small, all kinds of store records, some long."""
    kind = draw.random()
    if kind < 0.05:
        return 0
    if kind < 0.45:
        return draw.randrange(1, 4 * KIB)
    if kind < 0.55:
        return draw.choice((64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 256 * KIB - 16, 256 * KIB))
    if kind < 0.88:
        return draw.randrange(200 * KIB, 1024 * KIB)
    if kind < 0.95:
        return draw.choice((CHUNK - 1, CHUNK, CHUNK + 1))
    return draw.randrange(CHUNK, 9 * 1024 * KIB)


def content_of(name: str, size: int) -> bytes:
    """Return ``size`` bytes that depend on ``name`` alone."""
    return random.Random(name).randbytes(size)


@dataclass(slots=True)
class Journal:
    """Appends lines that survive the process."""

    path: Path
    descriptor: int = field(init=False)
    count: int = field(init=False)

    def __post_init__(self) -> None:
        raw = self.path.read_bytes() if self.path.exists() else b""
        self.count = raw.count(b"\n")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.descriptor = os.open(self.path, flags, 0o600)
        os.ftruncate(self.descriptor, raw.rfind(b"\n") + 1)  # a kill may have cut a line off

    def close(self) -> None:
        """Give the file up."""
        os.close(self.descriptor)

    def add(self, **line: Any) -> None:
        """Append one line."""
        self.count += 1
        os.write(self.descriptor, json.dumps(line).encode() + b"\n")


@dataclass(slots=True)
class Writer:
    """One task: its paths, one attempt after the other."""

    home: Collective
    journal: Journal
    draw: random.Random
    name: str
    paths: Sequence[str]
    shared: str

    async def run(self) -> None:
        """Go on until the process is killed."""
        while True:
            path = self.draw.choice(self.paths)
            if self.draw.random() < REMOVE_PART:
                await self.attempt(path, None)
            else:
                await self.attempt(path, self.content())

    def content(self) -> bytes:
        """Return what to write next; now and then what others write as well."""
        if self.draw.random() < 0.06:
            which = self.draw.randrange(SHARED_CONTENTS)
            return content_of(f"{self.shared}/{which}", (which + 1) * 150 * KIB)
        return content_of(f"{self.name}/{self.journal.count}", size_of(self.draw))

    async def attempt(self, path: str, content: bytes | None) -> None:
        """Write (or, with None, remove) ``path`` once, and journal how it went."""
        value = None if content is None else hashlib.sha256(content).hexdigest()
        number = self.journal.count
        self.journal.add(begin=number, path=path, value=value)
        try:
            if content is None:
                await self.home.remove(path)
            else:
                await self.home.write(path, content)
        except CollectiveError as error:
            self.journal.add(end=number, path=path, code=error.code, why=error.message)
            if isinstance(error, RejectedError):
                self.journal.add(wrong=f"{path} {value}: {error.message}")
            await asyncio.sleep(PAUSE_S)
            return
        except BaseException:  # a cancellation, too: nobody here cancels, and groups hide it
            self.journal.add(wrong=traceback.format_exc())
            raise
        self.journal.add(end=number, path=path, code="ok")
        if content is not None and self.draw.random() < READ_BACK_PART:
            await self.read_back(path, content)

    async def read_back(self, path: str, content: bytes) -> None:
        """A read after a write sees it; that nodes are away is the one excuse."""
        try:
            if await self.home.read(path) != content:
                self.journal.add(wrong=f"{path} was read back different")
        except (NotFoundError, RejectedError) as error:
            self.journal.add(wrong=f"{path} was acknowledged and then: {error.message}")
        except CollectiveError:
            await asyncio.sleep(PAUSE_S)


async def work(options: argparse.Namespace) -> None:
    """Connect and run all tasks."""
    journal = Journal(Path(options.journal))
    credentials = load_credentials(options.cert, options.key, options.ca, disk=REAL.disk)
    address = Address.parse(options.coordinator)
    shared = f"{options.seed}/shared"
    async with (
        Collective.connect(credentials, [address]) as home,
        asyncio.TaskGroup() as group,
    ):
        for task in range(options.tasks):
            name = f"{options.seed}/{options.writer}/{task}"
            paths = [
                f"/crash/w{options.writer}-{task}-{number:02}" for number in range(options.paths)
            ]
            draw = random.Random(f"{name}/{journal.count}")
            group.create_task(Writer(home, journal, draw, name, paths, shared).run())


def main() -> None:
    """Parse the options and work."""
    parser = argparse.ArgumentParser()
    for name in ("journal", "seed", "writer", "coordinator", "ca", "cert", "key"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("tasks", "paths"):
        parser.add_argument(f"--{name}", type=int, required=True)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
