"""What calls cost while nodes are down, doubted, refused or being drained."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from collective.catalog.sqlite import SqliteCatalog
from collective.core.ids import NodeId
from tests.bench.growth.catalogue import CHUNKS_AT_ONCE, NODES, node_name
from tests.bench.growth.rows import Meter
from tests.contract.catalog.world import OPERATOR, p

AT_ONCE: Final = 6
"""Calls that count everything, side by side."""
SHORT: Final = 3
"""How often what may take minutes is done."""

Nodes = frozenset[NodeId]


async def measure(catalog: SqliteCatalog, meter: Meter, nodes: Nodes) -> None:
    """Measure with a node in each state; all is well again at the end."""
    drained, doubted, refused = (NodeId(node_name(NODES - number)) for number in range(3))
    figures = partial(_figures, catalog, meter)
    await figures("a node down", nodes - {drained}, frozenset())
    await figures("a node lost", nodes - {drained}, frozenset({drained}))

    await catalog.nodes.drain(OPERATOR, drained, draining=True)
    await figures("a node draining", nodes, frozenset({drained}))
    await meter.each(
        "copies left, a node draining",
        lambda _: catalog.figures.copies_left(),
        SHORT,
    )
    await meter.alongside(
        catalog,
        "six countings of what is left",
        _together(catalog.figures.copies_left),
        writes=False,
    )
    await catalog.nodes.drain(OPERATOR, drained, draining=False)

    await catalog.nodes.doubt(doubted, "the bench says so")
    await figures("a node doubted", nodes, frozenset({doubted}))
    await _entries(catalog, meter, "a node doubted")
    await catalog.nodes.clear_doubt(doubted)

    await _set_copies(catalog, refused, 2)
    await catalog.nodes.set_refused({refused: "the bench says so"})
    await figures("a node refused, its copies missing", nodes, frozenset({refused}))
    await _entries(catalog, meter, "a node refused, its copies missing")
    await meter.each(
        "a page of repair, only missing copies",
        lambda _: catalog.repair.chunks_on(refused, 0, 64),
        SHORT,
    )
    await meter.each(
        "a copy to sample, only missing copies",
        lambda _: catalog.copies.sample_on(refused, 0.5, 1),
        SHORT,
    )
    await catalog.nodes.set_refused({refused: ""})
    await _set_copies(catalog, refused, 1)


async def _figures(
    catalog: SqliteCatalog, meter: Meter, when: str, usable: Nodes, lost: Nodes
) -> None:
    async def totals() -> None:
        catalog.figures._totals._counted.clear()
        await catalog.figures.totals(None, usable)

    await meter.each(f"status totals, {when}", lambda _: totals(), SHORT)
    await meter.each(
        f"backlog, {when}", lambda _: catalog.figures.repair_backlog(usable, lost), SHORT
    )


async def _entries(catalog: SqliteCatalog, meter: Meter, when: str) -> None:
    await meter.each(f"stat, {when}", lambda _: catalog.names.stat(OPERATOR, p(meter.file())), 20)
    await meter.each(
        f"list a page, {when}",
        lambda _: catalog.names.list(
            OPERATOR, p("/ds00/flat"), recursive=False, page_size=100, token=""
        ),
        20,
    )
    await meter.each(
        f"open_read, {when}",
        lambda _: catalog.reads.open(
            OPERATOR, p(meter.file()), offset=0, length=0, if_version=0, batch=64
        ),
        20,
    )


async def _together(call: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(_run(call))


async def _run(call: Callable[[], Awaitable[object]]) -> None:
    await call()


async def _set_copies(catalog: SqliteCatalog, node: NodeId, state: int) -> None:
    """Set the state of all copies of a node, some thousand in a transaction."""

    def step(tx: Any, after: int) -> None:
        tx.run(
            "UPDATE copies SET state = ? WHERE chunk > ? AND chunk <= ?"
            " AND node = (SELECT id FROM nodes WHERE name = ?)",
            state,
            after,
            after + CHUNKS_AT_ONCE,
            node,
        )

    last: Any = await catalog._engine.read(
        lambda db: db.execute("SELECT coalesce(max(id), 0) FROM chunks").fetchone()
    )
    for after in range(0, last[0], CHUNKS_AT_ONCE):
        await catalog._engine.change(partial(step, after=after))
