"""A file that is written piece by piece: what its program hands in goes to the upload that runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from collective.core.errors import UsageError, first_error
from collective.model.entries import Entry

WAITING_MAX: Final = 1
"""Pieces that wait for the upload beside the one that it works on."""

Store = Callable[[AsyncIterator[bytes]], Awaitable[Entry]]
"""Stores what is yielded, and returns when it is durable."""


class PieceWriter:
    """A :class:`~collective.client.files.interface.FileWriter`; made by :func:`writing`."""

    def __init__(self) -> None:
        """Take pieces."""
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_MAX)
        self._entry: Entry | None = None
        self._is_left = False

    @property
    def entry(self) -> Entry:
        """What was stored."""
        assert self._entry is not None, "leave the writer first"
        return self._entry

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add ``data`` to the end; UsageError once the writer was left."""
        if self._is_left:
            raise UsageError("This writer was left; open another.")
        if data:
            await self._pieces.put(bytes(data))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what was written, to its end."""
        while (piece := await self._pieces.get()) is not None:
            yield piece

    async def finish(self) -> None:
        """Say that nothing more comes."""
        self.leave()
        await self._pieces.put(None)

    def leave(self) -> None:
        """Take nothing more."""
        self._is_left = True

    def stored(self, entry: Entry) -> None:
        """Keep what came of it."""
        self._entry = entry


@asynccontextmanager
async def writing(store: Store) -> AsyncIterator[PieceWriter]:
    """Have ``store`` take what the body writes; what ends one of the two ends the other, and is raised."""
    writer = PieceWriter()

    async def run() -> None:
        writer.stored(await store(writer.pieces()))

    try:
        async with asyncio.TaskGroup() as group:
            storing = group.create_task(run())
            try:
                yield writer
            except BaseException as ended:
                # cancelled, it was ended by what is still to be told
                if not isinstance(ended, asyncio.CancelledError):
                    writer.leave()
                storing.cancel()
                raise
            await writer.finish()
    except BaseExceptionGroup as failed:
        error = first_error(failed)
        raise error from error.__cause__  # the body's own error keeps its cause
