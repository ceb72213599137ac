"""Remembers what a tree's `put` stored, so that the next one need not read unchanged files again.

One file for each tree in the client's state dir, named by a digest of what identifies it: the member,
the path and the local directory.  Its first line is a header; each other line is JSON: the name below
the root, the version at the member, and the local file's size, times and inode when it was read.  Lines
are added while a `put` goes on, and a later one about a name replaces an earlier one; a `put` that ends
leaves lines about what it saw alone.

A note counts while the member has that version and the local file is in that state.  Files that
changed after the `put` began are not noted: with the coarse clocks of file systems another change might
leave them in the same state.  Notes are believed only where nobody else can have written them, and
notes that cannot be read or written are as good as none: files are then compared.  Blocking.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import IO, Final

from collective.client.disk.local_entries import FileState
from collective.client.disk.nofollow_tree import Names
from collective.client.disk.private import is_private
from collective.core.paths import FilePath

FORMAT: Final = 1
FILE_MAX_BYTES: Final = 1 << 30
"""Larger notes are not read: they would not fit into memory either."""
_ADD: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_ANEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Note:
    version: int
    state: FileState


class TreeNotes:
    """Notes about one tree; :meth:`open` them first, :meth:`close` them in the end."""

    def __init__(self, state_dir: str | None, domain: str, path: FilePath, local: str) -> None:
        """Keep notes under ``state_dir`` (None: none) on ``local`` going to ``path`` at ``domain``."""
        self._folder = None if state_dir is None else os.path.join(state_dir, "trees")
        identity = [domain, str(path), os.path.realpath(local)]
        digest = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogateescape"))
        self._path = os.path.join(self._folder or "", f"{digest.hexdigest()[:32]}.notes")
        self._header = json.dumps({"format": FORMAT, "tree": identity})
        self._before: dict[str, _Note] = {}
        self._seen: dict[str, _Note] = {}
        """What counts now, of this `put` and of those before."""
        self._lines = 0
        self._file: IO[str] | None = None
        self._began_ns = 0

    def open(self) -> None:
        """Read what `put` left before, and begin to add to it."""
        if self._folder is None:
            return
        with suppress(OSError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            if not is_private(self._folder):
                return
            file = open(os.open(self._path, _ADD, 0o600), "r+", encoding="utf-8")  # noqa: SIM115
            try:
                if not self._load(file):
                    file.truncate(0)
                    file.write(f"{self._header}\n")
                    file.flush()
                # The clock of file systems: as coarse as the one that dates the files' changes.
                os.utime(file.fileno())
                self._began_ns = os.fstat(file.fileno()).st_ctime_ns
            except BaseException:
                file.close()
                raise
            self._file = file

    def _load(self, file: IO[str]) -> bool:
        """Read the notes in ``file``; False where it holds none of this tree and format."""
        if os.fstat(file.fileno()).st_size > FILE_MAX_BYTES:
            return False
        file.seek(0)
        try:
            if file.readline().rstrip("\n") != self._header:
                return False
            for line in file:
                self._lines += 1
                note = _parsed(line)
                if note is not None:
                    self._before[note[0]] = note[1]
        except UnicodeDecodeError:
            self._before.clear()
            return False
        return True

    def is_sent(self, names: Names, state: FileState, version: int) -> bool:
        """Tell whether the file was stored as ``version`` and is still as it was then."""
        name = "/".join(names)
        note = self._before.get(name)
        if note is None or note != _Note(version, state):
            return False
        self._seen[name] = note
        return True

    def sent(self, names: Names, state: FileState, version: int) -> None:
        """Note that the file, in this state, is what ``version`` holds."""
        if self._file is None or state.changed_ns >= self._began_ns:
            return
        name = "/".join(names)
        self._seen[name] = _Note(version, state)
        self._lines += 1
        try:
            self._file.write(_line(name, self._seen[name]))
        except OSError:
            self._let_go()

    def close(self, *, is_whole: bool) -> None:
        """Write what was noted; ``is_whole``: all was seen, so that the rest may be forgotten."""
        if self._file is None:
            return
        try:
            self._file.flush()
            if is_whole and self._lines > len(self._seen):
                self._write_anew()
        except OSError:
            pass  # as good as none
        self._let_go()

    def _write_anew(self) -> None:
        fresh = f"{self._path}.new"
        with open(os.open(fresh, _ANEW, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{self._header}\n")
            file.writelines(_line(name, note) for name, note in self._seen.items())
        os.replace(fresh, self._path)

    def _let_go(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


def _line(name: str, note: _Note) -> str:
    return json.dumps([name, note.version, *astuple(note.state)], ensure_ascii=False) + "\n"


def _parsed(line: str) -> tuple[str, _Note] | None:
    """Return the note in a line; None for one that was cut off."""
    try:
        name, version, size_bytes, modified_ns, changed_ns, inode = json.loads(line)
    except (ValueError, TypeError):
        return None
    return name, _Note(version, FileState(size_bytes, modified_ns, changed_ns, inode))


class RootNote:
    """Remembers that a local directory was made by `get`, so that its time and mode are the tree's.

    A directory that was there before keeps its own: it is somebody's home, or holds other things.
    """

    def __init__(self, state_dir: str | None, domain: str, path: FilePath, local: str) -> None:
        """Be about ``path`` of ``domain`` got to ``local``; ``state_dir`` None remembers nothing."""
        self._folder = None if state_dir is None else os.path.join(state_dir, "trees")
        identity = "\0".join(("got", domain, str(path), os.path.realpath(local)))
        digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._path = os.path.join(self._folder or "", f"{digest}.root")

    def is_ours(self, root: tuple[int, int]) -> bool:
        """Tell whether `get` made this directory (device and inode)."""
        if self._folder is None:
            return False
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(self._path, flags), encoding="utf-8") as file:
                return is_private(self._folder) and json.loads(file.read(200)) == list(root)
        except (OSError, ValueError):
            return False

    def remember(self, root: tuple[int, int]) -> None:
        """Note that `get` made it."""
        if self._folder is None:
            return
        with suppress(OSError):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            if is_private(self._folder):
                with open(os.open(self._path, _ANEW, 0o600), "w", encoding="utf-8") as file:
                    json.dump(root, file)
