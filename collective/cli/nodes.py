"""``collective node``: the member's nodes."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from collective.cli import output
from collective.cli.options import Invocation, command
from collective.cli.status import node_json, node_row
from collective.client.collective import Collective
from collective.rpc.gen.collective.v1 import NodeStatus

app = typer.Typer(no_args_is_help=True, help="The member's nodes.")

HEADINGS = ("NODE", "STATE", "ADDRESS", "USED", "CAPACITY", "CHUNKS", "LAST SEEN")


@app.callback()
def _nodes() -> None:
    """The member's nodes."""


@app.command("list")
@command
def list_nodes(invocation: Invocation) -> None:
    """List the nodes, their state and what they hold."""

    async def work(collective: Collective) -> Sequence[NodeStatus]:
        return await collective.nodes()

    nodes = invocation.run(work)
    if invocation.as_json:
        output.as_json([node_json(node) for node in nodes])
    else:
        output.table(HEADINGS, [node_row(node) for node in nodes])
