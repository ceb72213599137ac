"""Whole directories in and out: a few files at a time, each resumable by itself.

Local names that are not UTF-8, and things that are neither files nor directories, are reported and
skipped; links are not followed.  A file that is already there is not moved again, so an interrupted
tree goes on where it stopped: `put` goes by size and time, `get` by the content, too, since what lies
there may be another's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

from collective.catalog.model import Entry, EntryKind
from collective.client.files import Names
from collective.client.landing import Landing
from collective.client.local import LocalFiles, is_like
from collective.client.model import Progress
from collective.core.errors import CollectiveError, NotFoundError, UsageError, first_error
from collective.core.paths import FilePath, check_name
from collective.core.randomness import Randomness

FILES_AT_ONCE: Final = 8

Skip = Callable[[str, str], None]
"""Called with a local name (printable or not) and why it was skipped."""


@dataclass(slots=True)
class TreeResult:
    """What a tree transfer did."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    unchanged: int = 0
    skipped: int = 0
    errors: list[tuple[str, CollectiveError]] = field(default_factory=list)
    """Paths that failed, and why; the others were transferred."""


@dataclass(frozen=True, slots=True)
class _LocalItem:
    local: str
    names: tuple[str, ...]
    is_directory: bool


def walk(root: str, skip: Skip) -> Iterator[_LocalItem]:
    """Yield what is below ``root``, parents first, names in order."""
    pending: list[tuple[str, tuple[str, ...]]] = [(root, ())]
    while pending:
        folder, names = pending.pop()
        try:
            found = sorted(os.scandir(folder), key=lambda item: item.name)
        except OSError as error:
            skip(folder, error.strerror or str(error))
            continue
        for item in found:
            try:
                check_name(item.name)
            except UsageError as error:
                skip(item.path, error.message)
                continue
            below = (*names, item.name)
            if item.is_dir(follow_symlinks=False):
                yield _LocalItem(item.path, below, is_directory=True)
                pending.append((item.path, below))
            elif item.is_file(follow_symlinks=False):
                yield _LocalItem(item.path, below, is_directory=False)
            else:
                skip(item.path, "It is neither a file nor a directory.")


class Trees:
    """Moves directories between this machine and a member."""

    def __init__(self, names: Names, files: LocalFiles, randomness: Randomness) -> None:
        """Use ``names`` and ``files`` of the same member."""
        self._randomness = randomness
        self._names = names
        self._files = files

    async def put(
        self, local: str, path: FilePath, *, skip: Skip, progress: Progress | None = None
    ) -> TreeResult:
        """Upload everything below ``local`` to below ``path``, which is made if absent."""
        result = TreeResult()

        def count_skip(name: str, reason: str) -> None:
            result.skipped += 1
            skip(name, reason)

        present = await self._present(path)
        await self._names.mkdir(path, parents=not path.is_root)
        result.directories += 1
        async with _Pool() as pool:
            for item in walk(local, count_skip):
                target = FilePath((*path.names, *item.names))
                if item.is_directory:
                    await self._names.mkdir(target, parents=True)
                    result.directories += 1
                elif is_like(item.local, present.get(target)):
                    result.unchanged += 1
                else:
                    await pool.start(self._put_one(item.local, target, progress, result))
        return result

    async def _present(self, path: FilePath) -> dict[FilePath, Entry]:
        try:
            listed = self._names.list(path, recursive=True)
            return {entry.path: entry async for entry in listed if entry.kind is EntryKind.FILE}
        except NotFoundError:
            return {}

    async def _put_one(
        self, local: str, path: FilePath, progress: Progress | None, result: TreeResult
    ) -> None:
        try:
            entry = await self._files.put(local, path, progress=progress, follows_link=False)
        except CollectiveError as error:
            result.errors.append((local, error))
        else:
            result.files += 1
            result.bytes += entry.size_bytes

    async def get(
        self, path: FilePath, local: str, *, progress: Progress | None = None
    ) -> TreeResult:
        """Download everything below ``path`` to below ``local``, which is made if absent."""
        result = TreeResult()
        landing = Landing(local, self._randomness)
        result.directories += 1
        async with _Pool() as pool:
            listed: AsyncIterator[Entry] = self._names.list(path, recursive=True)
            async for entry in listed:
                if not entry.path.starts_with(path) or entry.path == path:
                    continue
                names = entry.path.names[len(path.names) :]
                try:
                    if entry.kind is not EntryKind.FILE:
                        landing.folder(names)
                        result.directories += 1
                        continue
                    target = landing.file(names)
                except CollectiveError as error:
                    result.errors.append((str(entry.path), error))
                    continue
                await pool.start(self._get_one(entry, target, progress, result))
        return result

    async def _get_one(
        self, listed: Entry, local: str, progress: Progress | None, result: TreeResult
    ) -> None:
        try:
            if await self._files.is_current(local, listed):
                result.unchanged += 1
                return
            entry = await self._files.get(listed.path, local, progress=progress)
        except CollectiveError as error:
            result.errors.append((str(listed.path), error))
        else:
            result.files += 1
            result.bytes += entry.size_bytes


class _Pool:
    """At most FILES_AT_ONCE files under way."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._room = asyncio.Semaphore(FILES_AT_ONCE)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *details: object) -> None:
        try:
            await self._group.__aexit__(*details)  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            raise first_error(group) from group

    async def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin ``work`` when there is room."""
        await self._room.acquire()
        task = self._group.create_task(work)
        task.add_done_callback(lambda _: self._room.release())
