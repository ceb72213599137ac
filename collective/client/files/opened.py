"""One version of a file that is open for reading anywhere in it.

The version is leased.  A lease that ran out, since nothing was read for long, is taken anew while the file still has
that version.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from collective.client.transfer_session import TransferSession
from collective.core.errors import ConflictError, NotFoundError, UsageError
from collective.core.ids import LeaseId
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.routes import RouteMode
from collective.model.transfers import OpenedRead
from collective.rpc.headers import operation
from collective.transfer.engine.download import Download


class LeasedFile:
    """An :class:`~collective.client.files.interface.OpenFile`; made by :func:`opened`."""

    def __init__(
        self, session: TransferSession, path: FilePath, entry: Entry, lease: LeaseId
    ) -> None:
        """Read ``path`` by ``lease``; ``entry`` is what it is called where it is used."""
        self.entry = entry
        self._session = session
        self._path = path
        self._lease = lease
        self._renewing = asyncio.Lock()

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` on; fewer at the end."""
        if offset < 0 or length < 0:
            raise UsageError("Offset and length cannot be negative.")
        length = min(length, self.entry.size_bytes - offset)
        if length <= 0:
            return b""
        session = self._session
        download = Download(
            session.engine_for(self._path),
            session.reads,
            session.call,
            self._plan,
            window=session.window,
            give_back=_keep,
            offset=offset,
            length=length,
        )
        async with download:
            return b"".join([bytes(block) async for block in download])

    async def _plan(self, offset: int, length: int, mode: RouteMode) -> OpenedRead:
        """Plan a range by the lease that is held."""
        lease = self._lease
        ask = partial(
            self._session.reads.plan_read,
            self._session.call,
            offset=offset,
            length=length,
            mode=mode,
        )
        try:
            plan = await ask(lease)
        except NotFoundError:  # it has run out
            lease = await self._renewed(lease, mode)
            plan = await ask(lease)
        return OpenedRead(self.entry, lease, plan)

    async def _renewed(self, before: LeaseId, mode: RouteMode) -> LeaseId:
        """Lease the version anew, once for all who find that ``before`` has run out."""
        async with self._renewing:
            if self._lease == before:
                try:
                    anew = await self._session.open_read(self._path, self.entry.version, 0, 1, mode)
                except NotFoundError as error:
                    raise ConflictError(
                        f"{self.entry.path} was removed, and this version of it is gone; open it again."
                    ) from error
                self._lease = anew.lease
            return self._lease

    async def close(self) -> None:
        """Give the lease back."""
        await self._session.leases.give_back(self._lease)


async def _keep(_: LeaseId) -> None:
    """Leave the lease to the open file."""


@asynccontextmanager
async def opened(
    session: TransferSession, path: FilePath, here: FilePath, if_version: int
) -> AsyncIterator[LeasedFile]:
    """Open the file that its owner calls ``path``, and this end ``here``."""
    with operation(session.randomness):
        mode = session.engine_for(path).choice.mode
        found = await session.open_read(path, if_version, 0, 1, mode)
    file = LeasedFile(session, path, found.entry._replace(path=here), found.lease)
    try:
        yield file
    finally:
        await file.close()
