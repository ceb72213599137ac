"""What lies at a local name, as values.  Blocking."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import Enum
from typing import Final

from collective.core.moments import check_moment
from collective.model.writing import Attributes

PERMISSIONS: Final = 0o7777


class Kind(Enum):
    """What a local entry is, as far as it matters here."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "symbolic link"
    FIFO = "FIFO"
    SOCKET = "socket"
    DEVICE = "device"

    @property
    def is_storable(self) -> bool:
        """Whether a member can keep it."""
        return self in {Kind.FILE, Kind.DIRECTORY, Kind.LINK}


_KINDS: Final = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells whether a local file is still the one that was looked at."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    """The time of its last change of any sort, also of its mode or name; nobody can set it."""
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Return the state in an ``os.stat`` result."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """A local name at one moment; links are themselves, not what they point to."""

    kind: Kind
    mode: int
    """Permission bits, 0o7777 at most."""
    state: FileState
    target: bytes = b""
    """Where a link points to."""

    @classmethod
    def of(cls, status: os.stat_result, target: bytes = b"") -> LocalEntry:
        """Return what an ``os.lstat`` result says."""
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), Kind.DEVICE)
        return cls(kind, status.st_mode & PERMISSIONS, FileState.of(status), target)

    @property
    def modified_ns(self) -> int:
        """When its content changed last."""
        return self.state.modified_ns

    @property
    def attributes(self) -> Attributes:
        """What a member is told of it, beside its content; UsageError for a time beyond its reach."""
        mode = None if self.kind is Kind.LINK else self.mode
        return Attributes(modified_ns=check_moment(self.modified_ns), mode=mode)


def entry_at(folder: int, name: str) -> LocalEntry | None:
    """Return what ``name`` in the directory ``folder`` is, None where nothing is; OSError as it comes."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        is_link = stat.S_ISLNK(status.st_mode)
        target = os.readlink(os.fsencode(name), dir_fd=folder) if is_link else b""
    except FileNotFoundError:
        return None
    return LocalEntry.of(status, target)


def path_of(fd: int) -> str:
    """Return a path of what ``fd`` is open on, be it O_PATH: it leads through no name and no link."""
    return f"/proc/self/fd/{fd}"
