"""What is below a local directory, and what a member has of it, side by side in the order of paths."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from collective.client.disk.local_entries import Kind, LocalEntry
from collective.client.disk.nofollow_tree import LocalTree, Names
from collective.client.transfer_session import TransferSession
from collective.core.errors import CollectiveError
from collective.core.paths import FilePath, check_name
from collective.model.entries import Entry

LeaveOut = Callable[[str, CollectiveError], None]
"""Called with a local path and why it is left out."""


@dataclass(slots=True)
class Found:
    """A name below the root."""

    names: Names
    local: LocalEntry
    path: FilePath
    """Where it goes at the member."""
    is_entered: bool = True
    """Set it to False and nothing below it is looked at."""


Listed = list[tuple[str, LocalEntry | CollectiveError]]
"""What ``LocalTree.list`` returns."""


async def walk(
    session: TransferSession, tree: LocalTree, path: FilePath, listed: Listed, leave_out: LeaveOut
) -> AsyncGenerator[Found]:
    """Yield what is below the root of ``tree``, which has ``listed`` in it.

    Parents come before their children, names by their UTF-8.  A directory is read just before it is
    yielded, when what comes before it was dealt with; one that cannot be read is left out, and so are
    names that no path can have.
    """
    pending = [_sorted(tree, (), path, listed, leave_out)]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        below: Listed = []
        if found.local.kind is Kind.DIRECTORY:
            try:
                below = await session.in_thread(partial(tree.list, found.names))
            except CollectiveError as error:
                leave_out(tree.shown(found.names), error)
                continue
        yield found
        if below and found.is_entered:
            pending.append(_sorted(tree, found.names, path, below, leave_out))


def _sorted(
    tree: LocalTree,
    folder: Names,
    path: FilePath,
    listed: Listed,
    leave_out: LeaveOut,
) -> Iterator[Found]:
    here = FilePath((*path.names, *folder))
    for name, local in sorted(listed, key=lambda one: one[0]):
        names = (*folder, name)
        try:
            check_name(name)
            there = here.child(name)
            there.check_size()
        except CollectiveError as error:
            leave_out(tree.shown(names), error)
            continue
        if isinstance(local, CollectiveError):
            leave_out(tree.shown(names), local)
            continue
        yield Found(names, local, there)


async def beside(
    local: AsyncGenerator[Found], remote: AsyncIterator[Entry]
) -> AsyncGenerator[tuple[Found, Entry | None]]:
    """Yield each local name with the entry of its path, None where there is none.

    Both come in the order of paths; what the member alone has is passed over.
    """
    async with aclosing(local):
        entry = await anext(remote, None)
        async for found in local:
            while entry is not None and entry.path < found.path:
                entry = await anext(remote, None)
            yield found, entry if entry is not None and entry.path == found.path else None
