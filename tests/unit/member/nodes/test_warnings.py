"""What is told to whom: others' names are for admins."""

from __future__ import annotations

from dataclasses import replace

from collective.core.ids import NodeId
from collective.core.paths import FilePath
from collective.member.nodes.warnings import Situation, warnings, warnings_for_all
from collective.model.status import ChunkHealth
from collective.placement.shortage import Policy
from tests.unit.member.cluster import World


def test_whoever_is_no_admin_reads_no_names_and_numbers_of_others() -> None:
    world = World()
    for live in world.table.all():
        live.refused = "it is another store."
    situation = Situation(
        policy=Policy(3),
        nodes=world.table.all(),
        outlook=world.table.outlook(),
        health=ChunkHealth(7, 7, 7, (FilePath(),)),
        is_restored=False,
        now_ms=10**15,
        told=("The CA is being replaced. eve@home.alice has no certificate of the new CA yet.",),
        rivals={NodeId("a"): "10.0.0.9:1"},
    )
    assert any("eve@" in one for one in warnings(situation))
    assert any("10.0.0.9" in one for one in warnings(situation))
    late = replace(situation, late_inventories=[NodeId("b")])
    assert any("Node b does not tell what it holds" in one for one in warnings(late))
    assert warnings_for_all(late) == warnings_for_all(situation)
    (shortage,) = warnings_for_all(situation)  # his writes fail because of it
    assert "A write needs" in shortage
    restored, _ = warnings_for_all(replace(situation, is_restored=True))
    assert "collective node adopt --all" in restored
