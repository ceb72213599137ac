"""`put` of a directory: what is below it comes to be at the member, link for link and hole for hole.

Nothing is removed there.  Directories are made in turn, before what they hold; files and links go a few
at a time.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from collective.client.disk.errors import local_error
from collective.client.disk.local_entries import FileState, LocalEntry
from collective.client.disk.nofollow_tree import LocalTree
from collective.client.names import Names
from collective.client.single_file.put_get import LocalFiles
from collective.client.transfer_session import TransferSession
from collective.client.trees.notes import TreeNotes
from collective.client.trees.plan import Do, missing_attributes, put_step
from collective.client.trees.pool import FilePool
from collective.client.trees.result import Record
from collective.client.trees.walk import Found, beside, walk
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
)
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.progress import Progress


@dataclass(frozen=True, slots=True)
class TreePut:
    """One `put`; use :meth:`run` once."""

    session: TransferSession
    names: Names
    files: LocalFiles
    notes: TreeNotes
    record: Record
    compares_all: bool
    """Whether the content of files is compared that notes vouch for."""
    progress: Progress | None

    async def run(self, local: str, path: FilePath) -> None:
        """Upload what is below ``local`` to below ``path``, which is made if absent."""
        tree = await self.session.in_thread(partial(LocalTree, local))
        is_whole = False
        await self.session.to_the_end(self.notes.open)
        try:
            await self._run(tree, path)
            is_whole = True
        finally:
            tree.close()
            await self.session.to_the_end(partial(self.notes.close, is_whole=is_whole))

    async def _run(self, tree: LocalTree, path: FilePath) -> None:
        try:
            root = await self.session.in_thread(partial(tree.look, ()))
            listed = await self.session.in_thread(partial(tree.list, ()))
        except CollectiveError as error:
            self.record.leave_out(tree.root, error)
            return
        assert root is not None
        there = await self._there(path)
        if there is not None and there.kind.is_leaf:
            raise ConflictError(f"{path} is there and no directory; choose another place.")
        if not path.is_root:
            await self._enter(Found((), root, path), there)
        local = walk(self.session, tree, path, listed, self.record.leave_out)
        remote = self._remote(path, there)
        async with FilePool() as pool, aclosing(remote), aclosing(beside(local, remote)) as pairs:
            async for found, entry in pairs:
                found.is_entered = False
                with self.record.about(tree.shown(found.names)):
                    await self._one(pool, tree, found, entry)

    async def _there(self, path: FilePath) -> Entry | None:
        try:
            return await self.names.stat(path)
        except NotFoundError:
            return None

    async def _remote(self, path: FilePath, there: Entry | None) -> AsyncGenerator[Entry]:
        """Yield what is below ``path`` now; nothing where that may not be seen."""
        if there is None:
            return
        async with aclosing(self.names.list(path, recursive=True)) as listed:
            try:
                async for entry in listed:
                    yield entry
            except PermissionDeniedError:  # who may only write sends everything
                return

    async def _one(
        self, pool: FilePool, tree: LocalTree, found: Found, entry: Entry | None
    ) -> None:
        """Do what is to be done about one name, or begin it."""
        is_sent = (
            entry is not None
            and not self.compares_all
            and self.notes.is_sent(found.names, found.local.state, entry.version)
        )
        match put_step(found.local, entry, is_sent=is_sent):
            case Do.ENTER:
                await self._enter(found, entry)
                found.is_entered = True
            case Do.NOTHING:
                self.record.result.unchanged += 1
            case step:
                size_bytes = found.local.state.size_bytes
                await pool.start(self._leaf(step, tree, found, entry), size_bytes)

    async def _enter(self, found: Found, entry: Entry | None) -> None:
        """Have the directory at the member, with its time and mode."""
        told = found.local.attributes
        if entry is None:
            made = await self.names.mkdir(found.path, parents=True, attributes=told)
            self.record.result.directories += 1
            if missing_attributes(found.local, made) is not None:  # it was there, or is not shown
                await self.names.set_attributes(found.path, told)
        elif missing_attributes(found.local, entry) is not None:
            await self.names.set_attributes(found.path, told)
            self.record.result.attributes += 1

    async def _leaf(self, step: Do, tree: LocalTree, found: Found, entry: Entry | None) -> None:
        with self.record.about(tree.shown(found.names)):
            if step is Do.LINK:
                await self.names.make_link(found.path, found.local.target, found.local.attributes)
                self.record.result.links += 1
            elif step is Do.ATTRIBUTES:
                assert entry is not None
                await self._attributes(found, entry)
            else:
                await self._file(step, tree, found, entry)

    async def _attributes(self, found: Found, entry: Entry) -> Entry:
        """Carry time and mode, unless they are there; return the entry as it is then."""
        told = missing_attributes(found.local, entry)
        if told is None:
            self.record.result.unchanged += 1
            return entry
        after = await self.names.set_attributes(found.path, told, if_version=entry.version)
        self.record.result.attributes += 1
        return after

    async def _file(self, step: Do, tree: LocalTree, found: Found, entry: Entry | None) -> None:
        shown = tree.shown(found.names)
        fd = await self.session.in_thread(partial(tree.open_file, found.names))
        try:
            found.local = LocalEntry.of(os.fstat(fd))
            state = found.local.state
            if step is Do.COMPARE and entry is not None and await self._holds(fd, entry):
                if FileState.of(os.fstat(fd)) != state:
                    raise ConflictError(
                        f"Local file {shown!r} changed while it was read; put again."
                    )
                entry = await self._attributes(found, entry)
            else:
                entry = await self.files.put_open(fd, shown, found.path, progress=self.progress)
                self.record.result.files += 1
                self.record.result.bytes += entry.size_bytes
            self.notes.sent(found.names, state, entry.version)
        except OSError as error:
            raise local_error(error, shown) from error
        finally:
            os.close(fd)

    async def _holds(self, fd: int, entry: Entry) -> bool:
        """Tell whether the member has the content of ``fd``; where that cannot be told, it has not."""
        try:
            return await self.files.holds(fd, entry, is_stored=True)
        except (NotFoundError, ConflictError):  # there is a newer version, or none any more
            return False
