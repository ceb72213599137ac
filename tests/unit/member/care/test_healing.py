from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from collective.catalog.interface import Repair
from collective.catalog.interface.values import RepairTask
from collective.core.errors import NoSpaceError
from collective.core.ids import Generation, NodeId
from collective.core.paths import FilePath
from collective.member.care.collector import Collector
from collective.member.nodes.statement_macs import StatementMacs
from collective.model.copies import VerifiedReceipt
from collective.model.nodes import Standing
from collective.model.writing import Attributes, Precondition
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.files.test_whole_files import stream

PATH = FilePath.parse("/d/file")
B = NodeId("b")


class Unwritable:
    """A catalogue's repairs, of which the end cannot be written."""

    def __init__(self, repair: Repair) -> None:
        self._repair = repair

    def __getattr__(self, name: str) -> object:
        return getattr(self._repair, name)

    async def finish(self, task: RepairTask, receipt: VerifiedReceipt | None) -> None:
        raise NoSpaceError("The catalogue's disk is full.")


async def put(here: Scene) -> None:
    await here.catalog.names.make_directory(OPERATOR, PATH.parent, parents=False)
    await here.whole.write(OPERATOR, PATH, Attributes(), Precondition(), stream(b"x" * 1000))


async def test_the_missing_copy_is_made_when_the_node_returns(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.farm.down.add(B)
        await put(here)
        here.farm.down.clear()
        assert await here.repairer().round() == 1
        assert here.farm.copies() == 3
        totals = await here.catalog.figures.totals(None, here.world.table.outlook().sources)
        assert totals.health is not None
        assert totals.health.under_replicated == 0


async def test_a_repair_that_fails_is_given_up_and_tried_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.farm.down.add(B)
        await put(here)
        here.farm.down.update(map(NodeId, "ac"))
        work = here.repairer()
        assert await work.round() == 0
        here.farm.down.clear()
        await pass_time(here, 10.0)
        assert await work.round() == 1


async def test_repair_rests_though_a_restored_catalogue_gives_no_surplus_up(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        await here.catalog._engine.change(lambda tx: tx.run("UPDATE chunks SET wanted = 2"))
        await here.catalog._engine.change(lambda tx: tx.run("UPDATE state SET restored = 1"))
        work = here.repairer()
        for _ in range(3):
            await work.round()
        assert work.rests
        await here.catalog._engine.change(lambda tx: tx.run("UPDATE state SET restored = 0"))
        work.begin_anew()
        await work.round()
        assert here.farm.copies() == 3
        assert not work.rests, "it goes on while there is something to do"


async def test_a_chunk_with_copies_enough_and_one_on_probation_too_many_gets_another(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        ((chunk, generation),) = here.farm.stored[B]
        await here.catalog.datastores.set(OPERATOR, PATH.parent, copies=2)
        await here.catalog.datastores.settle_copies()
        await here.catalog.copies.mark(B, [(chunk, Generation(generation))], lost=False)
        (third,) = [one for one in await here.catalog.nodes.list() if one.node == "c"]
        await here.catalog.nodes.add(replace(third, standing=Standing.PROBATION))
        await here.world.table.reload()
        here.world.hear("a", "b", "c")
        assert await here.repairer().round() == 1
        assert {one.node for one in await here.catalog.copies.stored(chunk)} == {"a", "b", "c"}


async def test_a_readers_lie_takes_no_copy_out_of_use(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        ((chunk, _),) = here.farm.stored[B]
        verifier = here.verifier()
        await verifier.verify(B, chunk)
        assert len(await here.catalog.copies.stored(chunk)) == 3


async def test_a_bad_copy_is_verified_taken_out_and_replaced(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        ((chunk, generation),) = here.farm.stored[B]
        here.farm.stored[B][chunk, generation] = b"rot"
        verifier = here.verifier()
        await verifier.verify(B, chunk)
        assert len(await here.catalog.copies.stored(chunk)) == 2
        assert await here.repairer().round() == 1
        assert len(await here.catalog.copies.stored(chunk)) == 3


def collector_of(here: Scene) -> Collector:
    return Collector(
        here.catalog,
        here.world.table,
        here.farm,
        StatementMacs(here.world.keys),
        here.metrics,
        grace_s=10.0,
    )


async def pass_time(here: Scene, seconds: float) -> None:
    here.world.clock.advance(seconds)
    here.world.hear("a", "b", "c")


async def test_a_copy_that_was_never_made_is_asked_for_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.farm.down.add(B)
        await put(here)
        here.farm.down.clear()
        await here.catalog.names.remove(OPERATOR, PATH, recursive=False, condition=Precondition())
        collector = collector_of(here)
        await pass_time(here, 4000.0)
        for _ in range(6):
            await here.catalog.upkeep.expire()
            await collector.round()
            await pass_time(here, 100.0)
        assert here.farm.copies() == 0
        assert here.farm.deletes == 3


async def test_a_repair_whose_end_cannot_be_written_does_not_end_the_worker(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.farm.down.add(B)
        await put(here)
        here.farm.down.clear()
        work = here.repairer(cast("Repair", Unwritable(here.catalog.repair)))
        assert await work.round() == 0


async def test_removed_files_are_collected_at_the_nodes(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        collector = collector_of(here)
        await collector.round()
        assert here.farm.copies() == 3
        await here.catalog.names.remove(OPERATOR, PATH, recursive=False, condition=Precondition())
        here.world.clock.advance(4000.0)
        here.world.hear("a", "b", "c")
        await here.catalog.upkeep.expire()
        for _ in range(4):  # version, chunk and copy each wait for their grace
            await collector.round()
            here.world.clock.advance(11.0)
            here.world.hear("a", "b", "c")
        assert here.farm.copies() == 0
