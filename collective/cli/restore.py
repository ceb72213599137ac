"""``collective confirm-restore``: the operator's word after a restore."""

from __future__ import annotations

import typer

from collective.cli import output
from collective.cli.options import Invocation, command
from collective.client.collective import Collective

app = typer.Typer()


@app.command("confirm-restore")
@command
def confirm_restore(invocation: Invocation) -> None:
    """Confirm that a restored catalogue is the newest there is: unknown chunks may be deleted."""

    async def work(collective: Collective) -> int:
        return await collective.confirm_restore()

    epoch = invocation.run(work)
    if invocation.as_json:
        output.as_json({"epoch": epoch})
    else:
        output.line(f"Confirmed; the catalogue is now in epoch {epoch}.")
