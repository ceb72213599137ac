"""``collective invite``: let others in, and join."""

from __future__ import annotations

import typer

from collective.cli.redeem import redeem

app = typer.Typer(no_args_is_help=True, help="Invitations: let others in, or join with one.")
app.command()(redeem)
