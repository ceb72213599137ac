"""The disk as an interface: blocking calls with exact durability semantics.

Callers run these on an executor that one resource owns.  Paths are absolute strings.  Semantics
that the fault disk of the tests enforces, and that callers must therefore not exceed:

* written bytes survive power loss only after ``datasync`` of their file;
* a created, renamed or removed name survives only after ``sync_dir`` of its directory;
* errors are ``OSError`` with the usual ``errno`` (``ENOSPC``, ``EIO``, ``ENOENT``, …).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import posixpath
import sys
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from collective.core.shared_folder import SharedFolder


_ALIGNMENT = 4096
"""Of memory, offsets and lengths of direct writes; enough for every common disk."""

_GET_INODE_GENERATION = 0x80087601
"""Linux's FS_IOC_GETVERSION: ext4, XFS, Btrfs and F2FS answer it."""

OpenMode = Literal["read", "create", "update"]
"""``create``: new file, fails if it exists; ``update``: existing file, read and write."""


class DirEntry(NamedTuple):
    """One name in a directory."""

    name: str
    is_dir: bool
    size_bytes: int


class DiskSpace(NamedTuple):
    """Space of the file system that holds a path, in bytes."""

    total_bytes: int
    free_bytes: int
    read_only: bool = False
    """It is mounted so, or the kernel made it so after errors."""


class FileIdentity(NamedTuple):
    """Which file stands at a path and when it changed: a file and its copy differ.

    A copy may have the number, the size and the time of modification of its original, but not the
    time of change, which nobody can set; ``chown`` and ``chmod`` change that one as well.
    """

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


class DiskFile(Protocol):
    """An open file; positions are explicit, so one object may serve several threads."""

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill ``buffer`` from ``offset``; return bytes read (short only at end of file)."""
        ...

    def write(self, data: Sequence[memoryview | bytes] | memoryview | bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        ...

    def truncate(self, size_bytes: int) -> None:
        """Cut or extend (sparse) the file."""
        ...

    def datasync(self) -> None:
        """Return when every byte written so far survives power loss."""
        ...

    def size_bytes(self) -> int:
        """Return the file's length."""
        ...

    def close(self) -> None:
        """Release the file; idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class DiskLock(Protocol):
    """An exclusive lock held until released or the process dies."""

    def release(self) -> None:
        """Give the lock up; idempotent."""
        ...


class Disk(Protocol):
    """What the chunk store needs of a file system."""

    def open(
        self, path: str, mode: OpenMode, *, permissions: int = 0o600, direct: bool = False
    ) -> DiskFile:
        """Open ``path``; see :data:`OpenMode`.

        ``direct`` is a hint that what is written will not be read soon: the bytes of large writes
        may go to the disk without a stay in the page cache.
        """
        ...

    def rename(self, source: str, target: str) -> None:
        """Replace ``target`` by ``source`` atomically (same file system)."""
        ...

    def unlink(self, path: str) -> None:
        """Remove a file."""
        ...

    def make_dir(self, path: str) -> None:
        """Make ``path`` and its parents, 0700; no error if it exists."""
        ...

    def list_dir(self, path: str) -> list[DirEntry]:
        """Return the entries of a directory, in no order."""
        ...

    def sync_dir(self, path: str) -> None:
        """Return when every change of names in ``path`` survives power loss."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether ``path`` names anything."""
        ...

    def identity(self, path: str) -> FileIdentity | None:
        """Return the identity of the file at ``path``; None where there is none."""
        ...

    def generation(self, path: str) -> int:
        """Return which use of its inode number the file at ``path`` is; 0 where nothing tells.

        It opens and closes the file, which ends every POSIX lock that this process has on it.
        """
        ...

    def space(self, path: str) -> DiskSpace:
        """Return the space of the file system that holds ``path``."""
        ...

    def lock(self, path: str) -> DiskLock | None:
        """Create and lock ``path`` exclusively; None if another process holds it."""
        ...

    def shared(self, path: str) -> SharedFolder:
        """Return the folder at ``path`` as one that others write as well."""
        ...


def sync_ancestors(path: str, disk: Disk) -> None:
    """Flush the names that lead to ``path``, as far as this process may."""
    while (parent := posixpath.dirname(path)) != path:
        path = parent
        with contextlib.suppress(PermissionError):
            disk.sync_dir(path)


