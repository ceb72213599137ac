"""``collective healthcheck``: what a container engine or a monitor runs to learn how a process is.

It needs no certificate and loads next to nothing, since it runs several times a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.terminal import output
from collective.core.errors import ExitCode, UnreachableError, UsageError
from collective.core.units import Address, parse_duration_s
from collective.rpc.client.metrics_page import ask

if TYPE_CHECKING:
    from collective.cli.json_shapes import HealthJson

app = typer.Typer()

VARIABLE: Final = "COLLECTIVE_METRICS_ADDRESS"
_DONE: Final = 200
_NOT_READY: Final = 503


@app.command()
def healthcheck(
    address: Annotated[
        str | None,
        typer.Option(
            "--metrics-address",
            envvar=VARIABLE,
            metavar="HOST:PORT",
            help="Where the process serves its health.",
        ),
    ] = None,
    alive: Annotated[
        bool,
        typer.Option("--alive", help="Ask only whether it lives, not whether it takes writes."),
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long to wait.")
    ] = "4s",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Ask the process on this machine how it is: exit code 0 if it serves and takes writes.

    Code 6 says that it lives and does not take writes, with the reason; 5 that nobody answers.
    """
    if not address:
        raise UsageError(f"Set {VARIABLE} or --metrics-address: where does the process answer?")
    where = Address.parse(address)
    status, body = ask(
        where, "/healthz" if alive else "/readyz", timeout_s=parse_duration_s(timeout)
    )
    if status not in {_DONE, _NOT_READY}:
        raise UnreachableError(f"What listens at {where} is no health listener of collective.")
    is_well = status == _DONE
    if as_json:
        told: HealthJson = {
            "asked": "alive" if alive else "ready",
            "is_well": is_well,
            "reasons": [] if is_well else body.split("\n"),
        }
        output.as_json(told)
    elif is_well:
        output.line(body)
    else:
        for reason in body.split("\n"):
            output.note(reason)
    if not is_well:
        raise typer.Exit(ExitCode.NOT_ENOUGH)
