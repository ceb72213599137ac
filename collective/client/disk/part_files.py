"""Part files: where a download lies until all of it is there, and how it gets its name.

A part lies beside its target, so that it can be renamed to it.  Its name cannot come from a member:
it holds a control character (DEL), which no path may hold, so nothing that is downloaded can be
taken for a part, and no part is ever uploaded.  It is opened only if it is a plain file of ours alone,
through no link; it is locked while it is written, and is nobody else's to read until it is published.
Where any of that fails, a part under a random name is used, which is not kept.

What a part from before holds is not believed: see ``single_file.matching``.  Parts of the same target that are for
another version are of no use any more and go.  All of this is blocking.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from collective.client.disk.attributes import WantedAttributes, give
from collective.client.disk.local_entries import path_of
from collective.core.randomness import Randomness
from collective.model.entries import Entry

NEVER_REMOTE: Final = "\x7f"
"""In every part's name: a character that ``core.paths`` refuses and every file system takes."""
_END: Final = f"{NEVER_REMOTE}.part"
_DIGEST_CHARS: Final = 16
_NAME_KEPT_CHARS: Final = 60
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_TRIES: Final = 4


def part_name(name: str, domain: str, entry: Entry) -> str:
    """Return the name under which ``entry`` of member ``domain`` lies on its way to ``name``."""
    what = (domain, entry.path, entry.version, entry.size_bytes, entry.digest.hex())
    return _named(name, hashlib.sha256("\0".join(map(str, what)).encode()).hexdigest())


def random_name(name: str, randomness: Randomness) -> str:
    """Return a name beside ``name`` that no member can have."""
    return _named(name, randomness.token(32).hex())


def _named(name: str, digest: str) -> str:
    return f"{_beginning(name)}{digest[:_DIGEST_CHARS]}{_END}"


def _beginning(name: str) -> str:
    shown = name.encode("utf-8", "surrogateescape")[:_NAME_KEPT_CHARS].decode("utf-8", "ignore")
    return f".{shown}."


class PartFile:
    """An open part file in a directory; :meth:`close` it in any case."""

    def __init__(self, fd: int, folder: int, name: str, target: str, *, is_kept: bool) -> None:
        """Use :meth:`open`."""
        self.fd = fd
        self.name = name
        self._folder = folder
        self._target = target
        self._is_kept = is_kept
        self._is_published = False

    @classmethod
    def open(
        cls,
        folder: int,
        name: str,
        domain: str,
        entry: Entry,
        randomness: Randomness,
        *,
        left: Iterable[str] | None = None,
    ) -> PartFile:
        """Open the part of ``entry`` on its way to ``name``, with what it held before, if usable.

        Args:
            folder: a descriptor of the directory; it stays the caller's, and open until the part is
                closed.
            name: of the file that it is to become.
            domain: of the member.
            entry: what is downloaded.
            randomness: names a part that is not kept.
            left: names of parts in the directory, where they are known.

        Raises OSError where ``name`` cannot become a file, or nothing can be written beside it.
        """
        check_replaceable(folder, name)
        own = part_name(name, domain, entry)
        _drop_others(folder, name, own, parts_in(folder) if left is None else left)
        for _ in range(_TRIES):
            fd = _open_own(folder, own)
            if fd is None:
                break
            if _names(folder, own, fd):
                return cls(fd, folder, own, name, is_kept=True)
            os.close(fd)  # it was published, or taken away, before we had the lock
        own = random_name(name, randomness)
        fd = os.open(own, _FLAGS | os.O_EXCL, 0o600, dir_fd=folder)
        return cls(fd, folder, own, name, is_kept=False)

    @property
    def size_bytes(self) -> int:
        """How much is there, true or not."""
        return os.fstat(self.fd).st_size

    @property
    def will_stay(self) -> bool:
        """Whether it is left for the next time if it is closed now."""
        return self._is_kept and not self._is_published and self.size_bytes > 0

    def discard(self) -> None:
        """Have it go when it is closed, whatever it holds."""
        self._is_kept = False

    def publish(self, attributes: WantedAttributes) -> None:
        """Flush the part, give it its attributes and its target's name; OSError if it cannot be."""
        check_replaceable(self._folder, self._target)
        give(self.fd, attributes)
        os.fsync(self.fd)
        if not _names(self._folder, self.name, self.fd):
            raise OSError(errno.EBUSY, "someone else changed its part while it was written")
        replace(self._folder, self.name, self._target)
        self._is_published = True

    def close(self) -> None:
        """Close it; it stays for the next time if it holds anything and would be found again."""
        if not self._is_published and not self.will_stay:
            with suppress(OSError):
                if _names(self._folder, self.name, self.fd):
                    os.unlink(self.name, dir_fd=self._folder)
        os.close(self.fd)


def replace(folder: int, name: str, target: str) -> None:
    """Give ``name`` in ``folder`` the name ``target``, and flush that."""
    os.replace(name, target, src_dir_fd=folder, dst_dir_fd=folder)
    own = os.open(path_of(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(own)
    finally:
        os.close(own)


def check_replaceable(folder: int, name: str) -> None:
    """Raise OSError where ``name`` is there and neither a file nor a link: devices stay as they are."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise OSError(errno.EINVAL, "it is no file; to write into it use 'collective read'")


def parts_in(folder: int) -> list[str]:
    """Return the names of all parts in a directory; none where it cannot be listed."""
    try:
        own = os.open(path_of(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return [name for name in os.listdir(own) if name.endswith(_END)]
    finally:
        os.close(own)


def _drop_others(folder: int, name: str, but: str, left: Iterable[str]) -> None:
    """Remove parts of the same target that nobody writes: they are for other versions of it."""
    beginning, length = _beginning(name), len(but)
    for other in left:
        if other == but or len(other) != length or not other.startswith(beginning):
            continue
        fd = _open_own(folder, other, create=False)
        if fd is not None:
            with suppress(OSError):
                os.unlink(other, dir_fd=folder)
            os.close(fd)


def _open_own(folder: int, name: str, *, create: bool = True) -> int | None:
    """Return a locked descriptor of a plain file that is ours alone; None if it cannot be had."""
    flags = _FLAGS if create else _FLAGS & ~os.O_CREAT
    try:
        fd = os.open(name, flags, 0o600, dir_fd=folder)
    except OSError as error:
        unusable = {errno.ELOOP, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENXIO}
        if not create or error.errno in unusable:
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


def _names(folder: int, name: str, fd: int) -> bool:
    """Tell whether ``name`` in ``folder`` itself is the open file ``fd``."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))