class OsDiskFile:
    """A file of the operating system."""

    def __init__(self, fd: int) -> None:
        """Own ``fd``."""
        self._fd = fd
        self._direct = False

    def go_direct(self) -> None:
        """Let aligned bytes of further writes bypass the page cache, if the file system can."""
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_DIRECT)
            self._direct = True

    def _end_direct(self) -> None:
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        self._direct = False

    def _write_direct(self, views: list[memoryview], offset: int) -> int:
        """Write what alignment allows of the first view; return the bytes written."""
        first = views[0]
        aligned = len(first) - len(first) % _ALIGNMENT
        done = 0
        if self._direct and offset % _ALIGNMENT == 0 and aligned:
            try:
                while done < aligned:
                    done += os.pwrite(self._fd, first[done:aligned], offset + done)
                    if done % _ALIGNMENT:
                        break
            except OSError as error:
                if error.errno != errno.EINVAL:  # memory or file system without alignment
                    raise
        self._end_direct()
        return done

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill ``buffer`` from ``offset``."""
        done = 0
        while done < len(buffer):
            count = os.preadv(self._fd, [buffer[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def write(self, data: Sequence[memoryview | bytes] | memoryview | bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        parts = [data] if isinstance(data, memoryview | bytes) else list(data)
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        if self._direct and views:
            done = self._write_direct(views, offset)
            views[0], offset = views[0][done:], offset + done
        while views:
            count = os.pwritev(self._fd, views, offset)
            offset += count
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if views and count:
                views[0] = views[0][count:]

    def truncate(self, size_bytes: int) -> None:
        """Cut or extend the file."""
        os.ftruncate(self._fd, size_bytes)

    def datasync(self) -> None:
        """Flush the file's bytes."""
        os.fdatasync(self._fd)

    def size_bytes(self) -> int:
        """Return the file's length."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close the descriptor once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class OsDiskLock:
    """An ``flock`` that the kernel drops with the process."""

    def __init__(self, fd: int) -> None:
        """Own the locked ``fd``."""
        self._fd = fd

    def release(self) -> None:
        """Close the descriptor once, which unlocks."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OsDisk:
    """The machine's file systems."""

    _FLAGS: ClassVar[dict[OpenMode, int]] = {
        "read": os.O_RDONLY,
        "create": os.O_RDWR | os.O_CREAT | os.O_EXCL,
        "update": os.O_RDWR,
    }

    def open(
        self, path: str, mode: OpenMode, *, permissions: int = 0o600, direct: bool = False
    ) -> DiskFile:
        """Open ``path``."""
        file = OsDiskFile(os.open(path, self._FLAGS[mode] | os.O_CLOEXEC, permissions))
        if direct:
            file.go_direct()
        return file

    def rename(self, source: str, target: str) -> None:
        """Replace ``target`` atomically."""
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def make_dir(self, path: str) -> None:
        """Make ``path`` and its parents."""
        os.makedirs(path, mode=0o700, exist_ok=True)

    def list_dir(self, path: str) -> list[DirEntry]:
        """Return the entries of a directory."""
        found = []
        with os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    is_dir = entry.is_dir(follow_symlinks=False)
                    size = 0 if is_dir else entry.stat(follow_symlinks=False).st_size
                    found.append(DirEntry(entry.name, is_dir, size))
        return found

    def sync_dir(self, path: str) -> None:
        """Flush a directory."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Tell whether ``path`` names anything."""
        return os.path.lexists(path)

    def identity(self, path: str) -> FileIdentity | None:
        """Return the identity of the file at ``path``."""
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            return None
        return FileIdentity(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def generation(self, path: str) -> int:
        """Return the inode's generation."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            told = fcntl.ioctl(fd, _GET_INODE_GENERATION, bytes(8))
        except OSError:
            return 0
        finally:
            os.close(fd)
        return int.from_bytes(told[:4], sys.byteorder)

    def space(self, path: str) -> DiskSpace:
        """Return the file system's space as an unprivileged process sees it."""
        stat = os.statvfs(path)
        return DiskSpace(
            stat.f_blocks * stat.f_frsize,
            stat.f_bavail * stat.f_frsize,
            read_only=bool(stat.f_flag & os.ST_RDONLY),
        )

    def lock(self, path: str) -> DiskLock | None:
        """Create and lock ``path``; None if another process holds it."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # it is there from an earlier start
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return OsDiskLock(fd)

    def shared(self, path: str) -> SharedFolder:
        """Return a folder of the machine."""
        from collective.core.shared_folder import OsSharedFolder  # noqa: PLC0415 - coordinators alone

        return OsSharedFolder(path)
