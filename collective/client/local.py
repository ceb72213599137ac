"""Between local files and the collective: put and get of one file, both resumable.

`get` writes to a hidden ``.part`` file beside its target, whose name holds a digest of what is
fetched (member, path, version, content), so that what lies there is a verified beginning of just
that or is not used; it is flushed and renamed when everything is there.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import partial
from typing import BinaryIO, Final

from collective.catalog.model import Attributes, Entry, EntryKind
from collective.chunking.split import Piece
from collective.client.download import FileReader
from collective.client.files import Names
from collective.client.journal import LocalState, UploadJournal
from collective.client.model import Progress
from collective.client.session import Session
from collective.client.source import open_source
from collective.client.upload import Upload, UploadRequest
from collective.core import limits
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotFoundError,
    UsageError,
)
from collective.core.paths import FilePath

JOURNAL_FROM_BYTES: Final = 4 * limits.CHUNK_SIZE_BYTES
"""Smaller files are sent again rather than resumed."""
_DIGEST_CHARS: Final = 16
_NAME_KEPT_CHARS: Final = 60


class LocalError(CollectiveError):
    """A file on this machine cannot be read or written."""

    code = "local_file"


def _local_error(error: OSError, local: str) -> CollectiveError:
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"Local file {local!r} does not exist.")
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return UsageError(f"{local!r}: {reason}.")
    return LocalError(f"Local file {local!r} cannot be used: {reason}.")


class LocalFiles:
    """Moves single files between this machine and a member."""

    def __init__(self, session: Session, names: Names, domain: str, state_dir: str | None) -> None:
        """Keep notes on uploads under ``state_dir``; None keeps none."""
        self._session = session
        self._names = names
        self._domain = domain
        self._state_dir = state_dir

    async def put(self, local: str, path: FilePath, *, progress: Progress | None = None) -> Entry:
        """Upload ``local`` as ``path``; ConflictError when it changes while it is read."""
        try:
            file = await self._session.in_thread(lambda: _open_source(local))
        except OSError as error:
            raise _local_error(error, local) from error
        try:
            return await self._put(file, local, path, progress)
        except OSError as error:
            raise _local_error(error, local) from error
        finally:
            file.close()

    async def _put(
        self, file: BinaryIO, local: str, path: FilePath, progress: Progress | None
    ) -> Entry:
        status = os.fstat(file.fileno())
        state = LocalState.of(status)

        def check_unchanged() -> None:
            if LocalState.of(os.fstat(file.fileno())) != state:
                raise ConflictError(f"Local file {local!r} changed while it was read; put again.")

        attributes = Attributes(
            modified_ms=status.st_mtime_ns // 1_000_000, mode=status.st_mode & 0o7777
        )
        journal = None
        if self._state_dir is not None and state.size_bytes >= JOURNAL_FROM_BYTES:
            journal = UploadJournal(self._state_dir, self._domain, path, local)
        resume_id = journal.load(state) if journal is not None else ""

        def request(upload_id: str) -> UploadRequest:
            return UploadRequest(
                path=path,
                attributes=attributes,
                progress=progress,
                resume_id=upload_id,
                on_opened=(lambda opened: journal.save(state, opened)) if journal else None,
                before_commit=check_unchanged,
            )

        source = open_source(file, self._session.executor)  # type: ignore[arg-type]
        try:
            entry = await Upload(self._session, request(resume_id), source).run()
        except (NotFoundError, ConflictError):
            if journal is not None:
                journal.forget()
            if not resume_id:
                raise
            check_unchanged()
            file.seek(0)  # the upload has expired or was committed: start afresh
            entry = await Upload(self._session, request(""), source).run()
        if journal is not None:
            journal.forget()
        return entry

    async def get(self, path: FilePath, local: str, *, progress: Progress | None = None) -> Entry:
        """Download ``path`` to ``local`` (a file, which is replaced), resuming a part of it."""
        entry = await self._names.stat(path)
        if entry.kind is not EntryKind.FILE:
            raise UsageError(f"{path} is a directory; give a local directory to get it into.")
        part = part_path(local, self._domain, entry)
        try:
            file = await self._session.in_thread(lambda: _open_part(part))
        except OSError as error:
            raise _local_error(error, local) from error
        try:
            done = _usable_length(os.fstat(file.fileno()).st_size, entry.size_bytes)
            file.truncate(done)
            if progress is not None and done:
                progress(done)
            if done < entry.size_bytes:
                await self._fetch(file, path, entry, done, progress)
            await self._session.in_thread(lambda: _publish(file, part, local, entry))
        except OSError as error:
            raise _local_error(error, local) from error
        finally:
            file.close()
            if not entry.size_bytes:
                with suppress(OSError):
                    os.unlink(part)
        return entry

    async def _fetch(
        self, file: BinaryIO, path: FilePath, entry: Entry, done: int, progress: Progress | None
    ) -> None:
        reader = FileReader(
            self._session, path, offset=done, if_version=entry.version, progress=progress
        )
        async with reader:
            file.seek(done)
            async for block in reader:
                await self._session.to_the_end(partial(write_all, file.fileno(), block))


def part_path(local: str, domain: str, entry: Entry) -> str:
    """Return the name of the partial file for ``entry`` of member ``domain`` on its way."""
    what = (domain, entry.path, entry.version, entry.size_bytes, entry.digest.hex())
    digest = hashlib.sha256("\0".join(map(str, what)).encode()).hexdigest()
    folder, name = os.path.split(local)
    shown = name.encode("utf-8", "surrogateescape")[:_NAME_KEPT_CHARS].decode("utf-8", "ignore")
    return os.path.join(folder, f".{shown}.{digest[:_DIGEST_CHARS]}.part")


def write_all(descriptor: int, block: memoryview) -> None:
    """Write all of ``block``; blocking."""
    while block:
        block = block[os.write(descriptor, block) :]


def _open_source(local: str) -> BinaryIO:
    return open(local, "rb", buffering=0)


def _open_part(part: str) -> BinaryIO:
    return open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)


def _usable_length(part_bytes: int, size_bytes: int) -> int:
    """Return how much of a part may be kept: whole chunks, since a write may have been torn."""
    if part_bytes >= size_bytes:
        part_bytes = max(0, size_bytes - 1)
    return Piece(0, part_bytes // limits.CHUNK_SIZE_BYTES * limits.CHUNK_SIZE_BYTES).end


def _publish(file: BinaryIO, part: str, local: str, entry: Entry) -> None:
    """Flush the finished part, give it its attributes and its name."""
    os.fsync(file.fileno())
    if entry.mode:
        os.fchmod(file.fileno(), entry.mode & 0o777)
    if entry.modified_ms:
        os.utime(file.fileno(), ns=(entry.modified_ms * 1_000_000,) * 2)
    os.replace(part, local)
    folder = os.open(os.path.dirname(local) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
