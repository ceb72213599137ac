"""When a coordinator takes writes, and what it says when it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from collective.catalog.interface.values import Health
from collective.core.disk_errors import DiskFullError, DiskState
from collective.core.errors import CorruptionError
from collective.core.ids import NodeId
from collective.model.nodes import Standing
from collective.placement.shortage import Policy
from collective.roles.coordinator.readiness import BUSY_AFTER_S, Readiness
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.metrics import Metrics
from collective.roles.runtime.workers import Workers
from tests.faults.disk import FaultDisk
from tests.unit.member.cluster import World, report
from tests.worlds import world_of


class Bench:
    def __init__(self) -> None:
        self.world = World()
        self.health_now = Health()
        self.watch = DiskWatch(
            "coordinator",
            world_of(disk=FaultDisk()),
            "/",
            Metrics(),
            whose="The catalogue's",
            floor_bytes=0,
        )
        upkeep: Any = self
        clock, randomness = self.world.clock, self.world.randomness
        workers = Workers("coordinator", Metrics(), clock, randomness)
        self.readiness = Readiness(upkeep, self.watch, self.world.table, Policy(3), workers)

    def health(self) -> Health:
        return self.health_now

    @property
    def why(self) -> str:
        return self.readiness.why_unready()

    def hear(self, node: str, **more: Any) -> None:
        self.world.table.heard(NodeId(node), replace(report(node), **more))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_member_whose_parts_are_well_takes_writes(bench: Bench) -> None:
    assert bench.why == ""


def test_a_writer_that_is_stuck_is_told_with_its_time(bench: Bench) -> None:
    bench.health_now = Health(waiting_s=BUSY_AFTER_S - 0.1)
    assert bench.why == ""
    bench.health_now = Health(waiting_s=BUSY_AFTER_S + 7)
    assert "writer has been busy for 12 s" in bench.why
    assert bench.readiness.warnings() != []


def test_a_full_disk_is_told_once_and_other_trouble_in_its_own_words(bench: Bench) -> None:
    full = DiskFullError("The catalogue's disk is full, nothing was changed; free some space.")
    bench.health_now = Health(trouble=full)
    assert bench.why == full.message
    bench.watch.saw(full)
    assert bench.why == "The catalogue's disk is full; free some space on it. Reads go on."
    bench.health_now = Health()
    assert bench.why != "", "until the watch has seen a write work"
    other = Bench()
    other.health_now = Health(trouble=CorruptionError("The catalogue is damaged."))
    assert other.why == "The catalogue is damaged."


def test_fewer_nodes_than_a_quorum_take_no_write(bench: Bench) -> None:
    bench.hear("a", disk=DiskState.FULL)
    assert bench.why == ""
    bench.hear("b", stopping=True)
    assert bench.why.startswith("A write needs 2 healthy nodes, and 1 of 3")
    assert bench.readiness.warnings() == [], "the nodes' own warnings say this"
    bench.hear("a", disk=DiskState.OK)
    assert bench.why == ""


def test_nodes_on_probation_make_no_quorum_by_themselves(bench: Bench) -> None:
    for live in bench.world.table.all():
        live.record = replace(live.record, standing=Standing.PROBATION)
    assert bench.why.endswith("collective node approve a b c")
    first, second, _ = bench.world.table.all()
    first.record = replace(first.record, standing=Standing.APPROVED)
    assert bench.why.endswith("collective node approve b c")
    second.record = replace(second.record, standing=Standing.APPROVED)
    assert bench.why == ""


def test_a_node_whose_disk_takes_no_writes_is_not_placed_on(bench: Bench) -> None:
    for state in DiskState:
        bench.hear("a", disk=state)
        accepting = {one.node for one in bench.world.table.candidates() if one.accepts}
        assert (NodeId("a") in accepting) is (state is DiskState.OK)
