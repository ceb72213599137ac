"""A SQLite VFS that records what was written and what was flushed, to show any power loss.

Every write goes to the real file and into one journal; ``lost_power(at)`` rebuilds the files as a disk
may hold them if the power went after journal entry ``at``: what an xSync covered is there, and of the
rest a seeded choice of whole writes (none, some), since a disk may keep later writes and lose earlier ones.
"""

from __future__ import annotations

import os
import random
import threading
from dataclasses import dataclass
from typing import Any

import apsw


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a file."""

    kind: str  # write, truncate, sync, delete
    name: str
    offset: int = 0
    data: bytes = b""


class RecordingVfs(apsw.VFS):
    """Register by making one; ``ignore_sync`` plays a program that forgot to flush."""

    def __init__(self, name: str, *, ignore_sync: bool = False) -> None:
        self.vfs_name = name
        self.journal: list[Event] = []
        self.lock = threading.Lock()
        self.ignore_sync = ignore_sync
        self.failing_syncs = 0
        """So many of the next flushes fail, though they covered everything."""
        self.room: int | None = None
        """Bytes by which files may still grow; None: as many as the disk has."""
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 - SQLite's name
        return _RecordingFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.note(Event("delete", os.path.basename(filename)))
        super().xDelete(filename, syncdir)

    def note(self, event: Event) -> None:
        with self.lock:
            self.journal.append(event)

    def position(self) -> int:
        with self.lock:
            return len(self.journal)

    def lost_power(self, at: int, folder: str, seed: int, keep: float) -> None:
        """Write into ``folder`` what a disk holds that lost power after ``at`` events."""
        chance = random.Random(seed)
        files: dict[str, bytearray] = {}
        pending: dict[str, list[Event]] = {}
        for event in self.journal[:at]:
            if event.kind == "sync":
                for late in pending.pop(event.name, []):
                    _apply(files, late)
            elif event.kind == "delete":
                files.pop(event.name, None)
                pending.pop(event.name, None)
            else:
                pending.setdefault(event.name, []).append(event)
        for name in sorted(pending):
            for late in pending[name]:
                if chance.random() < keep:
                    _apply(files, late)
        for name, data in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)


class _RecordingFile(apsw.VFSFile):
    def __init__(self, vfs: RecordingVfs, name: Any, flags: list[int]) -> None:
        self._vfs = vfs
        self._name = ""
        if name is not None:
            text = name.filename() if isinstance(name, apsw.URIFilename) else name
            self._name = os.path.basename(text)
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        room = self._vfs.room
        if room is not None and self._name:
            grows = max(0, offset + len(data) - self.xFileSize())
            if grows > room:
                raise apsw.FullError("no space left on device")
            self._vfs.room = room - grows
        super().xWrite(data, offset)
        if self._name:  # temporary files have none, and are gone with the process
            self._vfs.note(Event("write", self._name, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        super().xTruncate(size)
        if self._name:
            self._vfs.note(Event("truncate", self._name, size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        if self._name and not self._vfs.ignore_sync:
            self._vfs.note(Event("sync", self._name))
        if self._name and self._vfs.failing_syncs > 0:
            self._vfs.failing_syncs -= 1
            raise apsw.IOError("input/output error")


def _apply(files: dict[str, bytearray], event: Event) -> None:
    data = files.setdefault(event.name, bytearray())
    if event.kind == "truncate":
        del data[event.offset :]
        data.extend(bytes(event.offset - len(data)))
        return
    if len(data) < event.offset:
        data.extend(bytes(event.offset - len(data)))
    data[event.offset : event.offset + len(event.data)] = event.data
