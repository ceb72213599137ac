"""A local directory and what lies below it, reached by names that never lead through a link.

Each step of a path is opened by itself, relative to the one before and without following links
(``openat`` with O_NOFOLLOW), so that nothing that is put in a directory's place meanwhile leads out
of the tree, and paths may be longer than the kernel takes at once.  Blocking.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from collective.client.disk.errors import local_error
from collective.client.disk.local_entries import LocalEntry, entry_at, path_of
from collective.core.errors import CollectiveError, ConflictError

Names = tuple[str, ...]
"""Below the root; empty for the root itself."""
_STEP: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LocalTree:
    """The directory ``root``, which may be a link itself; :meth:`close` it in the end."""

    def __init__(self, root: str) -> None:
        """Open ``root``; CollectiveError where it is no directory."""
        self.root: Final = root
        try:
            self._fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise local_error(error, root) from error

    def close(self) -> None:
        """Let go of the root."""
        os.close(self._fd)

    def shown(self, names: Names) -> str:
        """Return the path of ``names`` for people."""
        return os.path.join(self.root, *names)

    @contextmanager
    def folder(self, names: Names) -> Iterator[int]:
        """Give a descriptor of the directory ``names``, for use as ``dir_fd`` alone.

        Raises CollectiveError where it is none, or where a link is on the way.
        """
        fd = os.dup(self._fd)
        try:
            for depth, name in enumerate(names, 1):
                try:
                    below = os.open(name, _STEP, dir_fd=fd)
                except OSError as error:
                    raise self._no_folder(error, fd, names[:depth]) from error
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    def _no_folder(self, error: OSError, parent: int, names: Names) -> CollectiveError:
        shown = self.shown(names)
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            with suppress(OSError):
                there = os.stat(names[-1], dir_fd=parent, follow_symlinks=False)
                if stat.S_ISLNK(there.st_mode):
                    return ConflictError(
                        f"Local {shown!r} is a symbolic link, which is not followed; move it away."
                    )
                return ConflictError(f"Local {shown!r} is no directory; move it away.")
        return local_error(error, shown)

    def look(self, names: Names) -> LocalEntry | None:
        """Return what is at ``names``, None where nothing is; links are themselves."""
        if not names:
            return LocalEntry.of(os.stat(self._fd))
        with self.folder(names[:-1]) as folder:
            try:
                return entry_at(folder, names[-1])
            except OSError as error:
                raise local_error(error, self.shown(names)) from error

    def list(self, names: Names) -> list[tuple[str, LocalEntry | CollectiveError]]:
        """Return what is in the directory ``names``, each name with what it is or why nobody knows."""
        with self.folder(names) as folder:
            try:
                reading = os.open(path_of(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                raise local_error(error, self.shown(names)) from error
            try:
                found = os.listdir(reading)
            except OSError as error:
                raise local_error(error, self.shown(names)) from error
            finally:
                os.close(reading)
            return [(name, self._found(folder, (*names, name))) for name in found]

    def _found(self, folder: int, names: Names) -> LocalEntry | CollectiveError:
        try:
            local = entry_at(folder, names[-1])
        except OSError as error:
            return local_error(error, self.shown(names))
        return local or local_error(FileNotFoundError(errno.ENOENT, ""), self.shown(names))

    def open_file(self, names: Names) -> int:
        """Return a descriptor of the plain file ``names``, for reading; CollectiveError if it is none."""
        with self.folder(names[:-1]) as folder:
            try:
                return open_plain_file(folder, names[-1])
            except OSError as error:
                raise local_error(error, self.shown(names)) from error


def open_plain_file(folder: int, name: str) -> int:
    """Return a descriptor for reading of a plain file; OSError for anything else, links too."""
    fd = os.open(name, _READ, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no plain file any more")
    return fd
