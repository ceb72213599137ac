"""Names: mkdir, ls, rm, mv, stat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.cli.terminal.asking import YesOption, ask
from collective.core.errors import CollectiveError, ConflictError
from collective.core.paths import FilePath
from collective.core.units import format_size
from collective.model.entries import Entry, EntryKind

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import EntryJson, RemovedNamesJson
    from collective.client.collective import Collective

app = typer.Typer()

PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="Like /shared/a.txt.")]


@app.command()
@command
def mkdir(
    invocation: Invocation,
    path: PathArgument,
    parents: Annotated[
        bool, typer.Option("--parents", "-p", help="Make missing parents; accept what exists.")
    ] = False,
) -> None:
    """Make a directory, or a datastore at top level."""

    async def work(collective: Collective) -> Entry:
        return await collective.mkdir(path, parents=parents)

    entry = invocation.run(work)
    if invocation.as_json:
        output.as_json(output.entry_json(entry))


@app.command()
@command
def ls(
    invocation: Invocation,
    path: Annotated[str, typer.Argument(metavar="PATH")] = "/",
    long: Annotated[bool, typer.Option("--long", "-l", help="Size, time and copies, too.")] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Everything below.")] = False,
) -> None:
    """List what is below a path, one name a line."""
    base = FilePath.parse(path)

    async def work(collective: Collective) -> None:
        entries = collective.list(path, recursive=recursive)
        if invocation.as_json:
            output.as_json(await _all_of(entries, invocation))
            return
        async for entry in entries:
            name = output.shown_name(entry, _below(entry.path, base))
            output.line(_long(entry, name) if long else name)

    invocation.run(work)


async def _all_of(entries: AsyncIterator[Entry], invocation: Invocation) -> list[EntryJson]:
    """Return a listing as JSON has it, and show how far it is meanwhile."""
    from collective.cli.terminal.progress import Meter, Unit  # noqa: PLC0415 - not for each listing

    meter = Meter(invocation.world.clock, unit=Unit.NAMES, doing="Listed")
    found = []
    async with meter.shown():
        async for entry in entries:
            found.append(output.entry_json(entry))
            meter(1)
    return found


def _below(path: FilePath, base: FilePath) -> str:
    """Return ``path`` as seen from ``base``; a file that lists itself has its own name."""
    if path == base or not path.starts_with(base):
        return path.name
    return "/".join(path.names[len(base.names) :])


def _long(entry: Entry, name: str) -> str:
    modified = output.shown_time(output.exact_time(entry.modified_ns), "-")
    if entry.kind is EntryKind.LINK:
        name = f"{name} -> {output.target(entry)}"
    if entry.kind is not EntryKind.FILE:
        return f"{entry.kind.value:<9}  {'-':>10}  {modified:<20}  {'-':>5}  {name}"
    copies = f"{entry.copies_least}/{entry.copies_wanted}"
    return f"{'file':<9}  {format_size(entry.size_bytes):>10}  {modified:<20}  {copies:>5}  {name}"


@app.command()
@command
def rm(
    invocation: Invocation,
    path: PathArgument,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="A directory with everything below it.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Remove a file, a link, an empty directory or a tree; a whole datastore only after a question."""
    at = FilePath.parse(path)
    if recursive and _is_datastore(at):
        ask(f"Remove {at} with everything in it?", f"{at} was not removed.", yes=yes)

    async def work(collective: Collective) -> int:
        if not recursive:
            return await collective.remove(path)
        return await _remove_tree(collective, path, invocation)

    _say_removed(invocation.run(work), invocation)


def _say_removed(count: int, invocation: Invocation) -> None:
    if invocation.as_json:
        removed: RemovedNamesJson = {"removed": count}
        output.as_json(removed)


async def _remove_tree(collective: Collective, path: str, invocation: Invocation) -> int:
    """Remove a tree, show how far it is meanwhile, and say what went where it ends half-way.

    With ``--json`` that is said on stdout, too, before the error.
    """
    from collective.cli.terminal.progress import Meter, Unit  # noqa: PLC0415 - not for each removal

    meter = Meter(invocation.world.clock, unit=Unit.NAMES, doing="Removed")
    try:
        async with meter.shown():
            return await collective.remove(path, recursive=True, progress=meter)
    except (CollectiveError, asyncio.CancelledError):
        if meter.done:
            names = "1 name" if meter.done == 1 else f"{meter.done:,} names"
            output.note(f"{names} removed below {path}; the rest is still there.")
            _say_removed(meter.done, invocation)
        raise


def _is_datastore(path: FilePath) -> bool:
    """Tell whether ``path`` is a top-level path, of this member or of a peer."""
    below = path.names[1:] if path.names and path.names[0].startswith("@") else path.names
    return len(below) == 1


@app.command()
@command
def mv(
    invocation: Invocation,
    source: Annotated[str, typer.Argument(metavar="OLD")],
    destination: Annotated[str, typer.Argument(metavar="NEW")],
) -> None:
    """Rename a file, link or directory, or move it into NEW where that is a directory.

    A file or link at NEW is replaced.
    """
    below = str(FilePath.parse(destination).child(FilePath.parse(source).name))

    async def work(collective: Collective) -> Entry:
        if destination.endswith("/"):
            return await collective.move(source, below)
        try:
            return await collective.move(source, destination)
        except ConflictError:
            if not await is_directory(collective, destination):
                raise
        return await collective.move(source, below)

    entry = invocation.run(work)
    if invocation.as_json:
        output.as_json(output.entry_json(entry))


async def is_directory(collective: Collective, path: str) -> bool:
    """Tell whether a directory is at ``path``, as far as the caller may see it."""
    try:
        return not (await collective.stat(path)).kind.is_leaf
    except CollectiveError:
        return False


@app.command()
@command
def stat(invocation: Invocation, path: PathArgument) -> None:
    """Show what is known about a path."""

    async def work(collective: Collective) -> Entry:
        return await collective.stat(path)

    facts = output.entry_json(invocation.run(work))
    if invocation.as_json:
        output.as_json(facts)
        return
    for name, value in facts.items():
        if name == "mode" and value is not None:
            value = f"{value:04o}"  # noqa: PLW2901 - shown as people write it
        output.line(f"{name.replace('_', ' '):<14}{'' if value is None else value}".rstrip())
