"""The files of a member, its own process's or elsewhere, as every program uses them: one protocol.

:class:`~collective.client.collective.Collective` is this over the network, for the own member and, below
``/@DOMAIN``, for its peers; a face in the coordinator's process has the same of that member.  One suite holds
all of them to it (``tests/contract/files``).

A path is text: absolute, ``/``-separated, kept exactly as given; ``/@DOMAIN/…`` is a peer's.  What is wrong with
one is :class:`UsageError`.  Outside of the caller's grants every method raises PermissionDeniedError, whatever
exists; inside, what is absent is NotFoundError.  All that is raised on purpose is of ``core/errors.py``.

Every coroutine may be cancelled at any time.  A cancelled read leaves nothing behind, a cancelled write no
trace at its path, and a cancelled change of names may or may not have been made.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from collective.client.files.outcomes import Outcome
from collective.core.errors import CollectiveError
from collective.model.changes import Cursor, Since
from collective.model.entries import Entry
from collective.model.pages import EntryPage
from collective.model.progress import Progress
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition
from collective.transfer.engine.write_sources import Source


class FileReader(Protocol):
    """A range of one version of a file, in order: an async iterator of blocks."""

    @property
    def entry(self) -> Entry:
        """The version that is read."""
        ...

    def __aiter__(self) -> AsyncIterator[memoryview]:
        """Yield the range as blocks of verified bytes, each valid until the next is asked for."""
        ...


class OpenFile(Protocol):
    """One version of a file, for reading anywhere in it, by several tasks at once."""

    @property
    def entry(self) -> Entry:
        """The version that is open."""
        ...

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` on; fewer at the end of the file, none beyond it.

        The bytes are held in memory.  Raises ConflictError where the version was replaced, and had not been
        read for so long (READ_LEASE_S) that it is gone.
        """
        ...


class FileWriter(Protocol):
    """A file that is written piece by piece."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add ``data`` to the end; waits while what came before is under way, so memory stays bounded.

        Raises what ends the whole, such as NotEnoughCopiesError; leave the writer then.
        """
        ...

    @property
    def entry(self) -> Entry:
        """What was stored, once the writer was left without an error."""
        ...


