"""Contents: write, read, put, get, cp.  Streams in bounded memory; progress on a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from collective.cli.names import PathArgument, is_directory
from collective.cli.options import Invocation, command
from collective.cli.terminal import output
from collective.cli.terminal.progress import Meter
from collective.core.clock import Clock
from collective.core.errors import (
    CollectiveError,
    NotFoundError,
    PartialError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.writing import Attributes

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import TreeJson
    from collective.client.collective import Collective
    from collective.client.trees.result import LeftOut, TreeResult

app = typer.Typer()


@app.command()
@command
def write(invocation: Invocation, path: PathArgument) -> None:
    """Store what comes on stdin; done when enough copies are on disk."""
    FilePath.parse(path)
    meter = Meter(invocation.world.clock)
    stdin = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - not ours to close

    async def work(collective: Collective) -> Entry:
        if stdin.isatty():  # the line would be drawn over what is typed
            return await collective.write(path, stdin)
        async with meter.shown():
            return await collective.write(path, stdin, progress=meter)

    entry = invocation.run(work, is_transfer=True)
    if invocation.as_json:
        output.as_json(output.entry_json(entry))


@app.command()
@command
def read(
    invocation: Invocation,
    path: PathArgument,
    offset: Annotated[int, typer.Option("--offset", min=0, help="First byte.")] = 0,
    length: Annotated[
        int | None, typer.Option("--length", min=0, help="Bytes; default: to the end.")
    ] = None,
) -> None:
    """Write a file's contents to stdout, verified."""
    if invocation.as_json:
        raise UsageError("'read' writes the file itself; use 'stat --json' for its facts.")
    from collective.client.single_file.put_get import write_all  # noqa: PLC0415 - heavy

    FilePath.parse(path)
    meter = Meter(invocation.world.clock)

    async def work(collective: Collective) -> None:
        async with AsyncExitStack() as stack:
            if not sys.stdout.isatty():  # else the file itself is seen there
                await stack.enter_async_context(meter.shown())
            reader = await stack.enter_async_context(
                collective.open_read(path, offset=offset, length=length, progress=meter)
            )
            async for block in reader:
                await collective.in_thread(partial(write_all, 1, block))

    invocation.run(work, is_transfer=True)


@app.command()
@command
def put(
    invocation: Invocation,
    local: Annotated[str, typer.Argument(metavar="LOCAL", help="A file or a directory.")],
    path: PathArgument,
    checksum: Annotated[
        bool,
        typer.Option(
            "--checksum",
            help="Compare what is in all files, also where size, times and inode are as they were.",
        ),
    ] = False,
) -> None:
    """Upload a file, or a directory with everything below it: what changed, and nothing else.

    Links go as links, holes as holes, with times and modes. What cannot be stored is named and left
    out; the rest is done, and the exit code is 9.
    """
    FilePath.parse(path)
    is_tree = os.path.isdir(local)
    name = os.path.basename(os.path.abspath(local))
    if not is_tree and not os.path.exists(local):
        raise NotFoundError(f"Local file {local!r} does not exist.")
    clock, size_bytes = invocation.world.clock, os.path.getsize(local)

    async def work(collective: Collective) -> Entry | TreeResult:
        if is_tree:
            async with _tree_meter(clock) as (meter, tree):
                return await collective.put_tree(
                    local,
                    path,
                    compares_all=checksum,
                    progress=meter,
                    named=partial(_left_out, meter),
                    result=tree,
                )
        target = await _into(collective, path, name)
        meter = Meter(clock, size_bytes)
        async with meter.shown():
            return await collective.put(local, target, progress=meter)

    _finish(invocation, invocation.run(work, is_transfer=True))


@asynccontextmanager
async def _tree_meter(clock: Clock) -> AsyncIterator[tuple[Meter, TreeResult]]:
    """Show how many bytes of a tree moved, and how many files are done; yield what counts them."""
    from collective.client.trees.result import TreeResult  # noqa: PLC0415 - heavy

    tree = TreeResult()

    def files() -> str:
        count = tree.files + tree.links + tree.attributes + tree.unchanged
        return "1 file" if count == 1 else f"{count:,} files"

    meter = Meter(clock, also=files)
    async with meter.shown():
        yield meter, tree


async def _into(collective: Collective, path: str, name: str) -> str:
    """Return where a file goes: below ``path`` if that ends in ``/`` or is a directory."""
    below = str(FilePath.parse(path).child(name))
    return below if path.endswith("/") or await is_directory(collective, path) else path


