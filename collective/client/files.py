"""Names: stat, list, mkdir, remove, move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from collective.catalog.model import Entry
from collective.client.control import Control
from collective.client.messages import entry_from
from collective.core.paths import FilePath
from collective.rpc.gen.collective.v1 import (
    ListRequest,
    ListResponse,
    MakeDirectoryRequest,
    MoveRequest,
    RemoveRequest,
    StatRequest,
)


class Names:
    """The tree of names at one coordinator; every path is checked here before it is sent."""

    def __init__(self, control: Control) -> None:
        """Use ``control``."""
        self._control = control

    async def stat(self, path: FilePath) -> Entry:
        """Return what ``path`` names."""
        request = StatRequest(path=str(path))
        return entry_from(await self._control.call(self._control.files.stat, request))

    async def list(
        self, path: FilePath, *, recursive: bool, page_size: int = 0
    ) -> AsyncIterator[Entry]:
        """Yield what is below ``path``; the next page is on its way while one is used."""

        def ask(token: str) -> asyncio.Task[ListResponse]:
            request = ListRequest(
                path=str(path), recursive=recursive, page_size=page_size, page_token=token
            )
            return asyncio.create_task(self._control.call(self._control.files.list, request))

        coming: asyncio.Task[ListResponse] | None = ask("")
        try:
            while coming is not None:
                page = await coming
                coming = ask(page.next_page_token) if page.next_page_token else None
                await asyncio.sleep(0)  # so that it leaves before this page is worked through
                for message in page.entries:
                    yield entry_from(message)
        finally:
            if coming is not None:  # whoever listed has seen enough
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def mkdir(self, path: FilePath, *, parents: bool) -> Entry:
        """Make a directory or datastore."""
        request = MakeDirectoryRequest(path=str(path), parents=parents)
        return entry_from(await self._control.call(self._control.files.make_directory, request))

    async def remove(self, path: FilePath, *, recursive: bool, if_version: int) -> int:
        """Remove; return how many entries went."""
        request = RemoveRequest(path=str(path), recursive=recursive, if_version=if_version)
        return (await self._control.call(self._control.files.remove, request)).removed_count

    async def move(self, source: FilePath, destination: FilePath, *, if_version: int) -> Entry:
        """Rename."""
        request = MoveRequest(
            source=str(source), destination=str(destination), if_version=if_version
        )
        return entry_from(await self._control.call(self._control.files.move, request))
