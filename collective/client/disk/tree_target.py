"""Where a tree that is downloaded lands on this machine: below its root, each name for itself.

Names, targets of links and attributes come from others.  Nothing is written through a symbolic link
(see ``tree``), so nothing is written outside of the root; a link is made under a name of its own and
then given its place, whatever it points to.  No name takes the place of another that the file system
holds for the same (``README`` and ``readme``, or one name in two forms of Unicode): the first that
comes is kept, the others are refused by name.  Devices, pipes and sockets are never replaced.  Blocking.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from collective.client.disk.attributes import (
    WantedAttributes,
    date_link,
    give_at,
    shortfall,
)
from collective.client.disk.errors import FULL, local_error
from collective.client.disk.local_entries import PERMISSIONS, LocalEntry, entry_at, path_of
from collective.client.disk.nofollow_tree import LocalTree, Names
from collective.client.disk.part_files import (
    NEVER_REMOTE,
    check_replaceable,
    parts_in,
    random_name,
    replace,
)
from collective.core.errors import ConflictError, RejectedError, UsageError
from collective.core.randomness import Randomness

_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"
_CLOSED: Final = FULL | {errno.EACCES, errno.EPERM, errno.EROFS}
_GET_FLAGS: Final = 0x80086601
"""Linux's FS_IOC_GETFLAGS."""
_CASEFOLDED: Final = 0x40000000
"""Linux's FS_CASEFOLD_FL: ext4 and F2FS have it for single directories."""
_WORKING: Final = 0o700
"""What we need of a directory while we write in it."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """A directory that is there, or was made."""

    is_made: bool
    folds: bool
    """Whether different names may be one in it."""
    parts: Sequence[str]
    """What earlier downloads left in it."""


class TreeTarget:
    """The local directory ``root``, which is made if absent; :meth:`close` it in the end."""

    def __init__(self, root: str, randomness: Randomness) -> None:
        """Make ``root``, with those above it; ConflictError where a file is, UsageError where it cannot be."""
        self.is_made: Final = not os.path.lexists(root)
        try:
            if self.is_made:
                os.makedirs(os.path.dirname(os.path.abspath(root)), exist_ok=True)
                os.mkdir(root, _WORKING)
            else:
                os.makedirs(root, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            says = f"Local directory {root!r} cannot be made: {reason}."
            if isinstance(error, FileExistsError | NotADirectoryError):
                raise ConflictError(says) from error
            raise UsageError(says) from error
        self.tree: Final = LocalTree(root)
        self._randomness = randomness
        self._folding: dict[int, bool] = {}
        """By file system."""
        self._first: dict[Names, str] = {}
        self.found: Final = self.tree.look(())
        """The root as it was found, before anything was done in it."""
        with self.tree.folder(()) as fd:
            own = self._entered(fd, is_made=self.is_made)
        self._folders: dict[Names, _Folder] = {(): own}

    def close(self) -> None:
        """Let go of the root."""
        self.tree.close()

    def state_of_root(self) -> tuple[int, int]:
        """Return what tells this directory from every other on the machine."""
        with self.tree.folder(()) as fd:
            status = os.stat(fd)
            return status.st_dev, status.st_ino

    def look(self, names: Names) -> LocalEntry | None:
        """Return what is at ``names``; ConflictError if another name of the tree has its place."""
        with self.tree.folder(names[:-1]) as folder:
            self._check_own(names)
            try:
                return entry_at(folder, names[-1])
            except OSError as error:
                raise local_error(error, self.tree.shown(names)) from error

    def enter(self, names: Names) -> bool:
        """Have the directory ``names`` there, ready to be written in; return whether it was made.

        Its parent was entered before.  Raises CollectiveError where something else is in its place.
        """
        with self._parent(names) as (folder, name):
            is_made = False
            if entry_at(folder, name) is None:
                os.mkdir(name, _WORKING, dir_fd=folder)
                is_made = True
        try:
            with self.tree.folder(names) as fd:
                _open_up(fd)
                self._folders[names] = self._entered(fd, is_made=is_made)
        except OSError as error:
            raise local_error(error, self.tree.shown(names)) from error
        return is_made

    def own_root(self) -> None:
        """Have the root, which an earlier download made, ready to be written in."""
        with self.tree.folder(()) as fd, suppress(OSError):
            _open_up(fd)

    def _entered(self, fd: int, *, is_made: bool) -> _Folder:
        device = os.stat(fd).st_dev
        if device not in self._folding:
            found = folds_names(fd, self._randomness)
            if found is not None:
                self._folding[device] = found
        folds = self._folding.get(device, False) or is_casefolded(fd)
        return _Folder(is_made, folds, () if is_made else parts_in(fd))

    @contextmanager
    def place(self, names: Names) -> Iterator[tuple[int, str, Sequence[str]]]:
        """Give the directory of a file that is to come, its name, and parts that are left there."""
        with self._parent(names) as (folder, name):
            yield folder, name, self._folders[names[:-1]].parts

    @contextmanager
    def _parent(self, names: Names) -> Iterator[tuple[int, str]]:
        if names[:-1] not in self._folders:
            raise RejectedError("The coordinator listed it without its directory; get it again.")
        self._check_own(names)
        with self.tree.folder(names[:-1]) as folder:
            try:
                yield folder, names[-1]
            except OSError as error:
                raise local_error(error, self.tree.shown(names)) from error

    def link(self, names: Names, target: bytes, wanted: WantedAttributes) -> str:
        """Make a symbolic link at ``names``, in the place of a file or link that may be there.

        Returns what this machine would not keep of it, as a sentence; empty where it keeps all.
        """
        with self._parent(names) as (folder, name):
            make_link(folder, name, target, wanted, self._randomness)
        return self._shortfall(names, wanted)

    def settle(self, names: Names, wanted: WantedAttributes) -> str:
        """Give what is at ``names`` its time and mode; return what was not kept, as :meth:`link`.

        A directory that was made and is to have no mode gets what the umask leaves of 0o777.
        """
        is_new = names in self._folders and self._folders[names].is_made
        name = names[-1] if names else "."
        with self.tree.folder(names[:-1]) as folder:
            try:
                give_at(folder, name, wanted, is_new=is_new)
            except OSError as error:
                raise local_error(error, self.tree.shown(names)) from error
        return self._shortfall(names, wanted)

    def _shortfall(self, names: Names, wanted: WantedAttributes) -> str:
        local = self.tree.look(names)
        return shortfall(local, wanted) if local is not None else ""

    def _check_own(self, names: Names) -> None:
        """Raise ConflictError if another name of the tree has this one's place."""
        folder = self._folders.get(names[:-1])
        if folder is None or not folder.folds:
            return
        first = self._first.setdefault((*names[:-1], _folded(names[-1])), names[-1])
        if first != names[-1]:
            raise ConflictError(
                f"This file system holds {names[-1]!r} and {first!r} for one name; get one of them"
                " into another directory."
            )


