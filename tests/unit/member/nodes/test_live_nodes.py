from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from collective.core.disk_errors import DiskState
from collective.core.errors import BusyError, ConflictError
from collective.core.ids import NodeId
from collective.core.units import Address
from collective.member.nodes.live_nodes import RIVAL_REMEMBERED_S
from collective.model.nodes import NodeState, Standing
from collective.placement.node_choice import Held, choose
from collective.placement.quorum import is_quorum
from tests.unit.member.cluster import CHUNK, GIB, World, instance, record, report

A = NodeId("a")


def offered(world: World, exclude: frozenset[NodeId] = frozenset()) -> Sequence[NodeId]:
    return world.table.drawing(exclude).offers([(CHUNK, 1000)]).drawn[CHUNK, 1000]


def test_placement_uses_each_node_once() -> None:
    assert sorted(offered(World())) == ["a", "b", "c"]


def test_placement_passes_over_held_and_excluded_nodes() -> None:
    drawing = World().table.drawing(frozenset({A}))
    assert drawing.choose(1000, 3, exclude={NodeId("b")}, held=Held(4, 1)) == ("c",)


def test_a_node_is_not_placed_on_before_its_inventory_was_compared() -> None:
    world = World()
    world.table.heard(A, report("a", 2))
    assert A not in offered(world)


def test_a_silent_node_is_not_placed_on() -> None:
    world = World()
    world.clock.advance(5.0)
    world.hear("b", "c")
    assert world.table.states()[A] is NodeState.SUSPECT
    assert A not in offered(world)


def test_promised_bytes_count_until_the_next_heartbeat() -> None:
    world = World()
    world.table.promise(A, GIB)
    assert A not in offered(world)
    world.hear("a")
    assert A in offered(world)


def test_a_restarted_node_at_the_same_address_is_taken_at_once() -> None:
    world = World()
    live = world.table.get(A)
    assert live is not None
    world.table.check_instance(A, instance(2), live.addresses)


def test_cloned_node_at_another_address_is_refused_while_the_first_lives() -> None:
    world = World()
    elsewhere = (Address("127.0.0.1", 1),)
    with pytest.raises(BusyError):
        world.table.check_instance(A, instance(2), elsewhere)
    world.clock.advance(5.0)
    world.table.check_instance(A, instance(2), elsewhere)


def test_cloned_node_at_the_same_address_is_found_when_the_first_speaks_again() -> None:
    world = World()
    world.table.heard(A, report("a", 2))
    live = world.table.get(A)
    assert live is not None
    with pytest.raises(ConflictError):
        world.table.check_instance(A, instance(1), live.addresses)


def test_cloned_node_is_a_rival_while_the_first_speaks_and_the_second_asks() -> None:
    world = World()
    elsewhere = (Address("127.0.0.1", 1),)
    with pytest.raises(BusyError):
        world.table.check_instance(A, instance(2), elsewhere)
    world.clock.advance(1.0)
    assert world.table.rivals() == {}, "the first may have been stopped: a node that moved"
    world.hear("a")
    assert world.table.rivals() == {A: "127.0.0.1:1"}
    world.clock.advance(RIVAL_REMEMBERED_S)
    world.hear("a")
    assert world.table.rivals() == {}


def test_removed_nodes_leave_the_table_and_others_keep_their_heartbeat() -> None:
    world = World()
    world.table.load([record("b"), record("c")])
    assert world.table.get(A) is None
    assert world.table.states()[NodeId("b")] is NodeState.UP


def test_a_node_that_has_just_enrolled_is_not_down_before_it_can_have_been_heard() -> None:
    world = World()
    world.clock.advance(1000.0)
    world.table.add(record("d"))
    assert world.table.states()[NodeId("d")] is NodeState.SUSPECT
    world.clock.advance(10.0)
    assert world.table.states()[NodeId("d")] is NodeState.DOWN


def test_records_are_given_for_writing_once() -> None:
    world = World()
    assert [r.node for r in world.table.take_changed()] == ["a", "b", "c"]
    assert world.table.take_changed() == []


def fill(world: World, *names: str, disk: DiskState = DiskState.OK) -> None:
    for name in names:
        used = GIB if disk is DiskState.OK else 0
        world.table.heard(NodeId(name), replace(report(name, used=used), disk=disk))


@pytest.mark.parametrize("disk", [DiskState.OK, DiskState.FULL])
def test_room_is_short_where_disks_are_so_full_that_nothing_can_be_written(disk: DiskState) -> None:
    world = World()
    fill(world, "a", disk=disk)
    assert not world.table.is_short_of_room(3), "two make a quorum"
    fill(world, "b", disk=disk)
    assert world.table.is_short_of_room(3)
    assert not world.table.is_short_of_room(1)


def stand(world: World, standing: Standing, *names: str) -> None:
    for name in names:
        live = world.table.get(NodeId(name))
        assert live is not None
        live.record = replace(live.record, standing=standing)


@pytest.mark.parametrize("away_s", [6.0, 11.0])
def test_room_is_not_short_where_a_node_is_away_that_has_some(away_s: float) -> None:
    """It may be back in a moment: after a cut of power each takes its time."""
    world = World()
    fill(world, "a")
    world.clock.advance(away_s)
    fill(world, "a")
    world.hear("b")
    assert not world.table.is_short_of_room(3)
    world.clock.advance(600.0)
    fill(world, "a")
    assert not world.table.is_short_of_room(3), "room would bring none back"
    world.hear("b")
    assert world.table.is_short_of_room(3), "one is lost"


@pytest.mark.parametrize("away_s", [0.0, 6.0, 11.0])
def test_a_node_that_is_drained_takes_nothing_whether_it_is_there_or_away(away_s: float) -> None:
    world = World()
    world.table.load([record("a"), record("b"), replace(record("c"), draining=True)])
    world.clock.advance(away_s)
    fill(world, "a")
    world.hear("b")
    assert world.table.is_short_of_room(3)


@pytest.mark.parametrize("standing", [Standing.PROBATION, Standing.DOUBTED])
def test_full_disks_of_nodes_that_are_not_approved_count_for_nothing(standing: Standing) -> None:
    """Their word would end what others store."""
    world = World()
    fill(world, "c")
    stand(world, standing, "c")
    for copies in (1, 2, 3, 4, 5):
        assert not world.table.is_short_of_room(copies)


@pytest.mark.parametrize(("copies", "is_short"), [(3, False), (4, False), (5, False), (6, True)])
def test_room_is_not_short_where_nodes_on_probation_make_a_quorum(
    copies: int, is_short: bool
) -> None:
    """Two of five copies may be on such: with five or four copies a write succeeds by two others and one of them."""
    world = World()
    world.table.load([record(name) for name in "abcdef"])
    world.hear(*"abcdef")
    fill(world, "c", "d")
    stand(world, Standing.PROBATION, "e", "f")
    assert world.table.is_short_of_room(copies) is is_short
    candidates = {one.node: one for one in world.table.candidates()}
    placed = choose(
        candidates.values(),
        length_bytes=1,
        count=copies,
        exclude=frozenset(),
        held=Held(copies),
        uniform=world.randomness.uniform,
    )
    assert is_quorum([candidates[node].standing for node in placed], copies) is not is_short
