"""When a node tells all it holds, and what may be missing in what it tells."""

from __future__ import annotations

import pytest

from collective.core.errors import BusyError, ConflictError
from collective.core.ids import ChunkId, Generation, NodeId
from collective.member.nodes import inventory_schedule
from collective.member.nodes.inventory_schedule import (
    INVENTORY_S,
    LATE_S,
    TURN_S,
    InventorySchedule,
)
from tests.unit.member.cluster import World, instance, report

CHUNK = ChunkId(bytes(32))
A, B = NodeId("a"), NodeId("b")


def known() -> InventorySchedule:
    made = InventorySchedule()
    made.done("i1", 0.0, 0.5)
    return made


def test_it_is_told_with_each_start_and_within_a_day_again() -> None:
    schedule = known()
    assert schedule.is_due("i2", 0.0)
    assert not schedule.is_due("i1", INVENTORY_S / 2)
    assert schedule.is_due("i1", INVENTORY_S)


def test_pages_that_nobody_awaits_are_refused() -> None:
    with pytest.raises(ConflictError):
        known().take_page("i1")
    assert known().take_page("i2") == set()


def test_what_is_stored_while_it_is_awaited_may_be_missing_in_it() -> None:
    schedule = known()
    schedule.stored("i1", CHUNK, Generation(1))
    schedule.ask(5.0)
    schedule.stored("i1", CHUNK, Generation(2))
    assert schedule.take_page("i1") == {(CHUNK, 2)}


def test_where_too_much_was_stored_it_is_told_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory_schedule, "STORED_MEANWHILE_MAX", 3)
    schedule = known()
    schedule.ask(5.0)
    for number in range(9):
        schedule.stored("i1", CHUNK, Generation(number))
    with pytest.raises(BusyError):
        schedule.take_page("i1")
    schedule.stored("i1", CHUNK, Generation(20))
    assert schedule.take_page("i1") == {(CHUNK, 20)}


def test_nodes_that_run_on_are_asked_one_after_the_other() -> None:
    world = World()
    instances = {}
    for node in (A, B):
        live = world.table.get(node)
        assert live is not None
        instances[node] = live.instance_id
        live.inventory.due_s = 0.0
    assert world.table.asks_inventory(A, instances[A])
    assert world.table.asks_inventory(A, instances[A]), "until it has told it"
    assert not world.table.asks_inventory(B, instances[B])
    assert world.table.asks_inventory(B, "another start"), "that is given nothing new meanwhile"
    world.table.inventory_done(A, instances[A])
    assert world.table.asks_inventory(B, instances[B])
    world.clock.advance(TURN_S)
    live = world.table.get(A)
    assert live is not None
    live.inventory.due_s = 0.0
    assert world.table.asks_inventory(A, instances[A]), "B had its turn"
    assert not world.table.asks_inventory(B, instances[B])
    world.clock.advance(TURN_S)
    assert world.table.asks_inventory(B, instances[B])
    assert not world.table.asks_inventory(A, instances[A]), "B has its turn anew"


def ask_since(world: World, instance_id: str, number: int = 1) -> None:
    """Let time pass in which the node is up, is asked, and does not tell."""
    for _ in range(int(LATE_S / 4) + 2):
        world.table.heard(A, report("a", number))
        assert world.table.asks_inventory(A, instance_id)
        world.clock.advance(4.0)
    world.table.heard(A, report("a", number))


def test_a_node_that_is_asked_in_vain_is_told_of_until_it_tells() -> None:
    world = World()
    live = world.table.get(A)
    assert live is not None
    assert not world.table.asks_inventory(A, live.instance_id)
    world.clock.advance(INVENTORY_S + 1)
    ask_since(world, live.instance_id)
    assert world.table.late_inventories() == [A]
    world.clock.advance(LATE_S)
    assert world.table.late_inventories() == []  # it is down: that is told otherwise
    world.table.heard(A, report("a"))
    assert world.table.asks_inventory(A, live.instance_id)
    assert world.table.late_inventories() == []  # it could not tell meanwhile


def test_one_that_never_told_since_its_start_is_told_of_too() -> None:
    world = World()
    world.table.heard(A, report("a", 2))
    again = instance(2)
    assert world.table.asks_inventory(A, again)
    ask_since(world, again, 2)
    assert world.table.late_inventories() == [A]
    world.table.heard(A, report("a", 3))
    assert world.table.late_inventories() == []  # it has just begun anew
