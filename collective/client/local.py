"""Between local files and the collective: put and get of one file, both resumable.

`get` writes to a part file beside its target (see ``parts``), which is flushed and renamed when
everything is there.  What a part from before holds is kept as far as it has the chunks of the version
that is read (see ``checking``); no byte of a file that `get` leaves was not verified by it.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import BinaryIO, Final

from collective.catalog.model import Attributes, Entry, EntryKind
from collective.client.checking import matching_bytes
from collective.client.download import FileReader
from collective.client.files import Names
from collective.client.journal import LocalState, UploadJournal
from collective.client.model import Progress
from collective.client.parts import Part
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
from collective.core.moments import check_moment
from collective.core.paths import FilePath

JOURNAL_FROM_BYTES: Final = 4 * limits.CHUNK_SIZE_BYTES
"""Smaller files are sent again rather than resumed."""


class LocalError(CollectiveError):
    """A file on this machine cannot be read or written."""

    code = "local_file"


def _local_error(error: OSError, local: str) -> CollectiveError:
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        folder = os.path.dirname(os.path.abspath(local))
        if not os.path.isdir(folder):
            return NotFoundError(f"There is no local directory {folder!r}; make it first.")
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

    async def put(
        self,
        local: str,
        path: FilePath,
        *,
        progress: Progress | None = None,
        follows_link: bool = True,
    ) -> Entry:
        """Upload ``local`` as ``path``; ConflictError when it changes while it is read."""
        try:
            file = await self._session.in_thread(
                lambda: _open_source(local, follows_link=follows_link)
            )
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
            modified_ns=check_moment(status.st_mtime_ns), mode=status.st_mode & 0o7777
        )
        journal = None
        if self._state_dir is not None and state.size_bytes >= JOURNAL_FROM_BYTES:
            journal = UploadJournal(
                self._state_dir, self._domain, path, local, self._session.world.randomness
            )
        resume_id = await journal.load(state) if journal is not None else ""

        def request(upload_id: str) -> UploadRequest:
            return UploadRequest(
                path=path,
                attributes=attributes,
                progress=progress,
                resume_id=upload_id,
                on_opened=partial(journal.save, state) if journal is not None else None,
                before_commit=check_unchanged,
            )

        source = open_source(file, self._session.pool)  # type: ignore[arg-type]
        try:
            entry = await Upload(self._session, request(resume_id), source).run()
        except (NotFoundError, ConflictError):
            if journal is not None:
                await journal.forget()
            if not resume_id:
                raise
            check_unchanged()
            file.seek(0)  # the upload has expired or was committed: start afresh
            entry = await Upload(self._session, request(""), source).run()
        if journal is not None:
            await journal.forget()
        return entry

    async def get(self, path: FilePath, local: str, *, progress: Progress | None = None) -> Entry:
        """Download ``path`` to ``local`` (a file, which is replaced), resuming a part of it."""
        entry = await self._names.stat(path)
        if entry.kind is not EntryKind.FILE:
            raise UsageError(f"{path} is a directory; give a local directory to get it into.")
        try:
            randomness = self._session.randomness
            part = await self._session.in_thread(
                partial(Part.open, local, self._domain, entry, randomness)
            )
        except OSError as error:
            raise _local_error(error, local) from error
        try:
            done = await matching_bytes(self._session, entry, part.fd, part.size_bytes)
            os.ftruncate(part.fd, done)
            if progress is not None and done:
                progress(done)
            if done < entry.size_bytes:
                await self._fetch(part.fd, path, entry, done, progress)
            await self._session.to_the_end(partial(part.publish, entry))
        except OSError as error:
            raise _local_error(error, local) from error
        finally:
            part.close()
        return entry

    async def is_current(self, local: str, entry: Entry) -> bool:
        """Tell whether ``local`` is a plain file with the size, time and content of ``entry``."""
        if not is_like(local, entry):
            return False
        try:
            fd = os.open(local, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            matched = await matching_bytes(self._session, entry, fd, entry.size_bytes)
        except (OSError, ConflictError):  # it cannot be read, or there is a newer version
            return False
        finally:
            os.close(fd)
        return matched == entry.size_bytes

    async def _fetch(
        self, fd: int, path: FilePath, entry: Entry, done: int, progress: Progress | None
    ) -> None:
        reader = FileReader(
            self._session, path, offset=done, if_version=entry.version, progress=progress
        )
        async with reader:
            os.lseek(fd, done, os.SEEK_SET)
            async for block in reader:
                await self._session.to_the_end(partial(write_all, fd, block))


def is_like(local: str, entry: Entry | None) -> bool:
    """Tell whether ``local`` is a plain file of the size and time of ``entry``."""
    if entry is None:
        return False
    try:
        status = os.lstat(local)
    except OSError:
        return False
    wanted = (entry.size_bytes, entry.modified_ns)
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == wanted


def write_all(descriptor: int, block: memoryview) -> None:
    """Write all of ``block``; blocking."""
    while block:
        block = block[os.write(descriptor, block) :]


def _open_source(local: str, *, follows_link: bool) -> BinaryIO:
    """Open what is uploaded; without links, only a plain file, which is what a tree's walk saw."""
    if follows_link:
        return open(local, "rb", buffering=0)
    fd = os.open(local, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no plain file any more")
    return open(fd, "rb", buffering=0)
