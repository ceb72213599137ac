"""``collective grant``: who may do what."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from collective.cli import output
from collective.cli.options import Invocation, command
from collective.cli.status import grant_json
from collective.client.collective import Collective
from collective.core.errors import UsageError
from collective.core.units import parse_duration_s
from collective.rpc.gen.collective.v1 import Grant

app = typer.Typer(no_args_is_help=True, help="Who may do what.")


def parse_grant(text: str) -> tuple[str, list[str]]:
    """Return path and rights of ``PATH:RIGHT[+RIGHT…]``; UsageError otherwise."""
    path, colon, rights = text.rpartition(":")
    if not colon or not path or not rights:
        raise UsageError("A grant must look like /media:read or /shared:read+write.")
    return path, rights.split("+")


@app.command()
@command
def add(
    invocation: Invocation,
    grant: Annotated[str, typer.Argument(metavar="PATH:RIGHT[+RIGHT]")],
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="name@domain.")],
    validity: Annotated[
        str | None, typer.Option("--validity", help="Like 24h or 7d; default: for ever.")
    ] = None,
) -> None:
    """Give someone rights on a path and everything below it."""
    path, rights = parse_grant(grant)
    expires_ms = round((time.time() + parse_duration_s(validity)) * 1000) if validity else 0

    async def work(collective: Collective) -> Grant:
        return await collective.add_grant(path, rights, principal, expires_ms=expires_ms)

    added = invocation.run(work)
    if invocation.as_json:
        output.as_json(grant_json(added))
    else:
        output.line(added.id)


@app.command("list")
@command
def list_grants(invocation: Invocation) -> None:
    """List the grants that you may see."""

    async def work(collective: Collective) -> Sequence[Grant]:
        return await collective.grants()

    grants = [grant_json(grant) for grant in invocation.run(work)]
    if invocation.as_json:
        output.as_json(grants)
        return
    rows = [
        (
            one["id"],
            one["path"],
            "+".join(one["rights"]),
            one["principal"],
            one["expires"] or "never",
            one["granted_by"],
        )
        for one in grants
    ]
    output.table(("ID", "PATH", "RIGHTS", "PRINCIPAL", "EXPIRES", "GRANTED BY"), rows)


@app.command()
@command
def remove(invocation: Invocation, grant_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a grant back."""

    async def work(collective: Collective) -> None:
        await collective.remove_grant(grant_id)

    invocation.run(work)
    if invocation.as_json:
        output.as_json({"removed": grant_id})
