"""A disk in memory that loses exactly what was not flushed.

Every change of state is one operation, counted from 1.  ``Faults.crash_at`` cuts the power at an
operation (a write then reaches the cache in part); everything after it raises :class:`PowerLostError`
until :meth:`FaultDisk.restart`, which decides what the platters hold:

* ``DROP``: only flushed bytes and flushed names;
* ``KEEP``: everything, as after ``kill -9``;
* ``SUBSET``: flushed state plus a random subset of unflushed 512-byte sectors, sizes and name changes.
"""

from __future__ import annotations

import errno
import os
import posixpath
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

from collective.core.disk import DirEntry, DiskFile, DiskLock, DiskSpace, FileIdentity, OpenMode
from collective.core.shared_folder import SharedFolder
from tests.faults.shared_folder import PlainSharedFolder

SECTOR_BYTES = 512


class PowerLostError(BaseException):
    """The power is off; not an ``Exception``, so that no handler of the store can go on."""


class Loss(Enum):
    """What happens to unflushed state when the power goes."""

    DROP = "drop"
    KEEP = "keep"
    SUBSET = "subset"


@dataclass(slots=True)
class Faults:
    """What shall go wrong; operations and flushes are numbered from 1."""

    crash_at: int = 0
    ignore_flush: int = 0
    ignore_kind: str = ""
    """All flushes of this kind (see ``FaultDisk.flushes``) do nothing."""
    write_errno: int = 0
    """Raised by the next writes, creates and renames."""
    flush_errno: int = 0
    read_only: bool = False
    """Nothing can be changed any more, and the file system says so."""
    read_errno: int = 0
    flip_reads: bool = False
    short_reads: bool = False


@dataclass(slots=True, eq=False)
class _File:
    cached: bytearray = field(default_factory=bytearray)
    flushed: bytes = b""
    dirty: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Dir:
    cached: dict[str, _Node] = field(default_factory=dict)
    flushed: dict[str, _Node] = field(default_factory=dict)
    pending: list[tuple[str, _Node | None]] = field(default_factory=list)

    def change(self, name: str, node: _Node | None) -> None:
        if node is None:
            self.cached.pop(name, None)
        else:
            self.cached[name] = node
        self.pending.append((name, node))


_Node = _File | _Dir


