"""A machine's disk in memory: what was not flushed is lost with the power, in part or whole.

Files keep what their flushed content was before the writes since (by blocks), so that a flush costs
nothing and power loss can undo any part of what was not flushed, sector by sector.  Names are kept as in
``tests/faults/disk.py``: a name survives only if its directory was flushed.
"""

from __future__ import annotations

import errno
import os
import posixpath
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self

from collective.core.disk import DirEntry, DiskFile, DiskLock, DiskSpace, FileIdentity, OpenMode
from collective.core.shared_folder import SharedFolder
from tests.faults.shared_folder import PlainSharedFolder
from tests.simulation.process import Process

SECTOR_BYTES: Final = 512
BLOCK_BYTES: Final = 4096
DISK_BYTES: Final = 1 << 40


class Inode:
    """A file's bytes: as programs see them, and how to get back to what the platters hold."""

    __slots__ = ("before", "changed_s", "data", "flushed_size", "modified_s", "number")

    def __init__(self, number: int = 0, now_s: float = 0.0) -> None:
        self.number = number
        self.modified_s = self.changed_s = now_s
        self.data = bytearray()
        self.flushed_size = 0
        self.before: dict[int, bytes] = {}
        """Flushed content of blocks that were written since, by block number."""

    def touch(self, start: int, end: int) -> None:
        """Remember what is flushed of the bytes from ``start`` to ``end``, about to be changed."""
        end = min(end, self.flushed_size)
        if start >= end:
            return
        before = self.before
        for block in range(start // BLOCK_BYTES, (end - 1) // BLOCK_BYTES + 1):
            if block not in before:
                at = block * BLOCK_BYTES
                before[block] = bytes(self.data[at : min(at + BLOCK_BYTES, self.flushed_size)])

    def flush(self) -> None:
        """Make what is there survive."""
        self.before.clear()
        self.flushed_size = len(self.data)

    def lose(self, chance: random.Random | None) -> None:
        """Undo what was not flushed: all of it, or by ``chance`` some sectors."""
        seen = bytes(self.data)
        keeps_size = chance is not None and chance.random() < 0.5
        kept = bytearray(seen)
        size = len(seen) if keeps_size else self.flushed_size
        if len(kept) < self.flushed_size:
            kept.extend(bytes(self.flushed_size - len(kept)))
        for block, old in self.before.items():
            at = block * BLOCK_BYTES
            for offset in range(0, len(old), SECTOR_BYTES):
                if chance is None or chance.random() < 0.5:
                    piece = old[offset : offset + SECTOR_BYTES]
                    kept[at + offset : at + offset + len(piece)] = piece
        if keeps_size and chance is not None:
            for at in range(self.flushed_size, len(seen), SECTOR_BYTES):
                if chance.random() < 0.5:
                    end = min(at + SECTOR_BYTES, len(seen))
                    kept[at:end] = bytes(end - at)
        del kept[size:]
        if len(kept) < size:
            kept.extend(bytes(size - len(kept)))
        self.data = kept
        self.flush()

    def copy(self) -> Inode:
        """Return the file as a backup has it: with its time of modification, and without a number."""
        made = Inode()
        made.modified_s = self.modified_s
        made.data = bytearray(self.data)
        made.flush()
        return made


class Folder:
    """A directory: names as programs see them, and those that survive."""

    __slots__ = ("entries", "flushed", "pending")

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.flushed: dict[str, Node] = {}
        self.pending: list[tuple[str, Node | None]] = []

    def change(self, name: str, node: Node | None) -> None:
        """Let ``name`` be ``node``; None removes it."""
        if node is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = node
        self.pending.append((name, node))

    def flush(self) -> None:
        """Make the names survive."""
        self.flushed = dict(self.entries)
        self.pending.clear()

    def lose(self, chance: random.Random | None) -> None:
        """Undo what was not flushed: all of it, or by ``chance`` some changes of names."""
        entries = dict(self.flushed)
        for name, node in self.pending:
            if chance is None or chance.random() < 0.5:
                continue
            if node is None:
                entries.pop(name, None)
            else:
                entries[name] = node
        self.entries = entries
        self.flush()
        for node in entries.values():
            node.lose(chance)

    def copy(self) -> Folder:
        """Return the tree as a backup has it, everything flushed."""
        made = Folder()
        made.entries = {name: node.copy() for name, node in self.entries.items()}
        made.flush()
        return made


Node = Inode | Folder


class SimulatedDisk:
    """One machine's disk.  Programs use it through the :class:`ProcessDisk` of their life."""

    def __init__(self, now_s: Callable[[], float] = lambda: 0.0) -> None:
        """Be empty; files are stamped with ``now_s``."""
        self.now_s = now_s
        self.root = Folder()
        self._inodes = 0
        self.total_bytes = DISK_BYTES
        self.free_bytes = DISK_BYTES
        """What growing files take from, and are given back; the fault ``ENOSPC`` lowers it."""
        self.read_only = False
        self.failing_reads = 0
        """So many reads from now on fail with EIO."""
        self.failing_flushes = 0
        """So many flushes from now on fail with EIO."""
        self.ignores_flushes = False
        """A bug that can be put in: flushes do nothing (see :mod:`tests.simulation.mutants`)."""
        self.locks: dict[str, Process] = {}

    def make_inode(self) -> Inode:
        """Return a new empty file, which has no name yet."""
        self._inodes += 1
        return Inode(self._inodes, self.now_s())

    def node(self, path: str) -> Node | None:
        """Return what ``path`` names, if anything."""
        node: Node | None = self.root
        for name in path.split("/"):
            if name:
                node = node.entries.get(name) if isinstance(node, Folder) else None
        return node

    def folder(self, path: str) -> Folder:
        """Return the directory at ``path``."""
        node = self.node(path)
        if isinstance(node, Folder):
            return node
        raise _error(errno.ENOENT if node is None else errno.ENOTDIR, path)

    def file(self, path: str) -> Inode:
        """Return the file at ``path``."""
        node = self.node(path)
        if isinstance(node, Inode):
            return node
        raise _error(errno.ENOENT if node is None else errno.EISDIR, path)

    def parent(self, path: str) -> tuple[Folder, str]:
        """Return the directory of ``path`` and the name in it."""
        above, name = posixpath.split(path)
        return self.folder(above), name

    def may_write(self, path: str) -> None:
        """Raise OSError where nothing can be written."""
        if self.read_only:
            raise _error(errno.EROFS, path)

    def take(self, count: int, path: str) -> None:
        """Use ``count`` more bytes (fewer where negative); ENOSPC where they are not there."""
        if count > 0 and count > self.free_bytes:
            raise _error(errno.ENOSPC, path)
        self.free_bytes -= count

    def write(self, node: Inode, data: memoryview | bytes, offset: int, path: str) -> None:
        """Write ``data`` at ``offset``."""
        if self.read_only:
            self.may_write(path)
        content = node.data
        end = offset + len(data)
        size = len(content)
        if end > size:
            self.take(end - size, path)
        if offset < node.flushed_size:
            node.touch(offset, end)
        node.modified_s = node.changed_s = self.now_s()
        if offset > size:
            content.extend(bytes(offset - size))
        content[offset:end] = data

    def truncate(self, node: Inode, size_bytes: int, path: str) -> None:
        """Cut or extend."""
        self.may_write(path)
        size = len(node.data)
        self.take(size_bytes - size, path)
        node.modified_s = node.changed_s = self.now_s()
        if size_bytes < size:
            node.touch(size_bytes, size)
            del node.data[size_bytes:]
        else:
            node.data.extend(bytes(size_bytes - size))

    def read(self, path: str) -> None:
        """Raise EIO where reading shall fail now."""
        if self.failing_reads:
            self.failing_reads -= 1
            raise _error(errno.EIO, path)

    def flush(self, path: str) -> bool:
        """Tell whether a flush works; raises EIO where it shall fail now."""
        if self.failing_flushes:
            self.failing_flushes -= 1
            raise _error(errno.EIO, path)
        return not self.ignores_flushes

    # --- from outside ----------------------------------------------------------------------------

    def lose_power(self, chance: random.Random | None) -> None:
        """Lose what was not flushed (all of it, or by ``chance`` a part), and every lock."""
        self.root.lose(chance)
        self.locks.clear()
        used = sum(len(node.data) for _, node in self.walk("/"))
        self.free_bytes = self.total_bytes - used

    def let_go(self, process: Process) -> None:
        """Release the locks of a process that died."""
        for path in [path for path, holder in self.locks.items() if holder is process]:
            del self.locks[path]

    def walk(self, path: str) -> Iterator[tuple[str, Inode]]:
        """Yield the files below ``path`` in order of path."""
        node = self.node(path)
        if isinstance(node, Inode):
            yield path, node
        elif isinstance(node, Folder):
            for name in sorted(node.entries):
                yield from self.walk(f"{path.rstrip('/')}/{name}")

    def replace(self, path: str, node: Node) -> None:
        """Put ``node`` at ``path``, durable, as an operator who unpacks a backup does."""
        folder = self.root
        *above, name = [part for part in path.split("/") if part]
        for part in above:
            if not isinstance(folder.entries.get(part), Folder):
                folder.change(part, Folder())
            found = folder.entries[part]
            assert isinstance(found, Folder)
            folder.flush()
            folder = found
        self._number(node)
        folder.change(name, node)
        folder.flush()

    def _number(self, node: Node) -> None:
        """Give what a backup brought numbers of this disk."""
        if isinstance(node, Folder):
            for name in sorted(node.entries):
                self._number(node.entries[name])
        else:
            fresh = self.make_inode()
            node.number, node.changed_s = fresh.number, fresh.changed_s


class ProcessDisk:
    """A machine's disk as one process sees it: implements ``collective.core.disk.Disk``."""

    def __init__(self, disk: SimulatedDisk, process: Process) -> None:
        """Let ``process`` use ``disk`` while it is alive."""
        self._disk = disk
        self._process = process

    def _act(self, what: str) -> None:
        self._process.effect()
        self._process.trace.detail(f"{self._process.name} {what}")

    def open(
        self, path: str, mode: OpenMode, *, permissions: int = 0o600, direct: bool = False
    ) -> DiskFile:
        """Open ``path``; there is no cache to go past, and no other user."""
        del permissions, direct
        disk = self._disk
        self._process.check()
        if mode != "create":
            if mode == "update":
                disk.may_write(path)
            return _File(disk, self._process, disk.file(path), path)
        folder, name = disk.parent(path)
        disk.may_write(path)
        if name in folder.entries:
            raise _error(errno.EEXIST, path)
        self._act(f"create {path}")
        made = disk.make_inode()
        folder.change(name, made)
        return _File(disk, self._process, made, path)

    def rename(self, source: str, target: str) -> None:
        """Replace ``target`` atomically."""
        disk = self._disk
        disk.may_write(target)
        node = disk.file(source)
        above, name = disk.parent(target)
        self._act(f"rename {source} {target}")
        old = above.entries.get(name)
        if isinstance(old, Inode) and old is not node:
            disk.take(-len(old.data), target)
        node.changed_s = disk.now_s()
        above.change(name, node)
        below, name = disk.parent(source)
        below.change(name, None)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        disk = self._disk
        disk.may_write(path)
        node = disk.file(path)
        self._act(f"unlink {path}")
        disk.take(-len(node.data), path)
        folder, name = disk.parent(path)
        folder.change(name, None)

    def make_dir(self, path: str) -> None:
        """Make ``path`` and its parents."""
        folder = self._disk.root
        for name in path.split("/"):
            if not name:
                continue
            if name not in folder.entries:
                self._disk.may_write(path)
                self._act(f"make_dir {path}")
                folder.change(name, Folder())
            below = folder.entries[name]
            if not isinstance(below, Folder):
                raise _error(errno.ENOTDIR, path)
            folder = below

    def list_dir(self, path: str) -> list[DirEntry]:
        """Return the entries of a directory."""
        self._process.check()
        self._disk.read(path)
        return [
            DirEntry(
                name,
                isinstance(node, Folder),
                len(node.data) if isinstance(node, Inode) else 0,
            )
            for name, node in self._disk.folder(path).entries.items()
        ]

    def sync_dir(self, path: str) -> None:
        """Flush a directory's names."""
        folder = self._disk.folder(path)
        self._act(f"sync_dir {path}")
        if self._disk.flush(path):
            folder.flush()

    def exists(self, path: str) -> bool:
        """Tell whether ``path`` names anything."""
        self._process.check()
        return self._disk.node(path) is not None

    def identity(self, path: str) -> FileIdentity | None:
        """Return the identity of the file at ``path``."""
        self._process.check()
        node = self._disk.node(path)
        if not isinstance(node, Inode):
            return None
        return FileIdentity(
            node.number, len(node.data), int(node.modified_s * 1e9), int(node.changed_s * 1e9)
        )

    def generation(self, path: str) -> int:
        """Return 1: numbers are never used again."""
        self._process.check()
        self._disk.file(path)
        return 1

    def space(self, path: str) -> DiskSpace:
        """Return the disk's space."""
        del path
        return DiskSpace(self._disk.total_bytes, max(0, self._disk.free_bytes))

    def lock(self, path: str) -> DiskLock | None:
        """Create and lock ``path``; None if another process holds it."""
        disk = self._disk
        if disk.node(path) is None:
            disk.may_write(path)
            folder, name = disk.parent(path)
            self._act(f"create {path}")
            folder.change(name, disk.make_inode())
        self._process.effect()
        if path in disk.locks:
            return None
        disk.locks[path] = self._process
        return _Lock(disk, path, self._process)

    def shared(self, path: str) -> SharedFolder:
        """Return a folder of this disk; there are no links on it."""
        return PlainSharedFolder(self, path)


class _Lock:
    def __init__(self, disk: SimulatedDisk, path: str, process: Process) -> None:
        self._disk, self._path, self._process = disk, path, process

    def release(self) -> None:
        if self._disk.locks.get(self._path) is self._process and self._process.alive:
            del self._disk.locks[self._path]


class _File:
    """An open file."""

    __slots__ = ("_disk", "_node", "_path", "_process")

    def __init__(self, disk: SimulatedDisk, process: Process, node: Inode, path: str) -> None:
        self._disk, self._process, self._node, self._path = disk, process, node, path

    def read_into(self, buffer: memoryview, offset: int) -> int:
        self._process.check()
        self._disk.read(self._path)
        data = self._node.data[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Sequence[memoryview | bytes] | memoryview | bytes, offset: int) -> None:
        joined = data if isinstance(data, memoryview | bytes) else b"".join(data)
        process = self._process
        process.effect()
        process.trace.detail(f"{process.name} write {self._path} {offset}+{len(joined)}")
        self._disk.write(self._node, joined, offset, self._path)

    def truncate(self, size_bytes: int) -> None:
        process = self._process
        process.effect()
        process.trace.detail(f"{process.name} truncate {self._path} {size_bytes}")
        self._disk.truncate(self._node, size_bytes, self._path)

    def datasync(self) -> None:
        process = self._process
        process.effect()
        process.trace.detail(f"{process.name} datasync {self._path}")
        if self._disk.flush(self._path):
            self._node.flush()

    def size_bytes(self) -> int:
        self._process.check()
        return len(self._node.data)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
