"""``collective node``: the member's nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collective.cli.options import Invocation, command
from collective.cli.overview import NODE_HEADINGS, node_row, node_tones
from collective.cli.status import node_json, with_quarantine
from collective.cli.terminal import output
from collective.cli.terminal.asking import YesOption, ask, has_terminal
from collective.cli.terminal.progress import Meter, Unit
from collective.core.errors import ConflictError, UsageError
from collective.core.units import format_size
from collective.model.nodes import ShownState, Standing

if TYPE_CHECKING:  # heavy
    from collective.cli.json_shapes import (
        AdoptionJson,
        ApprovalJson,
        DiscardedJson,
        DrainJson,
        GoneJson,
        ListedNodeJson,
    )
    from collective.client.collective import Collective
    from collective.model.nodes import Adoption, Approval, Discarded, NodeStatus

app = typer.Typer(no_args_is_help=True, help="The member's nodes.")

NodeArgument = Annotated[str, typer.Argument(metavar="ID", help="The node, as 'node list' says.")]
NodesArgument = Annotated[
    list[str], typer.Argument(metavar="ID...", help="The nodes, as 'node list' says.")
]
_IN_USE: Final = frozenset((ShownState.UP, ShownState.PROBATION, ShownState.DOUBTED))
"""States in which a node would show that it is draining, if it were."""
_BEFORE: Final = {Standing.PROBATION: "on probation", Standing.DOUBTED: "doubted"}
HEADINGS: Final = (*NODE_HEADINGS, "LEFT")
DRAIN_LOOK_S: Final = 1.0
"""How often a drain that is waited for is looked at."""


@app.callback()
def _nodes() -> None:
    """The member's nodes."""


@app.command("list")
@command
def list_nodes(invocation: Invocation) -> None:
    """List the nodes, their state, what they hold, and what a draining one still has to move."""

    async def work(collective: Collective) -> Sequence[NodeStatus]:
        return await collective.nodes.list()

    nodes = invocation.run(work)
    if invocation.as_json:
        output.as_json([_listed_json(node) for node in nodes])
    else:
        rows = [
            (*node_row(node), str(node.copies_left) if node.state is ShownState.DRAINING else "")
            for node in nodes
        ]
        table = with_quarantine(HEADINGS, rows, nodes)
        output.table(*table, style=invocation.style, tones=node_tones(nodes))


def _listed_json(node: NodeStatus) -> ListedNodeJson:
    return {**node_json(node), "copies_left": node.copies_left}


@app.command()
@command
def approve(
    invocation: Invocation,
    nodes: NodesArgument,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also where a node is doubted, without asking.")
    ] = False,
) -> None:
    """Say that nodes are yours: their copies count fully, and 'status' need not name them any more."""

    async def work(collective: Collective) -> Sequence[Approval]:
        if yes:
            return await collective.nodes.approve(nodes, even_doubted=True)
        known = {str(node.node): node for node in await collective.nodes.list()}
        agreed = _ask_about([known[one] for one in nodes if one in known])
        rest = [one for one in nodes if one not in agreed]
        done = list(await collective.nodes.approve(rest)) if rest else []
        if agreed:  # what was not asked about may be doubted since, and stays so
            done += await collective.nodes.approve(agreed, even_doubted=True)
        return done

    done = invocation.run(work)
    if invocation.as_json:
        approved: list[ApprovalJson] = [
            {"node": one.node, "was": one.was.value, "was_new": one.was_new} for one in done
        ]
        output.as_json(approved)
    else:
        output.lines([_approved(one) for one in done])


def _ask_about(nodes: Sequence[NodeStatus]) -> list[str]:
    """Ask before doubted nodes are approved, and return them.

    UsageError without a terminal, and where it is declined.
    """
    agreed = []
    for node in nodes:
        if node.standing is not Standing.DOUBTED:
            continue
        told = f"Node {node.node} is doubted: {node.standing_reason}."
        if not has_terminal():
            raise UsageError(f"{told} If you trust it all the same, give --yes.")
        ask(f"{told} Trust it all the same?", "No node was approved.", yes=False)
        agreed.append(str(node.node))
    return agreed


def _approved(one: Approval) -> str:
    if one.was is not Standing.APPROVED:
        return f"Node {one.node} is approved (it was {_BEFORE[one.was]}); its copies count fully."
    if one.was_new:
        return f"Node {one.node} was approved by its code; it is noted that you have seen it."
    return f"Node {one.node} was approved already."


@app.command()
@command
def adopt(
    invocation: Invocation,
    nodes: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="The nodes, as 'node list' says.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every node.")] = False,
    discard: Annotated[
        bool,
        typer.Option("--discard", help="Delete what is in quarantine, after seven days."),
    ] = False,
    yes: YesOption = False,
) -> None:
    """Have nodes obey this catalogue after the former one was lost, or an old backup was restored.

    Nodes that this catalogue does not know are enrolled: those named are approved, --all takes the others in
    on probation. It deletes nothing: copies that this catalogue never gave out are kept in quarantine. Seven
    days later, --discard deletes them.
    """
    named = list(nodes or ())
    if discard:
        _discard(invocation, named, yes=yes)
        return
    if bool(named) == everything:
        raise UsageError("Name the nodes that shall adopt this catalogue, or give --all.")
    ask(
        "These nodes will obey this catalogue, and no older one any more. Is it the newest there is?",
        "Nothing was adopted.",
        yes=yes,
    )

    async def work(collective: Collective) -> Adoption:
        return await collective.nodes.adopt(named, everything=everything)

    done = invocation.run(work)
    if invocation.as_json:
        adopted: AdoptionJson = {
            "enrolled": list(done.enrolled),
            "replaced": done.replaced,
            "confirmed": done.confirmed,
            "epoch": done.epoch,
            "brought_back": list(done.brought_back),
        }
        output.as_json(adopted)
    else:
        output.lines(_adopted(done, is_named=bool(named)))


