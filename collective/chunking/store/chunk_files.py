"""Chunks that have a file each: published by rename, gone by unlink, both flushed."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence

from collective.chunking.store.datadir import Layout, parse_chunk_name
from collective.chunking.store.dirsync import DirSyncer
from collective.chunking.store.model import Part, StoredCopy
from collective.core.disk import Disk


class ChunkFiles:
    """The directories ``chunks/ab`` and ``tmp``."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        """Work below ``layout``; call :meth:`recover` once before anything else."""
        self._disk = disk
        self._layout = layout
        self._syncer = DirSyncer(disk)
        self._numbers = itertools.count()
        self._dirs: set[str] = set()
        self._dirs_lock = threading.Lock()

    def recover(self, *, writable: bool = True) -> Iterator[StoredCopy]:
        """Sweep temporaries, flush what the directories show, and yield it (names and sizes only).

        On a disk that is not ``writable`` there is nothing to flush, and the temporaries stay.
        """
        layout, disk = self._layout, self._disk
        leftovers = [entry for entry in disk.list_dir(layout.temporaries) if not entry.is_dir]
        if writable:
            for entry in leftovers:
                disk.unlink(f"{layout.temporaries}/{entry.name}")
            disk.sync_dir(layout.chunks)
        else:
            self._numbers = itertools.count(_after(entry.name for entry in leftovers))
        for directory in sorted(disk.list_dir(layout.chunks), key=lambda entry: entry.name):
            if not directory.is_dir:
                continue
            path = f"{layout.chunks}/{directory.name}"
            if writable:
                disk.sync_dir(path)
            self._dirs.add(path)
            for entry in disk.list_dir(path):
                named = parse_chunk_name(entry.name)
                if named and not entry.is_dir and named[0][:1].hex() == directory.name:
                    yield StoredCopy(*named, entry.size_bytes)

    def publish(self, copy: StoredCopy, parts: Sequence[Part]) -> None:
        """Write, flush, name and flush the name; on return the copy survives power loss.

        Raises:
            OSError: nothing is acknowledged; the file may or may not be there.
        """
        disk, layout = self._disk, self._layout
        temporary = f"{layout.temporaries}/{next(self._numbers)}.tmp"
        directory = self._directory(copy)
        try:
            with disk.open(temporary, "create", direct=True) as file:
                file.write(parts, 0)
                file.datasync()
            disk.rename(temporary, layout.chunk_file(copy.chunk, copy.generation))
        except OSError:
            with contextlib.suppress(OSError):
                disk.unlink(temporary)
            raise
        self._syncer.sync(directory)

    def remove(self, copy: StoredCopy) -> None:
        """Unlink and flush; a file that is already gone is flushed all the same."""
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(self._layout.chunk_file(copy.chunk, copy.generation))
        self._syncer.sync(self._layout.chunk_dir(copy.chunk))

    def read_into(self, copy: StoredCopy, buffer: memoryview) -> int:
        """Fill ``buffer`` from the copy's file and return the bytes read."""
        with self._disk.open(self._layout.chunk_file(copy.chunk, copy.generation), "read") as file:
            return file.read_into(buffer, 0)

    def _directory(self, copy: StoredCopy) -> str:
        path = self._layout.chunk_dir(copy.chunk)
        if path not in self._dirs:
            with self._dirs_lock:
                if path not in self._dirs:
                    self._disk.make_dir(path)
                    self._disk.sync_dir(self._layout.chunks)
                    self._dirs.add(path)
        return path


def _after(names: Iterable[str]) -> int:
    """Return a number above all those that temporaries of these names have."""
    numbers = [name.partition(".")[0] for name in names]
    return max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1
