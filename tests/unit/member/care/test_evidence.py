"""Nodes that lie, lose and come back, before a real catalogue and the coordinator's workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId
from collective.core.paths import FilePath
from collective.member.care import repair as repair_module
from collective.member.care import unsettled_challenges
from collective.member.care.complaints import (
    COMPLAINTS_EACH_MAX,
    COOLDOWN_S,
    REMEMBERED_MAX,
    Complaints,
)
from collective.member.wakes import Wakes
from collective.model.copies import ChunkCopies, CopyKey, CopyState, HeldCopy
from collective.model.nodes import Standing
from collective.model.writing import Attributes, Precondition
from collective.placement.challenges import CLEAR_AFTER, CLEAR_OVER_S, SAMPLE_EVERY_S
from collective.placement.healing import NodeFacts, count_of, other_copy
from tests.contract.catalog.world import data_of
from tests.unit.member.care.test_healing import PATH, collector_of, pass_time, put
from tests.unit.member.cluster import USER, World, record
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.files.test_whole_files import stream

A, B, C = (NodeId(name) for name in "abc")
MALLORY = SpiffeId.parse("spiffe://home.alice/user/home.alice/mallory")


async def standing(here: Scene, node: NodeId) -> Standing:
    (found,) = [one.standing for one in await here.catalog.nodes.list() if one.node == node]
    return found


def held(here: Scene, node: NodeId) -> tuple[ChunkId, Generation]:
    ((chunk, generation),) = here.farm.stored[node]
    return chunk, Generation(generation)


async def counted(here: Scene, chunk: ChunkId) -> set[NodeId]:
    return {copy.node for copy in await here.catalog.copies.stored(chunk)}


async def test_a_complaint_is_looked_at_by_reading_as_the_reader_did(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        chunk, _ = held(here, B)
        assert here.complaints.complain(B, chunk, USER)
        await here.verifier().work()
        assert here.farm.reads == 1
        assert await counted(here, chunk) == {A, B, C}


async def test_a_node_that_sends_other_bytes_is_in_doubt_and_its_copy_is_replaced(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        chunk, _ = held(here, B)
        here.farm.liars.add(B)
        here.complaints.complain(B, chunk, USER)
        await here.verifier().work()
        assert await standing(here, B) is Standing.DOUBTED
        assert await counted(here, chunk) == {A, C}
        assert here.farm.copies() == 3  # nothing was deleted


async def test_finding_9b_a_reader_has_no_chunk_verified_ten_thousand_times(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        chunk, _ = held(here, B)
        verifier = here.verifier()
        for _ in range(10_000):
            here.complaints.complain(B, chunk, MALLORY)
            if len(here.complaints):
                await verifier.work()
        assert here.farm.reads == 1
        here.world.clock.advance(COOLDOWN_S + 1)
        here.world.hear("a", "b", "c")
        here.complaints.complain(B, chunk, MALLORY)
        await verifier.work()
        assert here.farm.reads == 2


def test_finding_9b_whoever_complains_of_everything_keeps_nobody_else_from_it() -> None:
    world = World()
    complaints = Complaints(Wakes(), world.clock)
    taken = sum(
        complaints.complain(A, ChunkId(number.to_bytes(32, "big")), MALLORY)
        for number in range(5000)
    )
    assert taken == COMPLAINTS_EACH_MAX
    assert complaints.complain(B, ChunkId(b"x" * 32), USER)
    looked_at = 0
    for number in range(100_000):
        complaints.complain(A, ChunkId(number.to_bytes(32, "big")), MALLORY)
        looked_at += complaints.take() is not None
    assert looked_at <= REMEMBERED_MAX


async def test_a_disk_that_was_unmounted_recovers_by_itself(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        chunk, generation = held(here, A)
        kept = here.farm.stored.pop(A)
        await here.catalog.copies.compare_inventory(A, [], after=b"", last=True)
        assert await counted(here, chunk) == {B, C}
        here.farm.stored[A] = kept
        page = [CopyKey(chunk, generation, len(kept[chunk, generation]))]
        await here.catalog.copies.compare_inventory(A, page, after=b"", last=True)
        await here.verifier().work()
        assert await counted(here, chunk) == {A, B, C}
        assert await here.repairer().round() == 0
        assert here.farm.reads == 0  # two answers agreed


async def test_a_node_that_only_says_that_it_has_its_copies_back_is_found_out(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        chunk, generation = held(here, A)
        page = [CopyKey(chunk, generation, 1016)]
        await here.catalog.copies.compare_inventory(A, [], after=b"", last=True)
        (known,) = await here.catalog.copies.known(chunk)
        page = [CopyKey(chunk, generation, known.stored_length)]
        await here.catalog.copies.compare_inventory(A, page, after=b"", last=True)
        here.farm.stored[A].clear()
        here.farm.liars.add(A)
        await here.verifier().work()
        assert await standing(here, A) is Standing.DOUBTED
        assert {await standing(here, node) for node in (B, C)} == {Standing.APPROVED}
        assert await counted(here, chunk) == {B, C}


async def test_a_copy_that_is_doubted_and_never_proved_does_not_stop_repair(
    tmp_path: Path,
) -> None:
    """Its node answers each challenge with "not now"; two others still have the chunk."""
    async with scene(tmp_path) as here:
        await put(here)
        chunk, generation = held(here, A)
        (known,) = await here.catalog.copies.known(chunk)
        page = [CopyKey(chunk, generation, known.stored_length)]
        await here.catalog.copies.compare_inventory(A, [], after=b"", last=True)
        await here.catalog.copies.compare_inventory(A, page, after=b"", last=True)
        here.farm.unread.add(A)
        await here.catalog.nodes.add(record("d"))
        await here.world.table.reload()
        challenger = here.challenger()
        verifier, repairer = here.verifier(challenger), here.repairer(challenger=challenger)
        made = []
        for _ in range(unsettled_challenges.TRIES + 1):
            here.world.hear("a", "b", "c", "d")
            repairer.begin_anew()
            made.append(await repairer.round())
            await verifier.work()
            here.world.clock.advance(60.0)
        assert made == [0] * unsettled_challenges.TRIES + [1]
        assert await counted(here, chunk) == {B, C, NodeId("d")}


async def test_a_node_that_stores_nothing_is_found_by_its_samples(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        here.farm.stored[C].clear()
        here.farm.liars.add(C)
        sampler = here.sampler()
        await sampler.step()
        for _ in range(3):
            await pass_time(here, SAMPLE_EVERY_S)
            await sampler.step()
        assert await standing(here, C) is Standing.DOUBTED
        assert {await standing(here, node) for node in (A, B)} == {Standing.APPROVED}


async def sample_for_days(here: Scene, days: int, *heard: str) -> None:
    sampler = here.sampler()
    for _ in range(days * 8):
        await sampler.step()
        here.world.clock.advance(3 * 3600.0)
        here.world.hear(*heard)


@pytest.mark.parametrize("how", ["unread", "down"])
async def test_a_node_that_never_proves_a_copy_is_doubted_within_days(
    tmp_path: Path, how: str
) -> None:
    """Its heartbeats come, but to challenges it answers "not now", or not at all."""
    async with scene(tmp_path) as here:
        await put(here)
        chunk, _ = held(here, C)
        getattr(here.farm, how).add(C)
        await sample_for_days(here, 3, "a", "b", "c")
        assert {await standing(here, node) for node in (A, B)} == {Standing.APPROVED}
        (record,) = [one for one in await here.catalog.nodes.list() if one.node == C]
        assert record.standing is Standing.DOUBTED
        assert "proved none of its copies" in record.standing_reason
        (known,) = await here.catalog.copies.known(chunk)
        assert count_of(known.copies, here.world.table.facts()) == 2


async def test_nodes_that_lag_or_are_down_are_not_doubted(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        here.farm.down.add(C)
        await sample_for_days(here, 3, "a", "b")  # no heartbeat of c comes either
        assert {await standing(here, node) for node in (A, B, C)} == {Standing.APPROVED}
        here.farm.down.clear()
        sampler = here.sampler()
        for step in range(40):
            here.farm.unread = {C} if step % 4 else set()
            await sampler.step()
            await pass_time(here, SAMPLE_EVERY_S * 1.6)
        assert {await standing(here, node) for node in (A, B, C)} == {Standing.APPROVED}


async def test_no_node_is_doubted_where_none_can_be_asked(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        here.farm.down.update((A, B, C))
        await sample_for_days(here, 4, "a", "b", "c")
        assert {await standing(here, node) for node in (A, B, C)} == {Standing.APPROVED}


async def test_a_node_that_becomes_doubted_is_sampled_within_the_hour(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        sampler = here.sampler()
        await sampler.step()
        await here.catalog.nodes.doubt(C, "a test says so")
        await here.world.table.reload()
        for _ in range(12):
            await pass_time(here, 300.0)
            await sampler.step()
        assert C in here.farm.asked


def test_a_node_on_probation_is_not_compared_with() -> None:
    copies = [HeldCopy(node, Generation(1), CopyState.STORED) for node in (A, B, C)]
    chunk = ChunkCopies(ChunkId(b"x" * 32), 9, 3, tuple(copies))
    well = NodeFacts(Standing.APPROVED, answers=True, stays=True)
    probation = replace(well, standing=Standing.PROBATION)
    assert other_copy(chunk, C, {A: probation, B: well, C: probation}) == [copies[1].name]
    assert other_copy(chunk, C, {A: probation, B: probation, C: probation}) == []


async def test_a_node_that_proves_itself_over_hours_is_cleared(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await put(here)
        await here.catalog.nodes.doubt(C, "a test says so")
        await here.world.table.reload()
        sampler = here.sampler()
        await sampler.step()
        step_s = CLEAR_OVER_S / CLEAR_AFTER * 3.1
        for _ in range(CLEAR_AFTER - 1):
            await pass_time(here, step_s)
            assert await sampler.step() >= 1
            assert await standing(here, C) is Standing.DOUBTED
        for _ in range(2):
            await pass_time(here, step_s)
            await sampler.step()
        assert await standing(here, C) is Standing.APPROVED


async def test_a_replacement_that_is_not_there_costs_no_copy(tmp_path: Path) -> None:
    """Redundancy is replaced before it is removed: d signs for what it does not keep."""
    async with scene(tmp_path) as here:
        await put(here)
        chunk, _ = held(here, A)
        await here.catalog.nodes.drain(OPERATOR, A, draining=True)
        await here.world.table.reload()
        await here.catalog.nodes.drain(OPERATOR, A, draining=False)
        await here.catalog.datastores.create(
            OPERATOR, FilePath.parse("/one"), copies=1, quota_bytes=0, owner=None
        )
        await here.catalog.names.move(
            OPERATOR, PATH, FilePath.parse("/one/file"), condition=Precondition()
        )
        while await here.catalog.datastores.settle_copies():
            pass
        here.farm.liars.update((B, C))
        for node in (B, C):
            here.farm.stored[node].clear()
        for _ in range(6):
            await here.repairer().round()
            await here.guarded_deletes().step()
            await collector_of(here).round()
            await pass_time(here, 4000.0)
        assert (chunk, held(here, A)[1]) in here.farm.stored[A]
        assert {await standing(here, node) for node in (B, C)} == {Standing.DOUBTED}
        assert A in await counted(here, chunk)


async def test_a_drain_is_done_once_the_others_have_proved_themselves(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.catalog.datastores.create(
            OPERATOR, PATH.parent, copies=2, quota_bytes=0, owner=None
        )
        await here.whole.write(OPERATOR, PATH, Attributes(), Precondition(), stream(b"x" * 999))
        (source, *_) = [node for node, chunks in here.farm.stored.items() if chunks]
        chunk, _ = held(here, source)
        await here.catalog.nodes.drain(OPERATOR, source, draining=True)
        await here.world.table.reload()
        repairer, guarded_deletes = here.repairer(), here.guarded_deletes()
        for _ in range(4):
            await repairer.round()
            await guarded_deletes.step()
            await pass_time(here, 60.0)
            await collector_of(here).round()
        assert len(await counted(here, chunk)) == 2
        assert source not in await counted(here, chunk)
        assert not here.farm.stored[source]
        assert here.farm.copies() == 2


async def test_finding_4_what_cannot_be_repaired_hides_nothing_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nodes, three copies, one lost; what wants two and has one is repaired all the same."""
    monkeypatch.setattr(repair_module, "PAGE", 4)
    async with scene(tmp_path) as here:
        await here.catalog.names.make_directory(OPERATOR, PATH.parent, parents=False)
        here.farm.down.add(C)
        for number in range(24):  # two copies each, and no third node to take one
            path = PATH.parent.child(f"f{number}")
            data = stream(bytes([number]) * 500)
            await here.whole.write(OPERATOR, path, Attributes(), Precondition(), data)
        two = FilePath.parse("/two")
        await here.catalog.datastores.create(OPERATOR, two, copies=2, quota_bytes=0, owner=None)
        path = two.child("f")
        await here.whole.write(OPERATOR, path, Attributes(), Precondition(), stream(b"z" * 500))
        here.world.clock.advance(700.0)
        here.world.hear("a", "b")
        view = await here.catalog.reads.open(
            OPERATOR, path, offset=0, length=0, if_version=0, batch=0
        )
        (located,) = data_of(view)
        lost = located.copies[0]
        await here.catalog.copies.mark(
            lost.node, [(located.extent.chunk, lost.generation)], lost=True
        )
        repairer = here.repairer()
        made = 0
        for _ in range(30):
            made += await repairer.round()
            if repairer.rests:
                break
        assert made == 1
        assert await counted(here, located.extent.chunk) == {A, B}


async def test_a_chunk_that_fails_over_and_over_keeps_no_other_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair_module, "PAGE", 2)
    monkeypatch.setattr(repair_module, "CLAIMED", 1)
    async with scene(tmp_path) as here:
        here.farm.down.add(C)
        await here.catalog.names.make_directory(OPERATOR, PATH.parent, parents=False)
        for number in range(6):
            path = PATH.parent.child(f"f{number}")
            data = stream(bytes([number]) * 500)
            await here.whole.write(OPERATOR, path, Attributes(), Precondition(), data)
        here.farm.down.clear()
        (bad, *_) = sorted(here.farm.stored[A])
        for node in (A, B):
            here.farm.stored[node].pop(
                next(key for key in here.farm.stored[node] if key[0] == bad[0])
            )
        repairer = here.repairer()
        made = 0
        for _ in range(40):
            made += await repairer.round()
        assert made == 5
