"""Giving a local file, directory or link the time and mode that it is to have, and saying what was not kept.

Whoever made a tree chose its modes; they are given exactly, whatever the umask.  Only the bits that make a
program run as another user or group are given to files where that was asked for: those who read a file
out of a member do not always know who put it there.  Blocking.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from collective.client.disk.local_entries import PERMISSIONS, Kind, LocalEntry, entry_at, path_of
from collective.core.moments import moment_text
from collective.model.entries import Entry

SET_ID: Final = stat.S_ISUID | stat.S_ISGID
_FILE, _DIRECTORY = 0o666, 0o777
"""What is made without a mode has of these what the umask leaves."""


@dataclass(frozen=True, slots=True)
class WantedAttributes:
    """What a local entry is to have; None leaves it to this machine."""

    modified_ns: int | None
    mode: int | None

    @classmethod
    def of(cls, entry: Entry, *, keeps_set_id: bool) -> WantedAttributes:
        """Return what ``entry`` says; ``keeps_set_id``: files get their set-id bits, too."""
        mode = entry.mode
        if mode is not None and entry.kind.is_leaf and not keeps_set_id:
            mode &= ~SET_ID
        return cls(entry.modified_ns, mode)

    def fit(self, local: LocalEntry) -> bool:
        """Tell whether ``local`` has them already."""
        return self.modified_ns in {None, local.modified_ns} and (
            local.kind is Kind.LINK or self.mode in {None, local.mode}
        )


def give(fd: int, wanted: WantedAttributes) -> None:
    """Give the new file ``fd`` what it is to have; OSError where the machine refuses."""
    mode = _FILE & ~umask() if wanted.mode is None else wanted.mode
    if mode != os.fstat(fd).st_mode & PERMISSIONS:
        os.fchmod(fd, mode)
    if wanted.modified_ns is not None:
        with suppress(OverflowError):  # a time that this machine does not know: see shortfall
            os.utime(fd, ns=(wanted.modified_ns, wanted.modified_ns))


def give_at(folder: int, name: str, wanted: WantedAttributes, *, is_new: bool = False) -> None:
    """Give what is at ``name`` in ``folder`` what it is to have; a link gets it itself.

    A new directory that is to have no mode gets what the umask leaves of 0o777.  OSError as it comes.
    """
    local = entry_at(folder, name)
    if local is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if local.kind is Kind.LINK:
        date_link(folder, name, wanted)
        return
    mode = _DIRECTORY & ~umask() if wanted.mode is None and is_new else wanted.mode
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        own = path_of(fd)
        if mode not in {None, local.mode}:
            os.chmod(own, mode or 0)
        if wanted.modified_ns not in {None, local.modified_ns}:
            with suppress(OverflowError):
                os.utime(own, ns=(wanted.modified_ns or 0, wanted.modified_ns or 0))
    finally:
        os.close(fd)


def date_link(folder: int, name: str, wanted: WantedAttributes) -> None:
    """Give the link ``name`` in ``folder`` its own time."""
    if wanted.modified_ns is not None:
        with suppress(OverflowError):
            times = (wanted.modified_ns, wanted.modified_ns)
            os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)


def shortfall(local: LocalEntry, wanted: WantedAttributes) -> str:
    """Return what ``local`` has not got of what it was given, as a sentence; empty: it has all."""
    if wanted.mode is not None and local.kind is not Kind.LINK and wanted.mode != local.mode:
        return (
            f"Its mode {wanted.mode:04o} cannot be kept here: it has {local.mode:04o}; get it into"
            " another file system."
        )
    if wanted.modified_ns is not None and wanted.modified_ns != local.modified_ns:
        return (
            f"Its time {moment_text(wanted.modified_ns)} cannot be kept here: it has"
            f" {moment_text(local.modified_ns)}; get it into another file system."
        )
    return ""


def umask() -> int:
    """Return the process's umask; files that others make in this moment are private."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
