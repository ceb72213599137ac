"""``collective man``: the manual, made from what ``--help`` says."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Annotated

import typer

from collective.cli.terminal import output
from collective.cli.unconnected import UnconnectedInvocation, unconnected_command
from collective.core.errors import NotFoundError
from collective.core.small_files import write_atomically

if TYPE_CHECKING:
    from collective.cli.json_shapes import PageJson, PagesJson

app = typer.Typer()

_PAGE_MODE = 0o644


@app.command()
@unconnected_command
def man(
    invocation: UnconnectedInvocation,
    command: Annotated[
        list[str] | None, typer.Argument(help="Default: the page of collective itself.")
    ] = None,
    output_dir: Annotated[
        str,
        typer.Option("--output-dir", metavar="FOLDER", help="Write every page below it, in man1."),
    ] = "",
) -> None:
    """Print the manual page of a command, for 'man -l -'; or write the pages of all commands."""
    from collective.cli.app import build  # noqa: PLC0415 - it imports the commands' modules
    from collective.cli.man_pages import pages, title  # noqa: PLC0415 - for this command alone

    made = pages(typer.main.get_command(build()))
    if output_dir:
        written = [posixpath.join(output_dir, "man1", f"{name}.1") for name in made]
        for path, text in zip(written, made.values(), strict=True):
            write_atomically(
                path, text.encode(), permissions=_PAGE_MODE, disk=invocation.world.disk
            )
        if invocation.as_json:
            told: PagesJson = {"pages": written}
            output.as_json(told)
        else:
            output.lines(written)
        return
    name = title(command or [])
    if name not in made:
        raise NotFoundError(
            f"There is no command '{' '.join(command or [])}'; 'collective --help' lists them."
        )
    if invocation.as_json:
        page: PageJson = {"name": name, "page": made[name]}
        output.as_json(page)
    else:
        output.lines(made[name].splitlines())