def make_link(
    folder: int, name: str, target: bytes, wanted: WantedAttributes, randomness: Randomness
) -> None:
    """Make a symbolic link in the place of a file or link that may be there; OSError as it comes."""
    check_replaceable(folder, name)
    own = random_name(name, randomness)
    os.symlink(target, os.fsencode(own), dir_fd=folder)
    try:
        date_link(folder, own, wanted)
        replace(folder, own, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(own, dir_fd=folder)
        raise


def _open_up(fd: int) -> None:
    """Let us write in a directory of ours; :meth:`TreeTarget.settle` gives it its mode."""
    status = os.stat(fd)
    if status.st_mode & _WORKING != _WORKING and status.st_uid == os.geteuid():
        os.chmod(path_of(fd), status.st_mode & PERMISSIONS | _WORKING)


def folds_names(folder: int, randomness: Randomness) -> bool | None:
    """Tell whether ``folder`` holds names for one that differ in case or in their Unicode form.

    None where nothing can be made in it, so that it cannot be told and does not matter.
    """
    unique = f".{randomness.token(8).hex()}{NEVER_REMOTE}"
    name = f"{unique}a{_COMPOSED}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        os.close(os.open(name, flags, 0o600, dir_fd=folder))
    except OSError as error:
        return None if error.errno in _CLOSED else True  # it does not take such names: be careful
    try:
        others = (f"{unique}A{_COMPOSED}", f"{unique}a{_DECOMPOSED}")
        return any(entry_at(folder, other) is not None for other in others)
    finally:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)


def is_casefolded(folder: int) -> bool:
    """Tell whether a directory holds names for one that differ in case, on a system where others do not."""
    flags = bytearray(8)
    try:
        fd = os.open(path_of(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _GET_FLAGS, flags)
        finally:
            os.close(fd)
    except OSError:  # it has no such flags
        return False
    return bool(int.from_bytes(flags[:4], sys.byteorder) & _CASEFOLDED)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
