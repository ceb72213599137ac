"""Files, whoever has them: each call goes to the owner of its path, and what it answers is called as it is here.

Made over what finds owners: :class:`~collective.client.owners.Owners` for members over the network, a
coordinator's own for the member in its process.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from collective.core import limits
from collective.core.errors import CollectiveError, ConflictError, UsageError
from collective.core.paths import FilePath
from collective.model.writing import Precondition

if TYPE_CHECKING:  # imported when the first of them is used: a short command uses few
    from collective.client.copying import Copying
    from collective.client.files.interface import FileWriter, OpenFile
    from collective.client.files.outcomes import Outcome
    from collective.client.names import Names
    from collective.client.transfer_session import TransferSession
    from collective.model.changes import Cursor, Since
    from collective.model.entries import Entry
    from collective.model.pages import EntryPage
    from collective.model.progress import Progress
    from collective.model.rights import Right
    from collective.model.writing import Attributes
    from collective.transfer.engine.download import Download
    from collective.transfer.engine.write_sources import Source

T = TypeVar("T")

PAGE_ENTRIES: Final = 1000
"""Entries of a page where nothing is said."""


class FileOwner(Protocol):
    """Who has a path, and what it is called there."""

    @property
    def names(self) -> Names:
        """Its names as they are called here."""
        ...

    @property
    def session(self) -> TransferSession:
        """What moves its bytes."""
        ...

    def there(self, path: FilePath) -> FilePath:
        """Return what ``path`` is called at the other end."""
        ...

    def here(self, entry: Entry) -> Entry:
        """Return an entry from the other end as it is called here."""
        ...


class FindsOwners(Protocol):
    """What knows who has a path."""

    async def of(self, path: FilePath, /) -> FileOwner:
        """Return who has ``path``: the same object for all that one owner has."""
        ...

    async def copying(
        self,
        source: FilePath,
        target: FilePath,
        on_carried: Callable[[CollectiveError], None] | None,
        /,
    ) -> Copying:
        """Return what makes copies from who has ``source`` to who has ``target``."""
        ...


class FilesByOwner:
    """:class:`~collective.client.files.interface.Files` of all that ``owners`` find."""

    def __init__(self, owners: FindsOwners) -> None:
        """Find who has a path by ``owners``."""
        self._finds = owners

    # --- names ---------------------------------------------------------------------------------

    async def stat(self, path: str) -> Entry:
        """Return what ``path`` names."""
        parsed = FilePath.parse(path)
        return await (await self._finds.of(parsed)).names.stat(parsed)

    async def rights(self, path: str) -> Right:
        """Return what the caller may do at ``path``."""
        parsed = FilePath.parse(path)
        return await (await self._finds.of(parsed)).names.rights(parsed)

    def list(self, path: str, *, recursive: bool = False) -> AsyncGenerator[Entry]:
        """Yield what is below ``path`` in order of path."""
        return self._list(FilePath.parse(path), recursive=recursive)

    async def _list(self, path: FilePath, *, recursive: bool) -> AsyncGenerator[Entry]:
        names = (await self._finds.of(path)).names
        async with aclosing(names.list(path, recursive=recursive)) as found:
            async for entry in found:
                yield entry

    async def list_page(
        self,
        path: str,
        *,
        recursive: bool = False,
        page_size: int = PAGE_ENTRIES,
        token: str = "",
    ) -> EntryPage:
        """Return one page of what is below ``path``."""
        if not 0 < page_size <= limits.LIST_PAGE_MAX_ENTRIES:
            raise UsageError(f"A page has 1 to {limits.LIST_PAGE_MAX_ENTRIES} entries.")
        parsed = FilePath.parse(path)
        names = (await self._finds.of(parsed)).names
        return await names.list_page(parsed, recursive=recursive, page_size=page_size, token=token)

    async def mkdir(
        self, path: str, *, parents: bool = False, attributes: Attributes | None = None
    ) -> Entry:
        """Make a directory, or a datastore at top level."""
        parsed = FilePath.parse(path)
        names = (await self._finds.of(parsed)).names
        return await names.mkdir(parsed, parents=parents, attributes=attributes)

    async def make_link(
        self,
        path: str,
        target: bytes,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there."""
        parsed = FilePath.parse(path)
        names = (await self._finds.of(parsed)).names
        return await names.make_link(parsed, target, attributes, condition)

    async def set_attributes(
        self, path: str, attributes: Attributes, *, if_version: int = 0
    ) -> Entry:
        """Change time and mode of what is at ``path``."""
        parsed = FilePath.parse(path)
        names = (await self._finds.of(parsed)).names
        return await names.set_attributes(parsed, attributes, if_version=if_version)

    async def remove(
        self,
        path: str,
        *,
        recursive: bool = False,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> int:
        """Remove a file, an empty directory or (``recursive``) a tree; return how many names went."""
        parsed = FilePath.parse(path)
        names = (await self._finds.of(parsed)).names
        return await names.remove(
            parsed, recursive=recursive, if_version=if_version, progress=progress
        )

    async def move(self, source: str, destination: str, *, if_version: int = 0) -> Entry:
        """Rename; a file at the destination is replaced."""
        old, new = FilePath.parse(source), FilePath.parse(destination)
        owner = await self._finds.of(old)
        if await self._finds.of(new) is not owner:
            raise ConflictError("Nothing is moved from one member to another; copy it instead.")
        return await owner.names.move(old, new, if_version=if_version)

    # --- contents ------------------------------------------------------------------------------

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file as bytes."""
        async with self.open_read(path, offset=offset, length=length) as reader:
            return b"".join([bytes(block) async for block in reader])

    def open_read(
        self,
        path: str,
        *,
        offset: int = 0,
        length: int | None = None,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> AbstractAsyncContextManager[Download]:
        """Return what enters as a reader of a range in order."""
        return self._reading(FilePath.parse(path), offset, length, if_version, progress)

    @asynccontextmanager
    async def _reading(
        self,
        path: FilePath,
        offset: int,
        length: int | None,
        if_version: int,
        progress: Progress | None,
    ) -> AsyncIterator[Download]:
        owner = await self._finds.of(path)
        download = owner.session.read(
            owner.there(path),
            offset=offset,
            length=length,
            if_version=if_version,
            progress=progress,
        )
        async with download:
            yield download

    def open(self, path: str, *, if_version: int = 0) -> AbstractAsyncContextManager[OpenFile]:
        """Return what enters as one version of a file, to be read at any offset."""
        return self._opened(FilePath.parse(path), if_version)

    @asynccontextmanager
    async def _opened(self, path: FilePath, if_version: int) -> AsyncIterator[OpenFile]:
        from collective.client.files.opened import opened  # noqa: PLC0415 - no command needs it

        owner = await self._finds.of(path)
        async with opened(owner.session, owner.there(path), path, if_version) as file:
            yield file

    async def write(
        self,
        path: str,
        source: Source,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
        progress: Progress | None = None,
    ) -> Entry:
        """Store all of ``source`` as ``path`` and return when it is durable."""
        parsed = FilePath.parse(path)
        owner = await self._finds.of(parsed)
        return owner.here(
            await owner.session.write(
                owner.there(parsed),
                source,
                attributes=attributes,
                condition=condition,
                progress=progress,
            )
        )

    def open_write(
        self,
        path: str,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
        progress: Progress | None = None,
    ) -> AbstractAsyncContextManager[FileWriter]:
        """Return what enters as a writer, for what comes piece by piece."""
        from collective.client.files.writing import writing  # noqa: PLC0415 - no command needs it

        async def store(pieces: AsyncIterator[bytes]) -> Entry:
            return await self.write(
                path, pieces, attributes=attributes, condition=condition, progress=progress
            )

        FilePath.parse(path)
        return writing(store)

    async def copy(
        self,
        source: str,
        target: str,
        *,
        condition: Precondition | None = None,
        progress: Progress | None = None,
        on_carried: Callable[[CollectiveError], None] | None = None,
    ) -> Entry:
        """Make ``target`` a file like the file ``source``."""
        old, new = FilePath.parse(source), FilePath.parse(target)
        copying = await self._finds.copying(old, new, on_carried)
        return (await copying.copy(old, new, condition or Precondition(), progress=progress))[0]

    # --- watching ------------------------------------------------------------------------------

    async def changes(
        self,
        path: str,
        cursor: Cursor | None = None,
        *,
        wait_s: float = 0.0,
        page_size: int = PAGE_ENTRIES,
    ) -> Since:
        """Return what changed in a folder since ``cursor``."""
        if not 0 <= wait_s <= limits.WATCH_WAIT_MAX_S:
            raise UsageError(f"A wait takes 0 to {limits.WATCH_WAIT_MAX_S:g} seconds.")
        if not 0 < page_size <= limits.LIST_PAGE_MAX_ENTRIES:
            raise UsageError(f"A page has 1 to {limits.LIST_PAGE_MAX_ENTRIES} changes.")
        parsed = FilePath.parse(path)
        names = (await self._finds.of(parsed)).names
        return await names.changes(parsed, cursor or "", wait_s=wait_s, page_size=page_size)

    def watch(self, path: str, cursor: Cursor | None = None) -> AsyncGenerator[Since]:
        """Yield what changes in a folder, as it does."""
        from collective.client.files.watching import watching  # noqa: PLC0415 - no command needs it

        FilePath.parse(path)
        return watching(partial(self.changes, path, wait_s=limits.WATCH_WAIT_MAX_S), cursor)

    # --- many at once --------------------------------------------------------------------------

    async def stat_many(self, paths: Iterable[str]) -> Sequence[Outcome[Entry]]:
        """Return what each of ``paths`` names, or why not."""
        return await _each(paths, self.stat)

    async def read_many(self, paths: Iterable[str]) -> Sequence[Outcome[bytes]]:
        """Return all bytes of each file, or why not."""
        return await _each(paths, self.read)

    async def write_many(
        self,
        contents: Mapping[str, Source],
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Sequence[Outcome[Entry]]:
        """Store each of ``contents`` as the path it is under."""

        async def write(path: str) -> Entry:
            return await self.write(
                path, contents[path], attributes=attributes, condition=condition
            )

        return await _each(contents, write)

    async def remove_many(self, paths: Iterable[str]) -> Sequence[Outcome[int]]:
        """Remove each file or empty directory."""
        return await _each(paths, self.remove)


async def _each(paths: Iterable[str], work: Callable[[str], Awaitable[T]]) -> Sequence[Outcome[T]]:
    from collective.client.files.outcomes import each  # noqa: PLC0415 - no command needs it

    return await each(paths, work)
