"""Folders in which nobody but we can have written: where the client keeps its notes.  Blocking."""

from __future__ import annotations

import os
import stat
from typing import Final

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def is_private(folder: str) -> bool:
    """Tell whether ``folder`` is a directory of ours, no link, that nobody else can write to."""
    status = os.lstat(folder)
    mode = status.st_mode
    return stat.S_ISDIR(mode) and status.st_uid == os.geteuid() and not mode & 0o022


def open_new(path: str, _: int = 0) -> int:
    """Return a descriptor of a new file that only we may read; fit to be an ``opener``."""
    return os.open(path, _NEW, 0o600)
