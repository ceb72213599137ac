"""Between local files and the collective: put and get of one file, both resumable.

`get` writes to a part file beside its target (see ``disk.part_files``), which is flushed and renamed when
everything is there.  What a part from before holds is kept as far as it has the pieces of the version
that is read (see ``matching``); no byte of a file that `get` leaves was not verified by it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from collective.client.disk.attributes import WantedAttributes, shortfall
from collective.client.disk.errors import FULL, local_error
from collective.client.disk.holes import DataRuns
from collective.client.disk.local_entries import FileState, Kind, LocalEntry
from collective.client.disk.part_files import PartFile
from collective.client.disk.tree_target import make_link
from collective.client.names import Names
from collective.client.single_file.matching import matching_bytes
from collective.client.single_file.upload_notes import UploadNote
from collective.client.transfer_session import Resuming, TransferSession
from collective.core import limits
from collective.core.errors import CollectiveError, ConflictError, NotFoundError, UsageError
from collective.core.ids import Domain, UploadId
from collective.core.moments import NS_PER_S
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.extents import Hole
from collective.model.progress import Progress
from collective.transfer.engine.write_sources import Readable

T = TypeVar("T")

JOURNAL_FROM_BYTES: Final = 4 * limits.CHUNK_SIZE_BYTES
"""Smaller files are sent again rather than resumed."""
TICK_S: Final = 0.02
"""Longer than the ticks in which file systems date changes."""
TICKS_MAX: Final = 5
"""A file that changes all the time is read all the same; it is found out at the end."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file is to land."""

    folder: int
    """A descriptor of the directory; its owner keeps it open meanwhile."""
    name: str
    shown: str
    """Its path for people."""
    left: Iterable[str] | None = None
    """Parts that lie in the directory; None: it is not known."""


