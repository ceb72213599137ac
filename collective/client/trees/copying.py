"""`cp -r`: what a member has below one path comes to be below another, of the same member or a peer.

Nothing is removed at the target.  Files go a few at a time, moved by whoever makes the copies; what is there
already with the same content, time and mode is let be, so a second run carries what differs.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field

from collective.client.copying import Copying
from collective.client.names import Names
from collective.client.trees.pool import FilePool
from collective.client.trees.result import Record
from collective.core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.progress import Progress
from collective.model.writing import Attributes, Precondition


@dataclass(slots=True)
class TreeCopy:
    """One `cp -r`; use :meth:`run` once."""

    names: Names
    """Of the source's owner."""
    targets: Names
    """Of the target's."""
    copying: Copying
    record: Record
    progress: Progress | None
    _entered: list[tuple[FilePath, Entry]] = field(default_factory=list)
    """Directories whose times and modes are still to come."""

    async def run(self, source: FilePath, target: FilePath) -> None:
        """Copy what is below ``source`` to below ``target``, which is made if absent."""
        if target.starts_with(source) or source.starts_with(target):
            raise UsageError(
                f"{source} cannot be copied into itself, nor over what holds it; choose another target."
            )
        root = await self.names.stat(source)
        if root.kind.is_leaf:
            raise UsageError(f"{source} is no directory; copy it without -r.")
        await self._enter(target, root)
        left_out: FilePath | None = None
        async with FilePool() as pool, aclosing(self.names.list(source, recursive=True)) as listed:
            async for entry in listed:
                if entry.path == source or not entry.path.starts_with(source):
                    continue
                if left_out is not None and entry.path.starts_with(left_out):
                    continue
                to = FilePath((*target.names, *entry.path.names[len(source.names) :]))
                if entry.kind.is_leaf:
                    await pool.start(self._leaf(entry, to), entry.size_bytes)
                    continue
                left_out = entry.path
                with self.record.about(str(entry.path)):
                    await self._enter(to, entry)
                    left_out = None
        for to, entry in reversed(self._entered):
            with self.record.about(str(entry.path)):
                await self.targets.set_attributes(to, _attributes_of(entry))

    async def _enter(self, to: FilePath, entry: Entry) -> None:
        there = await self._there(to)
        if there is None:
            await self.targets.mkdir(to, parents=False)
            self.record.result.directories += 1
        elif there.kind.is_leaf:
            raise ConflictError(f"{to} is no directory; move it away.")
        if entry.modified_ns is not None or entry.mode is not None:
            self._entered.append((to, entry))

    async def _leaf(self, entry: Entry, to: FilePath) -> None:
        with self.record.about(str(entry.path)):
            there = await self._there(to)
            if there is not None and not there.kind.is_leaf:
                raise ConflictError(f"{to} is a directory; move it away.")
            condition = (
                Precondition(if_absent=True)
                if there is None
                else Precondition(if_version=there.version)
            )
            if entry.kind is EntryKind.LINK:
                if there is not None and _is_same_link(entry, there):
                    self.record.result.unchanged += 1
                    return
                await self.targets.make_link(to, entry.target, _attributes_of(entry), condition)
                self.record.result.links += 1
            else:
                await self._file(entry, to, there, condition)

    async def _file(
        self, entry: Entry, to: FilePath, there: Entry | None, condition: Precondition
    ) -> None:
        result = self.record.result
        is_alike = (
            there is not None
            and there.kind is EntryKind.FILE
            and there.size_bytes == entry.size_bytes
        )
        made, is_same = await self.copying.copy(
            entry.path, to, condition, unless_same=is_alike, progress=self.progress
        )
        if not is_same:
            result.files += 1
            result.bytes += entry.size_bytes
        elif (entry.modified_ns, entry.mode) == (made.modified_ns, made.mode):
            result.unchanged += 1
        else:
            await self.targets.set_attributes(to, _attributes_of(entry), if_version=made.version)
            result.attributes += 1

    async def _there(self, path: FilePath) -> Entry | None:
        """Return what is at the target; None where nothing is, or the caller may not know."""
        try:
            return await self.targets.stat(path)
        except (NotFoundError, PermissionDeniedError):
            return None


def _attributes_of(entry: Entry) -> Attributes:
    return Attributes(modified_ns=entry.modified_ns, mode=entry.mode)


def _is_same_link(entry: Entry, there: Entry) -> bool:
    return (
        there.kind is EntryKind.LINK
        and entry.target == there.target
        and entry.modified_ns == there.modified_ns
    )
