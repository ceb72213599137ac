"""Names: stat, list, mkdir, link, attributes, remove, move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from collective.core.paths import FilePath, check_target
from collective.model.changes import Attributes
from collective.model.entries import Entry
from collective.rpc.conversions.entries import attributes_message, entry_from
from collective.rpc.gen.collective.v1.files import (
    FilesStub,
    ListRequest,
    ListResponse,
    MakeDirectoryRequest,
    MakeLinkRequest,
    MoveRequest,
    RemoveRequest,
    SetAttributesRequest,
    StatRequest,
)
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import Control


class Names:
    """The tree of names at one coordinator; every path is checked here before it is sent."""

    def __init__(self, control: Control, files: FilesStub, *, persists: bool = False) -> None:
        """Call ``files`` by ``control``; ``persists``: what may be repeated outlives a coordinator that restarts."""
        self._control = control
        self._files = files
        self._ask = control.persist if persists else control.call

    async def stat(self, path: FilePath) -> Entry:
        """Return what ``path`` names."""
        request = StatRequest(path=str(path))
        return taken(entry_from, await self._ask(self._files.stat, request))

    async def list(
        self, path: FilePath, *, recursive: bool, page_size: int = 0
    ) -> AsyncGenerator[Entry]:
        """Yield what is below ``path``; the next page is on its way while one is used."""

        def ask(token: str) -> asyncio.Task[ListResponse]:
            request = ListRequest(
                path=str(path), recursive=recursive, page_size=page_size, page_token=token
            )
            return asyncio.create_task(self._ask(self._files.list, request))

        coming: asyncio.Task[ListResponse] | None = ask("")
        try:
            while coming is not None:
                page = await coming
                coming = ask(page.next_page_token) if page.next_page_token else None
                await asyncio.sleep(0)  # so that it leaves before this page is worked through
                for message in page.entries:
                    yield taken(entry_from, message)
        finally:
            if coming is not None:  # whoever listed has seen enough
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def mkdir(
        self, path: FilePath, *, parents: bool, attributes: Attributes | None = None
    ) -> Entry:
        """Make a directory or datastore; ``attributes`` are for one that this call makes."""
        request = MakeDirectoryRequest(
            path=str(path),
            parents=parents,
            attributes=attributes_message(attributes or Attributes()),
        )
        ask = self._ask if parents else self._control.call  # the second time it is there
        return taken(entry_from, await ask(self._files.make_directory, request))

    async def make_link(
        self, path: FilePath, target: bytes, attributes: Attributes | None = None
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there."""
        check_target(target)
        request = MakeLinkRequest(
            path=str(path), target=target, attributes=attributes_message(attributes or Attributes())
        )
        return taken(entry_from, await self._ask(self._files.make_link, request))

    async def set_attributes(
        self, path: FilePath, attributes: Attributes, *, if_version: int = 0
    ) -> Entry:
        """Change time and mode of what is there; what ``attributes`` leave open stays as it is."""
        wanted = attributes_message(attributes or Attributes())
        request = SetAttributesRequest(
            path=str(path),
            modified_s=wanted.modified_s,
            modified_ns=wanted.modified_ns,
            mode=wanted.mode,
            if_version=if_version,
        )
        return taken(entry_from, await self._ask(self._files.set_attributes, request))

    async def remove(self, path: FilePath, *, recursive: bool, if_version: int) -> int:
        """Remove; return how many entries went."""
        request = RemoveRequest(path=str(path), recursive=recursive, if_version=if_version)
        return (await self._control.call(self._files.remove, request)).removed_count

    async def move(self, source: FilePath, destination: FilePath, *, if_version: int) -> Entry:
        """Rename."""
        request = MoveRequest(
            source=str(source), destination=str(destination), if_version=if_version
        )
        return taken(entry_from, await self._control.call(self._files.move, request))