class LocalFiles:
    """Moves single files between this machine and a member."""

    def __init__(
        self, session: TransferSession, names: Names, domain: Domain, state_dir: str | None
    ) -> None:
        """Keep notes on uploads under ``state_dir``; None keeps none."""
        self._session = session
        self._names = names
        self._domain = domain
        self._state_dir = state_dir

    # --- put -------------------------------------------------------------------------------------

    async def put(self, local: str, path: FilePath, *, progress: Progress | None = None) -> Entry:
        """Upload what ``local`` names, through links; ConflictError when it changes meanwhile."""
        flags = os.O_RDONLY | os.O_CLOEXEC
        fd = await self._local(local, lambda: os.open(local, flags))
        try:
            return await self.put_open(fd, local, path, progress=progress)
        finally:
            os.close(fd)

    async def put_open(
        self, fd: int, local: str, path: FilePath, *, progress: Progress | None = None
    ) -> Entry:
        """Upload the file ``fd``, which stays the caller's, as ``path``.

        ``local`` is its name, for notes and people.  Raises ConflictError when it changes while it is
        read: nothing of it is then visible at ``path``.
        """
        try:
            return await self._put(fd, local, path, progress)
        except OSError as error:
            raise local_error(error, local) from error

    async def _put(self, fd: int, local: str, path: FilePath, progress: Progress | None) -> Entry:
        status = await self._at_rest(fd)
        opened = LocalEntry.of(status)
        journal = None
        if self._state_dir is not None and status.st_size >= JOURNAL_FROM_BYTES:
            randomness = self._session.randomness
            journal = UploadNote(self._state_dir, self._domain, path, local, randomness)
        resume = await journal.load(opened.state) if journal is not None else None

        def check_unchanged() -> None:
            if FileState.of(os.fstat(fd)) != opened.state:
                raise ConflictError(f"Local file {local!r} changed while it was read; put again.")

        async def send(upload: UploadId | None) -> Entry:
            resuming = (
                None if journal is None else Resuming(upload, partial(journal.save, opened.state))
            )
            source: Readable
            if stat.S_ISREG(status.st_mode):
                source = DataRuns(fd, status)
            else:
                source = open(fd, "rb", buffering=0, closefd=False)  # noqa: ASYNC230, SIM115 - it is open
            return await self._session.write(
                path,
                source,
                attributes=opened.attributes,
                progress=progress,
                resuming=resuming,
                before_commit=check_unchanged,
            )

        try:
            entry = await send(resume)
        except (NotFoundError, ConflictError):
            if journal is not None:
                await journal.forget()
            if resume is None:
                raise
            check_unchanged()
            entry = await send(None)  # the upload has expired or was committed: start afresh
        if journal is not None:
            await journal.forget()
        return entry

    async def _at_rest(self, fd: int) -> os.stat_result:
        """Return the status of ``fd``, if possible when its last change lies more than a tick back.

        A change in the tick of the one before leaves size and times as they are, so it would not be seen.
        """
        status = os.fstat(fd)
        for _ in range(TICKS_MAX):
            age_s = self._session.clock.wall_s() - status.st_ctime_ns / NS_PER_S
            if not 0 <= age_s < TICK_S:
                break
            await asyncio.sleep(TICK_S - age_s)
            status = os.fstat(fd)
        return status

    # --- get -------------------------------------------------------------------------------------

    async def get(
        self,
        path: FilePath,
        local: str,
        *,
        keeps_set_id: bool = False,
        progress: Progress | None = None,
    ) -> Entry:
        """Download ``path`` to ``local`` (a file or link, which is replaced), resuming a part of it."""
        entry = await self._names.stat(path)
        if not entry.kind.is_leaf:
            raise UsageError(f"{path} is a directory; give a local directory to get it into.")
        above, name = os.path.split(local)
        if not name:
            raise UsageError(f"{local!r} names no file; add one.")
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        folder = await self._local(local, lambda: os.open(above or ".", flags))
        wanted = WantedAttributes.of(entry, keeps_set_id=keeps_set_id)
        try:
            if entry.kind is EntryKind.LINK:
                randomness = self._session.randomness
                make = partial(make_link, folder, name, entry.target, wanted, randomness)
                await self._local(local, make)
            else:
                place = Place(folder, name, local)
                await self.get_into(place, entry, wanted, progress=progress)
        finally:
            os.close(folder)
        return entry

    async def get_into(
        self,
        place: Place,
        entry: Entry,
        wanted: WantedAttributes,
        *,
        progress: Progress | None = None,
    ) -> str:
        """Download the file ``entry`` to ``place``; return what the machine would not keep of it.

        A part of it stays for the next time where that helps, and is then named in the error.
        """
        try:
            part = await self._session.in_thread(
                partial(
                    PartFile.open,
                    place.folder,
                    place.name,
                    self._domain,
                    entry,
                    self._session.randomness,
                    left=place.left,
                )
            )
        except OSError as error:
            raise local_error(error, place.shown) from error
        try:
            await self._fill(part, entry, progress)
            await self._session.to_the_end(partial(part.publish, wanted))
            return shortfall(LocalEntry.of(os.fstat(part.fd)), wanted)
        except OSError as error:
            if error.errno in FULL:
                part.discard()
            raise self._left(local_error(error, place.shown), part, place) from error
        except CollectiveError as error:
            raise self._left(error, part, place) from error
        finally:
            part.close()

    def _left(self, error: CollectiveError, part: PartFile, place: Place) -> CollectiveError:
        """Return ``error``, with the part in it if one stays."""
        if not part.will_stay:
            return error
        where = os.path.join(os.path.dirname(place.shown), part.name)
        kept = (
            f"What came of it stays in {where!r} for the next 'get'; delete it if none will follow."
        )
        return type(error)(f"{error.message} {kept}")

    async def _fill(self, part: PartFile, entry: Entry, progress: Progress | None) -> None:
        """Have all of ``entry`` in the part."""
        done = await matching_bytes(self._session, entry, part.fd, part.size_bytes)
        os.ftruncate(part.fd, done)
        if progress is not None and done:
            progress(done)
        if done < entry.size_bytes:
            reader = self._session.read(
                entry.path, offset=done, if_version=entry.version, progress=progress
            )
            async with reader:
                async for piece in reader.pieces():
                    if isinstance(piece, Hole):
                        done += piece.length
                        continue
                    await self._session.to_the_end(partial(write_at, part.fd, piece, done))
                    done += len(piece)
        os.ftruncate(part.fd, entry.size_bytes)  # a hole at the end

    async def holds(self, fd: int, entry: Entry, *, is_stored: bool) -> bool:
        """Tell whether the file ``fd`` has the content of ``entry``.

        ``is_stored``: its holes must be what they would be if it was stored now.  ConflictError where
        there is a newer version.
        """
        status = os.fstat(fd)
        if status.st_size != entry.size_bytes or LocalEntry.of(status).kind is not Kind.FILE:
            return False
        size = entry.size_bytes
        return size == await matching_bytes(self._session, entry, fd, size, is_stored=is_stored)

    async def _local(self, local: str, work: Callable[[], T]) -> T:
        """Do blocking work on this machine; what it refuses is about ``local``."""
        try:
            return await self._session.in_thread(work)
        except OSError as error:
            raise local_error(error, local) from error


def write_all(descriptor: int, block: memoryview) -> None:
    """Write all of ``block``; blocking."""
    while block:
        block = block[os.write(descriptor, block) :]


def write_at(descriptor: int, block: memoryview, offset: int) -> None:
    """Write all of ``block`` at ``offset``; blocking."""
    while block:
        count = os.pwrite(descriptor, block, offset)
        block, offset = block[count:], offset + count