class Files(Protocol):
    """The files of a member, and of its peers."""

    # --- names ---------------------------------------------------------------------------------

    async def stat(self, path: str) -> Entry:
        """Return what ``path`` names; its ``version`` is what conditions compare with."""
        ...

    async def rights(self, path: str) -> Right:
        """Return what the caller may do at ``path``, whether anything is there or not.

        ``Right.NONE`` where only the way to something below is open to them.
        """
        ...

    def list(self, path: str, *, recursive: bool = False) -> AsyncGenerator[Entry]:
        """Yield what is below ``path`` in order of path, fetched page by page; a file yields itself."""
        ...

    async def list_page(
        self, path: str, *, recursive: bool = False, page_size: int = 1000, token: str = ""
    ) -> EntryPage:
        """Return one page of the same, for those who hand listings on.

        Args:
            path: a folder, or a file.
            recursive: everything below, parents before children.
            page_size: entries at most, 1 to LIST_PAGE_MAX_ENTRIES; the root's peers come beside them.
            token: ``next_token`` of the page before; empty: from the beginning.
        """
        ...

    async def mkdir(
        self, path: str, *, parents: bool = False, attributes: Attributes | None = None
    ) -> Entry:
        """Make a directory, or a datastore at top level; ``parents`` accepts what exists.

        ``attributes``: its time and mode, if this call makes it.
        """
        ...

    async def make_link(
        self,
        path: str,
        target: bytes,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there; nobody follows it.

        ConflictError where ``condition`` does not hold of what is there.
        """
        ...

    async def set_attributes(
        self, path: str, attributes: Attributes, *, if_version: int = 0
    ) -> Entry:
        """Change time and mode of what is at ``path``; None in ``attributes`` leaves it as it is."""
        ...

    async def remove(
        self,
        path: str,
        *,
        recursive: bool = False,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> int:
        """Remove a file, an empty directory or (``recursive``) a tree; return how many names went.

        A large tree goes part by part, deepest names first; ``progress`` is called with the number of
        names in each.  Ended half-way, what is left is a smaller tree.
        """
        ...

    async def move(self, source: str, destination: str, *, if_version: int = 0) -> Entry:
        """Rename; a file at the destination is replaced.  ConflictError between members: copy instead."""
        ...

    # --- contents ------------------------------------------------------------------------------

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file as bytes; for small files (all of it is held in memory)."""
        ...

    def open_read(
        self,
        path: str,
        *,
        offset: int = 0,
        length: int | None = None,
        if_version: int = 0,
        progress: Progress | None = None,
    ) -> AbstractAsyncContextManager[FileReader]:
        """Return what enters as a reader of a range in order, in bounded memory.

        Args:
            path: a file.
            offset: the first byte wanted.
            length: how many bytes; None for all to the end.
            if_version: read this version or raise ConflictError; 0 for the current one.
            progress: called with the bytes of each block delivered.
        """
        ...

    def open(self, path: str, *, if_version: int = 0) -> AbstractAsyncContextManager[OpenFile]:
        """Return what enters as one version of a file, to be read at any offset, in any order.

        It stays what it is while it is read, though the file be replaced or removed.
        """
        ...

    async def write(
        self,
        path: str,
        source: Source,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
        progress: Progress | None = None,
    ) -> Entry:
        """Store all of ``source`` as ``path`` and return when it is durable.

        Memory is bounded whatever the size.  On any error, nothing is visible at ``path``.

        Args:
            path: the file; its folder exists.
            source: bytes, an async iterator of bytes, or a binary file object, read in a thread.
            attributes: time, mode, content type and metadata; by default the time of the commit.
            condition: what must hold of what is there: ``Precondition(if_absent=True)``, or
                ``Precondition(if_version=entry.version)`` to compare and set.
            progress: called with the bytes of each chunk stored.

        Raises:
            NotFoundError: the parent directory does not exist.
            NotEnoughCopiesError, NoSpaceError: a quorum of copies cannot be stored.
            ConflictError: ``condition`` does not hold, or a directory is in the way.
        """
        ...

    def open_write(
        self,
        path: str,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
        progress: Progress | None = None,
    ) -> AbstractAsyncContextManager[FileWriter]:
        """Return what enters as a writer, for what comes piece by piece.

        Left without an error, the file is stored as by :meth:`write`, and durable.  Left by an error or
        cancelled, nothing is visible at ``path``.
        """
        ...

    async def copy(
        self,
        source: str,
        target: str,
        *,
        condition: Precondition | None = None,
        progress: Progress | None = None,
        on_carried: Callable[[CollectiveError], None] | None = None,
    ) -> Entry:
        """Make ``target`` a file like the file ``source``, of this member or a peer's (``/@DOMAIN/…``).

        Coordinators move the bytes, and only those that the target's member lacks; an interrupted copy goes
        on.  Between a member that a client has joined besides and another, this machine may have to carry
        them: ``on_carried`` is called before it does, with what the own coordinator answered.  Raises as :meth:`write` and :meth:`open_read`.
        """
        ...

    # --- watching ------------------------------------------------------------------------------

    async def changes(
        self,
        path: str,
        cursor: Cursor | None = None,
        *,
        wait_s: float = 0.0,
        page_size: int = 1000,
    ) -> Since:
        """Return what changed in a folder since ``cursor``, or that it must be listed anew.

        Needs ``read`` on the folder.  Nothing that happened elsewhere shows, not even that it did.

        Args:
            path: a folder; everything below it is watched.
            cursor: of the answer before, about this folder and to this caller.  None begins: the answer is
                ListAnew, and what changes from then on is told.
            wait_s: with nothing to tell, wait so long for a first change, 0 to WATCH_WAIT_MAX_S seconds.
            page_size: changes at most, 1 to LIST_PAGE_MAX_ENTRIES; ``more`` says that there are others.

        Returns:
            :class:`Changes`, each path once with what is there now, or :class:`ListAnew`.  A change may be told
            twice, and none is left out: first keep the cursor, then list.

        Raises:
            NotFoundError: without a cursor, where nothing is at ``path``.
            BusyError: too many wait already.
        """
        ...

    def watch(self, path: str, cursor: Cursor | None = None) -> AsyncGenerator[Since]:
        """Yield what changes in a folder, as it does, for as long as it is asked for more.

        The first item without a ``cursor`` is ListAnew, and so is any after which the folder is to be listed.
        Outlives a coordinator that restarts, for a minute; after an error go on with the last cursor.  Ends with
        PermissionDeniedError once the right has ended.
        """
        ...

    # --- many at once --------------------------------------------------------------------------

    async def stat_many(self, paths: Iterable[str]) -> Sequence[Outcome[Entry]]:
        """Return what each of ``paths`` names, or why not; in their order, several under way at once."""
        ...

    async def read_many(self, paths: Iterable[str]) -> Sequence[Outcome[bytes]]:
        """Return all bytes of each file, or why not; for small files (all are held in memory)."""
        ...

    async def write_many(
        self,
        contents: Mapping[str, Source],
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Sequence[Outcome[Entry]]:
        """Store each of ``contents`` as the path it is under, as :meth:`write`; one fails alone."""
        ...

    async def remove_many(self, paths: Iterable[str]) -> Sequence[Outcome[int]]:
        """Remove each file or empty directory, as :meth:`remove`; there is no order among them."""
        ...