def _adopted(done: Adoption, *, is_named: bool) -> list[str]:
    lines = []
    if done.confirmed:
        lines.append(f"This catalogue is the newest from now on, in epoch {done.epoch}.")
    if done.replaced:
        lines.append("It takes the place of the one before, also at nodes that come back later.")
    if done.brought_back:
        lines.append(
            "Nodes that give up a newer state of this catalogue which it does not have:"
            f" {', '.join(done.brought_back)}"
        )
    if done.enrolled and is_named:
        lines.append(f"Nodes enrolled, and approved: {', '.join(done.enrolled)}")
    elif done.enrolled:
        lines.append(
            f"Nodes enrolled, on probation: {', '.join(done.enrolled)}. Those that are yours: collective"
            f" node approve {' '.join(done.enrolled)}"
        )
    lines.append("Nothing is deleted: what it never gave out is kept, see QUARANTINE in node list.")
    return lines


def _discard(invocation: Invocation, nodes: list[str], *, yes: bool) -> None:
    where = ", ".join(nodes) or "every node"
    ask(
        f"Copies in quarantine on {where} are of files that this catalogue does not know."
        " Delete them for good?",
        "Nothing was discarded.",
        yes=yes,
    )

    async def work(collective: Collective) -> Sequence[Discarded]:
        return await collective.nodes.discard(nodes)

    found = invocation.run(work)
    if invocation.as_json:
        discarded: list[DiscardedJson] = [
            {
                "node": one.node,
                "copies": one.copies,
                "bytes": one.size_bytes,
                "may_be_discarded": output.when(one.may_ms),
            }
            for one in found
        ]
        output.as_json(discarded)
        return
    for one in found:
        if one.copies:
            size = format_size(one.size_bytes)
            output.line(f"Node {one.node} deletes {one.copies} copies ({size}).")
        elif one.may_ms:
            output.line(f"Node {one.node} keeps its copies until {output.moment(one.may_ms)}.")


@app.command()
@command
def drain(
    invocation: Invocation,
    node: NodeArgument,
    stop: Annotated[bool, typer.Option("--stop", help="Take the node back into use.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until none is left; Ctrl-C ends the wait alone.")
    ] = False,
) -> None:
    """Move a node's copies to other nodes, so that it can be removed without any loss."""
    if stop and wait:
        raise UsageError("Give --stop or --wait, not both.")

    async def work(collective: Collective) -> tuple[int, list[str]]:
        left = await collective.nodes.drain(node, stop=stop)
        if stop:
            return left, []
        if wait and left:
            return await _emptied(invocation, collective, node, left)
        await collective.nodes.list()  # it counts what is left, which the warning goes by
        return left, await _hindrances(collective, node)

    left, warnings = invocation.run(work)
    if invocation.as_json:
        told: DrainJson = {
            "node": node, "draining": not stop, "copies_left": left, "warnings": warnings,
        }  # fmt: skip
        output.as_json(told)
    elif stop:
        output.line(f"Node {node} is in use again.")
    elif left or not wait:
        output.line(
            f"Node {node} is being emptied: {left} copies are to move. 'collective node list' shows"
            f" how many are left; at 0: collective node remove {node}"
        )
    else:
        output.line(f"Node {node} is empty; to end it for good: collective node remove {node}")
    if not invocation.as_json:
        for warning in warnings:
            output.note(f"Warning: {warning}")


async def _emptied(
    invocation: Invocation, collective: Collective, node: str, left: int
) -> tuple[int, list[str]]:
    """Return when a draining node has no copies left, or is not drained any more; show how far it is."""
    import asyncio  # noqa: PLC0415 - not for help

    meter = Meter(invocation.world.clock, left, unit=Unit.COPIES, doing="Moved")
    told: set[str] = set()
    async with meter.shown():
        while True:
            now = {str(one.node): one for one in await collective.nodes.list()}
            one = now.get(node)
            if one is None or (one.state in _IN_USE and one.copies_left):
                raise ConflictError(
                    f"Node {node} is not emptied any more; 'collective node list' shows its state."
                )
            if not one.copies_left:
                return 0, []
            assert meter.total is not None
            meter.total = max(meter.total, one.copies_left)
            meter.done = meter.total - one.copies_left
            for warning in await _hindrances(collective, node):
                if not told:  # it counts the copies, so its words change
                    meter.note(f"Warning: {warning}")
                told.add(warning)
            await asyncio.sleep(DRAIN_LOOK_S)


async def _hindrances(collective: Collective, node: str) -> list[str]:
    """Return what keeps a node's copies from moving, as the status warns of it."""
    told = (await collective.status()).warnings
    return [one for one in told if one.startswith(f"Node {node} cannot be emptied")]


@app.command()
@command
def remove(
    invocation: Invocation,
    node: NodeArgument,
    force: Annotated[bool, typer.Option("--force", help="Even if copies are lost by it.")] = False,
    yes: YesOption = False,
) -> None:
    """Shut a node out for good; its certificate is revoked and its id is not used again."""
    lost = " What only it has is lost." if force else ""
    ask(f"Remove {node} for good?{lost}", f"Node {node} was not removed.", yes=yes)

    async def work(collective: Collective) -> None:
        await collective.nodes.remove(node, force=force)

    invocation.run(work)
    if invocation.as_json:
        removed: GoneJson = {"removed": node}
        output.as_json(removed)
    else:
        output.line(f"Node {node} is removed; stop its process and wipe its data dir.")
