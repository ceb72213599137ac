"""A folder that several parties write, each in a subfolder of its own; every other writer may be hostile.

Owns the one way to read and write there.  Each step of the way is opened by itself, relative to the one
before and without following links (``openat`` with O_NOFOLLOW), and what is looked at is what was opened:
so nothing that is put in a file's place meanwhile is read, waited for or written.  Of a file at most so
many bytes are read as the caller takes, whatever its length says.

Refuses what is no plain file: links, pipes, devices, sockets, folders, and files with a second name, by
which somebody could have us read what they cannot read themselves.  Links on the way to the folder itself
are followed: that path is the operator's.  Blocking.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from collective.core.errors import RejectedError

Stamp = tuple[int, int, int, int]
"""Which file stands at a name and when it changed: inode, size, times of modification and of change."""

_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STEP: Final = _ROOT | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE: Final = 0o755
_FILE_MODE: Final = 0o644
_NO_PLAIN_FILE: Final = frozenset({errno.ENXIO, errno.ENODEV, errno.EISDIR})


class UnfitFileError(RejectedError):
    """Something stands there that is not read; the message says what, as the rest of a sentence."""


class Listing(NamedTuple):
    """Names in a folder, in no order."""

    names: Sequence[str]
    is_whole: bool
    """False: there are more."""


class SharedFile(NamedTuple):
    """A file as it was found."""

    stamp: Stamp
    content: bytes | None
    """None: the caller has seen this file."""


class SharedFolder(Protocol):
    """See the module; every method raises OSError where the file system refuses."""

    def names(self, most: int) -> Listing:
        """Return the names in the folder, at most ``most``; more are not looked at."""
        ...

    def read(
        self, subfolder: str, name: str, most_bytes: int, seen: Stamp | None
    ) -> SharedFile | None:
        """Return the plain file ``name`` of ``subfolder``; None where there is none.

        Args:
            subfolder: one name.
            name: one name.
            most_bytes: a larger file is refused.
            seen: the content of the file with this stamp is not read again.

        Raises:
            UnfitFileError: something else stands there.
        """
        ...

    def write(self, subfolder: str, name: str, content: bytes) -> None:
        """Replace a file durably and at once, for everybody to read; the subfolder is made if absent."""
        ...


class OsSharedFolder:
    """A folder of the machine."""

    def __init__(self, path: str) -> None:
        """Use the folder at ``path``, which need not exist yet."""
        self._path = path

    def names(self, most: int) -> Listing:
        """Return the names in the folder."""
        with _opened(self._path, _ROOT) as root, os.scandir(root) as entries:
            found = [entry.name for entry in itertools.islice(entries, most + 1)]
        return Listing(found[:most], is_whole=len(found) <= most)

    def read(
        self, subfolder: str, name: str, most_bytes: int, seen: Stamp | None
    ) -> SharedFile | None:
        """Return a plain file of a subfolder."""
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(_opened(self._path, _ROOT))
            try:
                folder = stack.enter_context(_opened(subfolder, _STEP, root))
            except FileNotFoundError:
                return None
            except NotADirectoryError as error:
                raise UnfitFileError("its subfolder is a link, or no folder.") from error
            try:
                fd = stack.enter_context(_opened(name, _READ, folder))
            except FileNotFoundError:
                return None
            except OSError as error:
                raise _unfit(error) from error
            return _read(fd, most_bytes, seen)

    def write(self, subfolder: str, name: str, content: bytes) -> None:
        """Replace a file of a subfolder."""
        fresh = f".{name}.new"
        with _opened(self._path, _ROOT) as root, _ready(subfolder, root) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=folder)
            with _opened(fresh, _CREATE, folder) as fd:
                os.fchmod(fd, _FILE_MODE)
                left = memoryview(content)
                while left:
                    left = left[os.write(fd, left) :]
                os.fsync(fd)
            os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)


@contextlib.contextmanager
def _opened(path: str, flags: int, folder: int | None = None) -> Iterator[int]:
    fd = os.open(path, flags, _FILE_MODE, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _ready(subfolder: str, root: int) -> Iterator[int]:
    """Give the descriptor of a subfolder, made if it is absent."""
    made = False
    try:
        os.stat(subfolder, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        os.mkdir(subfolder, _FOLDER_MODE, dir_fd=root)
        made = True
    with _opened(subfolder, _STEP, root) as folder:
        if made:
            os.fchmod(folder, _FOLDER_MODE)
            os.fsync(root)
        yield folder


def _read(fd: int, most_bytes: int, seen: Stamp | None) -> SharedFile:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise UnfitFileError("it is no plain file.")
    if found.st_nlink > 1:
        raise UnfitFileError("it has a second name elsewhere (a hard link).")
    stamp = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if stamp == seen:
        return SharedFile(stamp, None)
    content = b""
    while len(content) <= most_bytes:
        more = os.read(fd, most_bytes + 1 - len(content))
        if not more:
            return SharedFile(stamp, content)
        content += more
    raise UnfitFileError(f"it is larger than {most_bytes // 1024} KiB.")


def _unfit(error: OSError) -> Exception:
    """Return what a name means that cannot be opened as a file; the error itself where it says so."""
    if error.errno == errno.ELOOP:
        return UnfitFileError("it is a symbolic link.")
    if error.errno in _NO_PLAIN_FILE:
        return UnfitFileError("it is no plain file.")
    return error
