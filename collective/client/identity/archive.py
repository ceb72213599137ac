"""Moving what no longer counts out of the way, in a folder ``replaced-<time>``: nothing is lost."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Sequence

from collective.client.identity.config_dir import ConfigDir
from collective.core.disk import Disk


def set_aside(place: ConfigDir, paths: Sequence[str], *, now_ms: int, disk: Disk) -> str:
    """Move ``paths``, files or folders below ``place``, in this order; return the folder they are in.

    They keep their way below the configuration folder.  What is not there is left out.
    """
    target = posixpath.join(place.path, f"replaced-{now_ms}")
    disk.make_dir(target)
    for path in paths:
        goal = posixpath.join(target, posixpath.relpath(path, place.path))
        folder = posixpath.dirname(goal)
        if folder != target:
            disk.make_dir(folder)
        with contextlib.suppress(FileNotFoundError):
            disk.rename(path, goal)
            disk.sync_dir(posixpath.dirname(path))
        disk.sync_dir(folder)
    disk.sync_dir(target)
    disk.sync_dir(place.path)
    return target
