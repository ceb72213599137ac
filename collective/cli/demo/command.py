"""``collective demo``: how it is called; what it does is in ``run.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collective.cli.terminal.interrupts import ending_in_order

app = typer.Typer()


@app.command()
def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Stop by itself; exit 1 if any step failed.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Keep everything here instead of in a temporary folder."),
    ] = None,
) -> None:
    """Run three members on loopback that peer, put files through them, and break things on the way."""
    from collective.cli.demo.run import run_demo  # noqa: PLC0415 - not for help

    with ending_in_order():
        code = run_demo(directory, once=once)
    raise typer.Exit(code)