class FaultFile:
    """An open file of a :class:`FaultDisk`."""

    def __init__(self, disk: FaultDisk, node: _File, path: str) -> None:
        self._disk, self._node, self._path = disk, node, path

    def read_into(self, buffer: memoryview, offset: int) -> int:
        faults = self._disk.read()
        data = self._node.cached[offset : offset + len(buffer)]
        if faults.flip_reads and data:
            data[len(data) // 2] ^= 0x10
        if faults.short_reads:
            data = data[: len(data) // 2]
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Sequence[memoryview | bytes] | memoryview | bytes, offset: int) -> None:
        joined = data if isinstance(data, memoryview | bytes) else b"".join(data)
        crashing = self._disk.begin(f"write {self._path}", self._disk.faults.write_errno)
        if crashing:
            joined = joined[: len(joined) // 2]
        node = self._node
        node.cached.extend(bytes(max(0, offset - len(node.cached))))
        node.cached[offset : offset + len(joined)] = joined
        node.dirty.update(range(offset // SECTOR_BYTES, (offset + len(joined)) // SECTOR_BYTES + 1))
        if crashing:
            raise PowerLostError

    def truncate(self, size_bytes: int) -> None:
        self._disk.change(f"truncate {self._path}")
        node = self._node
        start = min(size_bytes, len(node.cached))
        node.dirty.update(range(start // SECTOR_BYTES, len(node.cached) // SECTOR_BYTES + 1))
        del node.cached[size_bytes:]
        node.cached.extend(bytes(size_bytes - len(node.cached)))

    def datasync(self) -> None:
        if self._disk.flush("datasync", self._path):
            self._node.flushed = bytes(self._node.cached)
            self._node.dirty.clear()

    def size_bytes(self) -> int:
        self._disk.read()
        return len(self._node.cached)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _FaultLock:
    def __init__(self, held: set[str], path: str) -> None:
        self._held, self._path = held, path

    def release(self) -> None:
        self._held.discard(self._path)


class FaultDisk:
    """Implements ``collective.core.disk.Disk``; single-threaded use gives repeatable runs."""

    def __init__(self, faults: Faults | None = None, *, free_bytes: int = 1 << 40) -> None:
        self.faults = faults or Faults()
        self.free_bytes = free_bytes
        self.operations = 0
        self.flushes: list[str] = []
        """Kind of every flush so far: ``run: datasync *.pack``, ``open: sync_dir chunks``, …"""
        self.phase = "run"
        """Set by the test; part of the kind."""
        self._root = _Dir()
        self._held: set[str] = set()
        self._off = False

    # --- power -------------------------------------------------------------------------------

    def begin(self, what: str, error: int = 0) -> bool:
        """Count an operation; true if the power goes in the middle of it."""
        del what
        self._check_power()
        self.operations += 1
        if self.operations == self.faults.crash_at:
            self._off = True
            return True
        if self.faults.read_only:
            error = errno.EROFS
        if error:
            raise OSError(error, os.strerror(error))
        return False

    def change(self, what: str, error: int = 0) -> None:
        """Count an operation that happens whole or not at all."""
        if self.begin(what, error):
            raise PowerLostError

    def flush(self, call: str, path: str) -> bool:
        """Count a flush; false if it shall be ignored."""
        self.change(f"{call} {path}", self.faults.flush_errno)
        kind = f"{self.phase}: {flush_kind(call, path)}"
        self.flushes.append(kind)
        ignored = self.faults.ignore_flush == len(self.flushes) or self.faults.ignore_kind == kind
        return not ignored

    def read(self) -> Faults:
        """Check that reading works just now."""
        self._check_power()
        if self.faults.read_errno:
            raise OSError(self.faults.read_errno, os.strerror(self.faults.read_errno))
        return self.faults

    def _check_power(self) -> None:
        if self._off:
            raise PowerLostError

    def restart(self, loss: Loss, seed: int = 0, faults: Faults | None = None) -> None:
        """Lose what ``loss`` says, drop all locks, and go on with ``faults``."""
        if loss is not Loss.KEEP:
            _lose(self._root, random.Random(seed) if loss is Loss.SUBSET else None, set())
        self._held.clear()
        self._off = False
        self.faults = faults or Faults()

    # --- Disk --------------------------------------------------------------------------------

    def _node(self, path: str) -> _Node | None:
        node: _Node | None = self._root
        for name in path.split("/"):
            if name:
                node = node.cached.get(name) if isinstance(node, _Dir) else None
        return node

    def _dir(self, path: str) -> _Dir:
        node = self._node(path)
        if not isinstance(node, _Dir):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node

    def _file(self, path: str) -> _File:
        node = self._node(path)
        if not isinstance(node, _File):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node

    def open(
        self,
        path: str,
        mode: OpenMode,
        *,
        permissions: int = 0o600,
        direct: bool = False,  # no cache to go past
    ) -> DiskFile:
        if mode == "update" and self.faults.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        if mode != "create":
            self.read()
            return FaultFile(self, self._file(path), path)
        self.change(f"create {path}", self.faults.write_errno)
        if self._node(path) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        made = _File()
        self._dir(posixpath.dirname(path)).change(posixpath.basename(path), made)
        return FaultFile(self, made, path)

    def rename(self, source: str, target: str) -> None:
        self.change(f"rename {target}", self.faults.write_errno)
        node = self._file(source)
        self._dir(posixpath.dirname(target)).change(posixpath.basename(target), node)
        self._dir(posixpath.dirname(source)).change(posixpath.basename(source), None)

    def unlink(self, path: str) -> None:
        self.change(f"unlink {path}")
        self._file(path)
        self._dir(posixpath.dirname(path)).change(posixpath.basename(path), None)

    def make_dir(self, path: str) -> None:
        node = self._root
        for name in path.split("/"):
            if name and name not in node.cached:
                self.change(f"make_dir {path}", self.faults.write_errno)
                node.change(name, _Dir())
            if name:
                below = node.cached[name]
                assert isinstance(below, _Dir)
                node = below

    def list_dir(self, path: str) -> list[DirEntry]:
        self.read()
        return [
            DirEntry(
                name, isinstance(node, _Dir), len(node.cached) if isinstance(node, _File) else 0
            )
            for name, node in self._dir(path).cached.items()
        ]

    def sync_dir(self, path: str) -> None:
        node = self._dir(path)
        if self.flush("sync_dir", path):
            node.flushed = dict(node.cached)
            node.pending.clear()

    def exists(self, path: str) -> bool:
        self._check_power()
        return self._node(path) is not None

    def identity(self, path: str) -> FileIdentity | None:
        self._check_power()
        node = self._node(path)
        return FileIdentity(id(node), len(node.cached), 0, 0) if isinstance(node, _File) else None

    def generation(self, path: str) -> int:
        self._file(path)
        return 0

    def space(self, path: str) -> DiskSpace:
        return DiskSpace(1 << 41, self.free_bytes, read_only=self.faults.read_only)

    def lock(self, path: str) -> DiskLock | None:
        if path in self._held:
            return None
        self._held.add(path)
        return _FaultLock(self._held, path)

    def shared(self, path: str) -> SharedFolder:
        return PlainSharedFolder(self, path)

    # --- damage ------------------------------------------------------------------------------

    def paths(self, path: str = "") -> list[str]:
        """Return the paths of all files below ``path``, sorted."""
        found: list[str] = []
        for name, node in self._dir(path).cached.items():
            below = f"{path}/{name}"
            found.extend([below] if isinstance(node, _File) else self.paths(below))
        return sorted(found)

    def content(self, path: str) -> bytearray:
        """Return a file's bytes, to be read or damaged in place."""
        return self._file(path).cached


def flush_kind(call: str, path: str) -> str:
    """Return a name for the place in the product that asked for this flush."""
    parts = path.split("/")
    name = parts[-1]
    if name.endswith((".tmp", ".pack", ".new")):
        return f"{call} *{posixpath.splitext(name)[1]}"
    if len(parts) > 1 and parts[-2] == "chunks":
        return f"{call} chunks/*"
    return f"{call} {name or '/'}"


def _lose(node: _Node, chance: random.Random | None, seen: set[int]) -> None:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, _Dir):
        entries = dict(node.flushed)
        for name, target in node.pending:
            if chance is None or chance.random() < 0.5:
                continue
            if target is None:
                entries.pop(name, None)
            else:
                entries[name] = target
        node.flushed, node.cached = entries, dict(entries)
        node.pending.clear()
        for below in entries.values():
            _lose(below, chance, seen)
        return
    _lose_bytes(node, chance)


def _lose_bytes(node: _File, chance: random.Random | None) -> None:
    data = bytearray(node.flushed)
    if chance is not None and node.dirty:
        if chance.random() < 0.5:
            size = len(node.cached)
            del data[size:]
            data.extend(bytes(size - len(data)))
        for sector in sorted(node.dirty):
            start = sector * SECTOR_BYTES
            if chance.random() < 0.5:
                piece = node.cached[start : min(start + SECTOR_BYTES, len(data))]
                data[start : start + len(piece)] = piece
    node.flushed, node.cached = bytes(data), data
    node.dirty.clear()
