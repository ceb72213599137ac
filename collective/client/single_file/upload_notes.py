"""Remembers uploads under way, so that `put` of the same file goes on where it stopped.

One small JSON file for each upload in the client's state dir, named by a digest of what identifies
it: the member, the path and the local file.  It counts only while the local file's size, times and
inode are what they were, and while nobody else can write there.  A journal that cannot be read or
written is as good as none: the upload then starts afresh.  Notes of before have no time of change, and
ids without their member's domain.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from typing import Final

import aiofiles
import aiofiles.os

from collective.client.disk.local_entries import FileState
from collective.client.disk.private import is_private, open_new
from collective.core.errors import UsageError
from collective.core.ids import Domain, UploadId, UploadKey, parse_hex_id
from collective.core.paths import FilePath
from collective.core.randomness import Randomness

_MAX_BYTES: Final = 16 * 1024
_LATER: Final = "changed_ns"
"""What notes of earlier versions of the client do not have."""


class UploadNote:
    """The note about one upload."""

    def __init__(
        self, state_dir: str, domain: Domain, path: FilePath, local: str, randomness: Randomness
    ) -> None:
        """Keep the note under ``state_dir`` for ``local`` going to ``path`` at ``domain``."""
        identity = "\0".join((domain, str(path), os.path.realpath(local)))
        name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._folder = os.path.join(state_dir, "uploads")
        self._file = os.path.join(self._folder, f"{name}.json")
        self._domain = domain
        self._randomness = randomness

    async def load(self, state: FileState) -> UploadId | None:
        """Return the upload to go on with, or None where there is none for this ``state``."""
        try:
            if not is_private(self._folder):
                return None
            async with aiofiles.open(self._file, "rb") as file:
                note = json.loads(await file.read(_MAX_BYTES))
            told = {_LATER: state.changed_ns} | note["local"]
            if told == asdict(state):
                return self._upload(note["upload_id"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError):
            return None
        return None

    def _upload(self, text: str) -> UploadId:
        """Return the id in a note; notes of before have it without the domain."""
        if "@" not in text:
            return UploadId(UploadKey(parse_hex_id(text)), self._domain)
        return UploadId.parse(text)

    async def save(self, state: FileState, upload: UploadId) -> None:
        """Remember ``upload``."""
        with suppress(OSError):
            await aiofiles.os.makedirs(self._folder, mode=0o700, exist_ok=True)
            if not is_private(self._folder):
                return
            temporary = f"{self._file}.{self._randomness.token(8).hex()}.new"
            note = json.dumps({"upload_id": str(upload), "local": asdict(state)})
            async with aiofiles.open(temporary, "w", encoding="utf-8", opener=open_new) as file:
                await file.write(note)
            await aiofiles.os.replace(temporary, self._file)

    async def forget(self) -> None:
        """Drop the note."""
        with suppress(OSError):
            await aiofiles.os.unlink(self._file)
