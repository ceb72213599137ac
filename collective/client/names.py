"""A member's names, as its user sees them: each method is a call of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from collective.core.errors import NotFoundError
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.entries import Entry, EntryKind
from collective.model.pages import EntryPage
from collective.model.progress import Progress
from collective.model.writing import Attributes, Precondition

if TYPE_CHECKING:  # few commands go straight to another member, and most move no file
    from collective.client.files.controls import NameControl
    from collective.model.changes import Since
    from collective.model.rights import Right
    from collective.rpc.remote.owner_paths import OwnerPaths

TURN_ENTRIES: Final = 16
"""After so many entries of a page the event loop has a turn: the next page is sent for in some of them."""


class Names:
    """The tree of names of one member."""

    def __init__(self, remote: NameControl, call: Call, paths: OwnerPaths | None = None) -> None:
        """Ask ``remote`` by ``call``.

        ``paths``: of a member that is called ``/@DOMAIN`` here; None: paths are as the member calls them.
        """
        self._remote = remote
        self._call = call
        self.paths: Final = paths

    @property
    def shown_above(self) -> str:
        """What stands here above the paths at the member: ``/@DOMAIN``, or nothing."""
        return "" if self.paths is None else str(self.paths.root)

    def there(self, path: FilePath) -> FilePath:
        """Return what the member calls ``path``."""
        return path if self.paths is None else self.paths.at_owner(path)

    def here(self, entry: Entry) -> Entry:
        """Return an entry of the member's as it is called here."""
        return entry if self.paths is None else self.paths.here(entry)

    async def stat(self, path: FilePath) -> Entry:
        """Return what ``path`` names."""
        return self.here(await self._remote.stat(self._call, self.there(path)))

    async def rights(self, path: FilePath) -> Right:
        """Return what the caller may do at ``path``."""
        return await self._remote.rights(self._call, self.there(path))

    async def list_page(
        self, path: FilePath, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page of what is below ``path``; of another member its peers are left out."""
        page = await self._remote.list(
            self._call,
            self.there(path),
            recursive=recursive,
            page_size=page_size,
            token=token,
        )
        return EntryPage(
            [self.here(one) for one in page.entries if self._is_shown(one)], page.next_token
        )

    async def changes(self, path: FilePath, cursor: str, *, wait_s: float, page_size: int) -> Since:
        """Return what changed in ``path`` since ``cursor``, or wait for a first change."""
        found = await self._remote.changes(
            self._call, self.there(path), cursor, wait_s=wait_s, page_size=page_size
        )
        return found if self.paths is None else self.paths.since_here(found)

    def _is_shown(self, entry: Entry) -> bool:
        return self.paths is None or entry.kind is not EntryKind.PEER

    async def list(
        self, path: FilePath, *, recursive: bool, page_size: int = 0
    ) -> AsyncGenerator[Entry]:
        """Yield what is below ``path``; the next page is on its way while one is used.

        Of another member its peers are left out: no path leads over two members.
        """
        there = self.there(path)

        def ask(token: str) -> asyncio.Task[EntryPage]:
            page = self._remote.list(
                self._call, there, recursive=recursive, page_size=page_size, token=token
            )
            return asyncio.create_task(page)

        coming: asyncio.Task[EntryPage] | None = ask("")
        try:
            while coming is not None:
                page = await coming
                coming = ask(page.next_token) if page.next_token else None
                for number, entry in enumerate(page.entries):
                    if number % TURN_ENTRIES == 0:  # so that the next page is asked for meanwhile
                        await asyncio.sleep(0)
                    if self._is_shown(entry):
                        yield self.here(entry)
        finally:
            if coming is not None:  # the caller has seen enough
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    async def mkdir(
        self, path: FilePath, *, parents: bool, attributes: Attributes | None = None
    ) -> Entry:
        """Make a directory or datastore; ``attributes`` are for one that this call makes."""
        made = await self._remote.make_directory(
            self._call, self.there(path), parents=parents, attributes=attributes
        )
        return self.here(made)

    async def make_link(
        self,
        path: FilePath,
        target: bytes,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there if ``condition`` holds."""
        made = await self._remote.make_link(
            self._call,
            self.there(path),
            target,
            attributes or Attributes(),
            condition or Precondition(),
        )
        return self.here(made)

    async def set_attributes(
        self, path: FilePath, attributes: Attributes, *, if_version: int = 0
    ) -> Entry:
        """Change time and mode of what is there; what ``attributes`` leave open stays as it is."""
        changed = await self._remote.set_attributes(
            self._call,
            self.there(path),
            modified_ns=attributes.modified_ns,
            mode=attributes.mode,
            condition=Precondition(if_version=if_version),
        )
        return self.here(changed)

    async def remove(
        self,
        path: FilePath,
        *,
        recursive: bool,
        if_version: int,
        progress: Progress | None = None,
    ) -> int:
        """Remove; return how many names went.

        ``progress`` is told of them while a large tree goes, so that an error half-way hides none of them.
        """
        there, condition = self.there(path), Precondition(if_version=if_version)
        gone, is_all = 0, False
        while not is_all:
            try:
                step = await self._remote.remove(
                    self._call, there, recursive=recursive, condition=condition
                )
            except NotFoundError:
                if gone:  # somebody else removed the rest
                    return gone
                raise
            gone += step.names
            is_all = step.is_all
            if progress is not None:
                progress(step.names)
        return gone

    async def move(self, source: FilePath, destination: FilePath, *, if_version: int) -> Entry:
        """Rename."""
        moved = await self._remote.move(
            self._call,
            self.there(source),
            self.there(destination),
            condition=Precondition(if_version=if_version),
        )
        return self.here(moved)
