"""Remembers uploads under way, so that `put` of the same file goes on where it stopped.

One small JSON file for each upload in the client's state dir, named by a digest of what identifies
it: the member, the path and the local file.  It counts only while the local file's size, time and
inode are what they were, and while nobody else can write there.  A journal that cannot be read or
written is as good as none: the upload then starts afresh.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

import aiofiles
import aiofiles.os

from collective.core.paths import FilePath
from collective.core.randomness import Randomness

_MAX_BYTES: Final = 16 * 1024
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LocalState:
    """What tells whether a local file is still the one that was being uploaded."""

    size_bytes: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> LocalState:
        """Return the state in an ``os.stat`` result."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class UploadJournal:
    """The note about one upload."""

    def __init__(
        self, state_dir: str, domain: str, path: FilePath, local: str, randomness: Randomness
    ) -> None:
        """Keep the note under ``state_dir`` for ``local`` going to ``path`` at ``domain``."""
        identity = "\0".join((domain, str(path), os.path.realpath(local)))
        name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._folder = os.path.join(state_dir, "uploads")
        self._file = os.path.join(self._folder, f"{name}.json")
        self._randomness = randomness

    async def load(self, state: LocalState) -> str:
        """Return the upload id to go on with, or empty where there is none for this ``state``."""
        try:
            if not self._is_ours():
                return ""
            async with aiofiles.open(self._file, "rb") as file:
                note = json.loads(await file.read(_MAX_BYTES))
            if note["local"] == asdict(state) and isinstance(note["upload_id"], str):
                return str(note["upload_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return ""

    async def save(self, state: LocalState, upload_id: str) -> None:
        """Remember ``upload_id``."""
        with suppress(OSError):
            await aiofiles.os.makedirs(self._folder, mode=0o700, exist_ok=True)
            if not self._is_ours():
                return
            temporary = f"{self._file}.{self._randomness.token(8).hex()}.new"
            note = json.dumps({"upload_id": upload_id, "local": asdict(state)})
            async with aiofiles.open(
                temporary, "w", encoding="utf-8", opener=_for_us_alone
            ) as file:
                await file.write(note)
            await aiofiles.os.replace(temporary, self._file)

    def _is_ours(self) -> bool:
        """Tell whether nobody else can have written what lies in the folder."""
        status = os.lstat(self._folder)
        mode = status.st_mode
        return stat.S_ISDIR(mode) and status.st_uid == os.geteuid() and not mode & 0o022

    async def forget(self) -> None:
        """Drop the note."""
        with suppress(OSError):
            await aiofiles.os.unlink(self._file)


def _for_us_alone(path: str, _: int) -> int:
    return os.open(path, _NEW, 0o600)
