"""Part files: where a download lies until all of it is there, and how it gets its name.

A part lies beside its target, so that it can be renamed to it.  Its name cannot come from a member:
it holds a control character (DEL), which no path may hold, so nothing that is downloaded can be
taken for a part, and no part is ever uploaded.  It is opened only if it is a plain file of ours alone,
through no link; it is locked while it is written, and is nobody else's to read until it is published.
Whatever fails of that is gone round by a part under a random name, which is not kept.

What a part from before holds is not believed: see ``checking``.  All of this is blocking.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from typing import Final

from collective.catalog.model import Entry
from collective.core.randomness import Randomness

NEVER_REMOTE: Final = "\x7f"
"""In every part's name: a character that ``core.paths`` refuses and every file system takes."""
_DIGEST_CHARS: Final = 16
_NAME_KEPT_CHARS: Final = 60
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_TRIES: Final = 4


def part_path(local: str, domain: str, entry: Entry) -> str:
    """Return where ``entry`` of member ``domain`` lies on its way to ``local``."""
    what = (domain, entry.path, entry.version, entry.size_bytes, entry.digest.hex())
    return _named(local, hashlib.sha256("\0".join(map(str, what)).encode()).hexdigest())


def _named(local: str, digest: str) -> str:
    folder, name = os.path.split(local)
    shown = name.encode("utf-8", "surrogateescape")[:_NAME_KEPT_CHARS].decode("utf-8", "ignore")
    return os.path.join(folder, f".{shown}.{digest[:_DIGEST_CHARS]}{NEVER_REMOTE}.part")


class Part:
    """An open part file; :meth:`close` it in any case."""

    def __init__(self, fd: int, path: str, local: str, *, is_kept: bool) -> None:
        """Use :meth:`open`."""
        self.fd = fd
        self.path = path
        self._local = local
        self._is_kept = is_kept
        self._is_published = False

    @classmethod
    def open(cls, local: str, domain: str, entry: Entry, randomness: Randomness) -> Part:
        """Open the part of ``entry`` on its way to ``local``, with what it held before, if usable.

        Raises OSError where ``local`` cannot become a file, or nothing can be written beside it.
        """
        _check_target(local)
        path = part_path(local, domain, entry)
        for _ in range(_TRIES):
            fd = _open_own(path)
            if fd is None:
                break
            if _names(path, fd):
                return cls(fd, path, local, is_kept=True)
            os.close(fd)  # it was published, or taken away, before we had the lock
        path = _named(local, randomness.token(32).hex())
        return cls(os.open(path, _FLAGS | os.O_EXCL, 0o600), path, local, is_kept=False)

    @property
    def size_bytes(self) -> int:
        """How much is there, true or not."""
        return os.fstat(self.fd).st_size

    def publish(self, entry: Entry) -> None:
        """Flush the part, give it its attributes and its target's name; OSError if it cannot be."""
        _check_target(self._local)
        os.fsync(self.fd)
        mode = 0o666 if entry.mode is None else entry.mode
        os.fchmod(self.fd, mode & 0o777 & ~_umask())
        if entry.modified_ns is not None:
            with suppress(OSError, OverflowError):  # a time that this machine does not know
                os.utime(self.fd, ns=(entry.modified_ns,) * 2)
        if not _names(self.path, self.fd):
            raise OSError(errno.EBUSY, "someone else changed its part while it was written")
        os.replace(self.path, self._local)
        self._is_published = True
        folder = os.open(os.path.dirname(self._local) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Close it; it stays for the next time if it holds anything and would be found again."""
        if not self._is_published and (not self._is_kept or not self.size_bytes):
            with suppress(OSError):
                if _names(self.path, self.fd):
                    os.unlink(self.path)
        os.close(self.fd)


def _open_own(path: str) -> int | None:
    """Return a locked descriptor of a plain file that is ours alone; None if it cannot be had."""
    try:
        fd = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENXIO}:
            return None
        raise
    try:
        status = os.fstat(fd)
        is_ours = status.st_uid == os.geteuid() and status.st_nlink <= 1
        if stat.S_ISREG(status.st_mode) and is_ours:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, 0o600)
            return fd
    except OSError:  # another get is at it, or the file system has no locks
        pass
    os.close(fd)
    return None


def _names(path: str, fd: int) -> bool:
    """Tell whether ``path`` itself is the open file ``fd``."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _check_target(local: str) -> None:
    """Raise OSError where ``local`` is there and no file: devices and the like are not replaced."""
    try:
        mode = os.lstat(local).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise OSError(errno.EINVAL, "it is no file; to write into it use 'collective read'")


def _umask() -> int:
    """Return the process's umask; files that others make in this moment are private."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
