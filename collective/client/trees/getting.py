"""`get` of a directory: what a member has of it comes to be below a local one.

Nothing is removed there.  Directories are made before what they hold and get their times and modes
after it, the deepest first; files and links go a few at a time.
"""

from __future__ import annotations

import os
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from collective.client.disk.attributes import SET_ID, WantedAttributes
from collective.client.disk.errors import LocalError
from collective.client.disk.nofollow_tree import Names as LocalNames
from collective.client.disk.tree_target import TreeTarget
from collective.client.names import Names
from collective.client.single_file.put_get import LocalFiles, Place
from collective.client.transfer_session import TransferSession
from collective.client.trees.notes import RootNote
from collective.client.trees.plan import Do, get_step
from collective.client.trees.pool import FilePool
from collective.client.trees.result import Record
from collective.core.errors import CollectiveError, ConflictError, UsageError
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.progress import Progress


@dataclass(slots=True)
class TreeGet:
    """One `get`; use :meth:`run` once."""

    session: TransferSession
    names: Names
    files: LocalFiles
    root_note: RootNote
    record: Record
    keeps_set_id: bool
    """Whether files get their set-user-id and set-group-id bits."""
    progress: Progress | None
    _entered: list[tuple[LocalNames, Entry]] = field(default_factory=list)
    """Directories whose times and modes are still to come."""

    async def run(self, path: FilePath, local: str) -> None:
        """Download what is below ``path`` to below ``local``, which is made if absent."""
        root = await self.names.stat(path)
        if root.kind.is_leaf:
            raise UsageError(f"{path} is no directory; get it as a file.")
        landing = await self.session.in_thread(partial(TreeTarget, local, self.session.randomness))
        try:
            await self.session.in_thread(partial(self._enter_root, landing, root))
            try:
                await self._all(landing, path)
            finally:
                await self.session.to_the_end(partial(self._settle, landing))
        finally:
            landing.close()

    def _enter_root(self, landing: TreeTarget, root: Entry) -> None:
        """Note what becomes of the target: it gets time and mode if it was made for this tree.

        Now, or by an earlier `get`; another directory keeps its own.
        """
        state = landing.state_of_root()
        if landing.is_made:
            self.root_note.remember(state)
            self.record.result.directories += 1
        elif self.root_note.is_ours(state):
            found = landing.found
            self.record.result.attributes += found is not None and not self._wanted(root).fit(found)
            landing.own_root()
        else:
            return
        self._entered.append(((), root))

    async def _all(self, landing: TreeTarget, path: FilePath) -> None:
        left_out: FilePath | None = None
        async with FilePool() as pool, aclosing(self.names.list(path, recursive=True)) as listed:
            async for entry in listed:
                if entry.path == path or not entry.path.starts_with(path):
                    continue
                if left_out is not None and entry.path.starts_with(left_out):
                    continue
                names = entry.path.names[len(path.names) :]
                if entry.kind.is_leaf:
                    await pool.start(self._leaf(landing, names, entry), entry.size_bytes)
                    continue
                left_out = entry.path
                with self.record.about(str(entry.path)):
                    await self._enter(landing, names, entry)
                    left_out = None

    async def _enter(self, landing: TreeTarget, names: LocalNames, entry: Entry) -> None:
        local = await self.session.in_thread(partial(landing.look, names))
        wanted = self._wanted(entry)
        get_step(entry, local, wanted)
        is_made = await self.session.in_thread(partial(landing.enter, names))
        self.record.result.directories += is_made
        self.record.result.attributes += local is not None and not wanted.fit(local)
        self._entered.append((names, entry))

    async def _leaf(self, landing: TreeTarget, names: LocalNames, entry: Entry) -> None:
        with self.record.about(str(entry.path)):
            wanted = self._wanted(entry)
            local = await self.session.in_thread(partial(landing.look, names))
            step = get_step(entry, local, wanted)
            if step is Do.COMPARE:
                step = Do.CARRY
                if await self._is_there(landing, names, entry):
                    assert local is not None
                    step = Do.NOTHING if wanted.fit(local) else Do.ATTRIBUTES
            why = ""
            match step:
                case Do.LINK:
                    make = partial(landing.link, names, entry.target, wanted)
                    why = await self.session.in_thread(make)
                    self.record.result.links += 1
                case Do.CARRY:
                    why = await self._carry(landing, names, entry, wanted)
                case Do.ATTRIBUTES:
                    settle = partial(landing.settle, names, wanted)
                    why = await self.session.in_thread(settle)
                    self.record.result.attributes += 1
                case _:
                    self.record.result.unchanged += 1
            if why:
                raise LocalError(why)
            if entry.mode is not None and wanted.mode != entry.mode:
                raise LocalError(
                    f"Its set-id bits ({entry.mode & SET_ID:04o}) were left out, the rest is there;"
                    " get with --set-id if you trust whoever stored it."
                )

    async def _is_there(self, landing: TreeTarget, names: LocalNames, entry: Entry) -> bool:
        """Tell whether the local file has the content; where that cannot be told, it has not."""
        try:
            fd = await self.session.in_thread(partial(landing.tree.open_file, names))
        except CollectiveError:
            return False
        try:
            return await self.files.holds(fd, entry, is_stored=False)
        except (OSError, ConflictError):  # it cannot be read, or there is a newer version
            return False
        finally:
            os.close(fd)

    async def _carry(
        self, landing: TreeTarget, names: LocalNames, entry: Entry, wanted: WantedAttributes
    ) -> str:
        """Download the content; return what of it this machine would not keep."""
        with landing.place(names) as (folder, name, left):
            place = Place(folder, name, landing.tree.shown(names), left)
            why = await self.files.get_into(place, entry, wanted, progress=self.progress)
        self.record.result.files += 1
        self.record.result.bytes += entry.size_bytes
        return why

    def _wanted(self, entry: Entry) -> WantedAttributes:
        return WantedAttributes.of(entry, keeps_set_id=self.keeps_set_id)

    def _settle(self, landing: TreeTarget) -> None:
        """Give directories their times and modes, when nothing is written in them any more."""
        while self._entered:
            names, entry = self._entered.pop()
            with self.record.about(str(entry.path)):
                why = landing.settle(names, self._wanted(entry))
                if why:
                    raise LocalError(why)
