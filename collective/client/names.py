"""The member's names, as its user sees them: each method is a call of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from collective.core.errors import NotFoundError
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.changes import Attributes, Precondition
from collective.model.entries import Entry
from collective.model.pages import EntryPage
from collective.rpc.remote.names import RemoteNames


class Names:
    """The tree of names of one member."""

    def __init__(self, remote: RemoteNames, call: Call) -> None:
        """Ask ``remote`` by ``call``."""
        self._remote = remote
        self._call = call

    async def stat(self, path: FilePath) -> Entry:
        """Return what ``path`` names."""
        return await self._remote.stat(self._call, path)

    async def list(
        self, path: FilePath, *, recursive: bool, page_size: int = 0
    ) -> AsyncGenerator[Entry]:
        """Yield what is below ``path``; the next page is on its way while one is used."""

        def ask(token: str) -> asyncio.Task[EntryPage]:
            page = self._remote.list(
                self._call, path, recursive=recursive, page_size=page_size, token=token
            )
            return asyncio.create_task(page)

        coming: asyncio.Task[EntryPage] | None = ask("")
        try:
            while coming is not None:
                page = await coming
                coming = ask(page.next_token) if page.next_token else None
                await asyncio.sleep(0)  # so that it leaves before this page is worked through
                for entry in page.entries:
                    yield entry
        finally:
            if coming is not None:  # the caller has seen enough
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def mkdir(
        self, path: FilePath, *, parents: bool, attributes: Attributes | None = None
    ) -> Entry:
        """Make a directory or datastore; ``attributes`` are for one that this call makes."""
        return await self._remote.make_directory(
            self._call, path, parents=parents, attributes=attributes
        )

    async def make_link(
        self,
        path: FilePath,
        target: bytes,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there if ``condition`` holds."""
        return await self._remote.make_link(
            self._call, path, target, attributes or Attributes(), condition or Precondition()
        )

    async def set_attributes(
        self, path: FilePath, attributes: Attributes, *, if_version: int = 0
    ) -> Entry:
        """Change time and mode of what is there; what ``attributes`` leave open stays as it is."""
        return await self._remote.set_attributes(
            self._call,
            path,
            modified_ns=attributes.modified_ns,
            mode=attributes.mode,
            condition=Precondition(if_version=if_version),
        )

    async def remove(
        self,
        path: FilePath,
        *,
        recursive: bool,
        if_version: int,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Remove; return how many names went, and tell ``progress`` of them while a large tree goes."""
        condition = Precondition(if_version=if_version)
        gone, is_all = 0, False
        while not is_all:
            try:
                step = await self._remote.remove(
                    self._call, path, recursive=recursive, condition=condition
                )
            except NotFoundError:
                if gone:  # somebody else removed the rest
                    return gone
                raise
            gone += step.count
            is_all = step.is_all
            if progress is not None:
                progress(step.count)
        return gone

    async def move(self, source: FilePath, destination: FilePath, *, if_version: int) -> Entry:
        """Rename."""
        return await self._remote.move(
            self._call, source, destination, condition=Precondition(if_version=if_version)
        )