@app.command()
@command
def get(
    invocation: Invocation,
    path: PathArgument,
    local: Annotated[str, typer.Argument(metavar="LOCAL")],
    checksum: Annotated[
        bool,
        typer.Option("--checksum", help="Compare what is in all files: 'get' always does."),
    ] = False,
    set_id: Annotated[
        bool,
        typer.Option("--set-id", help="Give files their set-user-id and set-group-id bits, too."),
    ] = False,
) -> None:
    """Download a file, or a directory with everything below it: what differs here, and nothing else.

    Links come as links, holes as holes, with times and modes. What cannot be made here is named and left
    out; the rest is done, and the exit code is 9.
    """
    del checksum  # for scripts that give it both ways
    parsed = FilePath.parse(path)
    clock = invocation.world.clock
    target = os.path.join(local, parsed.name) if os.path.isdir(local) else local

    async def work(collective: Collective) -> Entry | TreeResult:
        entry = await collective.stat(path)
        if not entry.kind.is_leaf:
            async with _tree_meter(clock) as (meter, tree):
                return await collective.get_tree(
                    path,
                    local,
                    keeps_set_id=set_id,
                    progress=meter,
                    named=partial(_left_out, meter),
                    result=tree,
                )
        meter = Meter(clock, entry.size_bytes)
        async with meter.shown():
            return await collective.get(path, target, keeps_set_id=set_id, progress=meter)

    _finish(invocation, invocation.run(work, is_transfer=True))


@app.command()
@command
def cp(
    invocation: Invocation,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Like /@home.bob/media/film.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Like /shared/film.")],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="A directory with everything below it.")
    ] = False,
) -> None:
    """Copy a file or a directory within a member, or between members; the coordinators move the bytes.

    Between a member that you joined besides and another, this machine moves them where your own member may not.
    A second run carries what differs, and nothing else. What cannot be copied is named and left out; the
    rest is done, and the exit code is 9.
    """
    name = FilePath.parse(source).name
    FilePath.parse(target)
    clock = invocation.world.clock

    async def work(collective: Collective) -> Entry | TreeResult:
        entry = await collective.stat(source)
        if not entry.kind.is_leaf:
            if not recursive:
                raise UsageError(f"{source} is a directory; copy it with -r.")
            async with _tree_meter(clock) as (meter, tree):
                return await collective.copy_tree(
                    source,
                    target,
                    progress=meter,
                    named=partial(_left_out, meter),
                    result=tree,
                    on_carried=partial(_carried, meter),
                )
        to = await _into(collective, target, name)
        if entry.kind is EntryKind.LINK:
            return await collective.make_link(
                to, entry.target, attributes=Attributes(entry.modified_ns, entry.mode)
            )
        meter = Meter(clock, entry.size_bytes)
        async with meter.shown():
            return await collective.copy(
                source, to, progress=meter, on_carried=partial(_carried, meter)
            )

    _finish(invocation, invocation.run(work, is_transfer=True))


def _carried(meter: Meter, error: CollectiveError) -> None:
    why = "no coordinator may speak for both of your identities."
    if not isinstance(error, PermissionDeniedError):
        why = f"your coordinator cannot make the copy now. {error.message}"
    meter.note(f"Note: The bytes pass through this machine: {why}")


def _left_out(meter: Meter, one: LeftOut) -> None:
    meter.note(f"Left out {one.name!r}: {one.error.message}")


def _finish(invocation: Invocation, result: Entry | TreeResult) -> None:
    """Print what was done; raise PartialError where something of a tree was left out."""
    if isinstance(result, Entry):
        if invocation.as_json:
            output.as_json(output.entry_json(result))
        return
    if invocation.as_json:
        output.as_json(_tree_json(result))
    count = len(result.left_out)
    if count:
        things = "1 thing was" if count == 1 else f"{count} things were"
        raise PartialError(
            f"{things} left out, each named above with its reason; the rest is done. Mend that and run"
            " the same command again."
        )


def _tree_json(result: TreeResult) -> TreeJson:
    return {
        "files": result.files,
        "links": result.links,
        "directories": result.directories,
        "attributes": result.attributes,
        "bytes": result.bytes,
        "unchanged": result.unchanged,
        "left_out": [
            {"name": one.name, "code": one.error.code, "reason": one.error.message}
            for one in result.left_out
        ],
    }
