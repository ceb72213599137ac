"""The machine that trees lie on: an ordinary user there, and every fact of a tree as a value."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.trees.home import HOLE_LEAST_BYTES


class OrdinaryUser:
    """Whom the rules of the file system hold: root is let in everywhere."""

    uid: Final = 65534

    def own(self, path: Path) -> None:
        """Give ``path`` to this user, if we are root; else it is ours already."""
        if os.getuid() == 0:
            os.chown(path, self.uid, self.uid)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Have this process be that user inside, if it is root."""
        if os.geteuid() != 0:
            yield
            return
        groups, gid = os.getgroups(), os.getegid()
        os.setgroups([self.uid])
        os.setegid(self.uid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)


NOBODY: Final = OrdinaryUser()


@dataclass(frozen=True)
class Seen:
    """Everything of one name that a tree promises to keep."""

    kind: int
    mode: int
    modified_ns: int
    content: bytes = b""
    target: bytes = b""
    holes: tuple[tuple[int, int], ...] = ()


Names = tuple[str, ...]


def snapshot(root: Path, hole_least_bytes: int = HOLE_LEAST_BYTES) -> dict[Names, Seen]:
    """Return every name below ``root``, itself as (), whoever may read it."""
    found: dict[Names, Seen] = {}
    pending: list[Names] = [()]
    while pending:
        names = pending.pop()
        path = os.path.join(root, *names)
        status = os.lstat(path)
        kind = stat.S_IFMT(status.st_mode)
        content, target = b"", b""
        holes: tuple[tuple[int, int], ...] = ()
        if kind == stat.S_IFDIR:
            pending += [(*names, name) for name in os.listdir(path)]
        elif kind == stat.S_IFLNK:
            target = os.readlink(os.fsencode(path))
        elif kind == stat.S_IFREG:
            content, holes = _content(path, hole_least_bytes)
        mode = 0 if kind == stat.S_IFLNK else stat.S_IMODE(status.st_mode)
        found[names] = Seen(kind, mode, status.st_mtime_ns, content, target, holes)
    return found


def _content(path: str, hole_least_bytes: int) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """Return what a file reads as, and its holes that count, by a walk of its own over them."""
    with open(path, "rb") as file:
        content = file.read()
        size, holes, position = len(content), [], 0
        while position < size:
            data = size
            with suppress(OSError):  # none is left
                data = os.lseek(file.fileno(), position, os.SEEK_DATA)
            if data - position >= hole_least_bytes:
                holes.append((position, data))
            if data >= size:
                break
            position = os.lseek(file.fileno(), data, os.SEEK_HOLE)
    return content, tuple(holes)


def open_up(root: Path) -> None:
    """Let the owner into everything below ``root``, so that it can be removed."""
    pending = [os.fsencode(root)]
    while pending:
        path = pending.pop()
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            continue
        os.chmod(path, 0o700)
        pending += [os.path.join(path, name) for name in os.listdir(path)]
