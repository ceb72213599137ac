"""A handful of seeds, a replay, and the parts of the simulator that everything else rests on."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any
from unittest import mock

import apsw
import pytest

from tests.simulation.clients import HUGE_MORE_BYTES
from tests.simulation.disk import ProcessDisk, SimulatedDisk
from tests.simulation.guards import Guards
from tests.simulation.judge import Judge
from tests.simulation.loop import HungError, VirtualLoop, ending_quietly
from tests.simulation.member import COORDINATOR
from tests.simulation.model import HORIZON_S, HUGE_BYTES, Files, chunks_of, value_of
from tests.simulation.process import BrokenPromiseError, Killed, Process
from tests.simulation.restores import LATE_MOST_S, LostFuture, Restores
from tests.simulation.scenario import Scenario
from tests.simulation.seeds import OF_SEVERAL, run_seed
from tests.simulation.trace import Trace
from tests.simulation.tuning import CHUNK_BYTES

SEEDS = (1, 3, 10)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_keeps_every_promise(seed: int) -> None:
    result = run_seed(seed, 5.0)
    assert not result.failure, "\n".join((*result.tail[-40:], result.failure))
    assert result.counts["acknowledged"] > 40


@pytest.mark.parametrize("number", [1, 2])
def test_several_members_keep_every_promise(number: int) -> None:
    result = run_seed(OF_SEVERAL + number, 3.0)
    assert not result.failure, "\n".join((*result.tail[-40:], result.failure))
    assert result.counts["acknowledged"] > 20


def test_a_replay_has_the_same_trace_and_another_seed_another() -> None:
    first, again, other = run_seed(11, 2.0), run_seed(11, 2.0), run_seed(12, 2.0)
    assert first.digest == again.digest
    assert first.counts == again.counts
    assert first.digest != other.digest


# --- the loop --------------------------------------------------------------------------------------


def test_time_jumps_to_the_next_timer_and_nothing_waits() -> None:
    loop = VirtualLoop()

    async def work() -> list[float]:
        seen = []
        for pause_s in (0.5, 86400.0, 0.0):
            await asyncio.sleep(pause_s)
            seen.append(loop.now_s)
        return seen

    assert loop.run(work()) == [0.5, 86400.5, 86400.5]
    loop.close()


def test_a_run_that_waits_for_nothing_is_told() -> None:
    loop = VirtualLoop()
    with pytest.raises(HungError, match="Nothing is left"):
        loop.run(asyncio.Event().wait())
    loop.close()


@pytest.mark.parametrize(
    ("error", "told"),
    [(BrokenPromiseError("It broke."), "It broke"), (KeyError("bob"), "the simulation broke")],
    ids=("a promise", "the judge itself"),
)
def test_what_a_judge_raises_ends_the_run_though_nobody_waits_for_it(
    error: Exception, told: str
) -> None:
    loop = VirtualLoop()

    async def watch() -> None:
        await asyncio.sleep(1.0)
        raise error

    async def main() -> None:
        watching = loop.create_task(watch())
        await asyncio.sleep(10.0)
        watching.cancel()

    with pytest.raises(BrokenPromiseError, match=told):
        loop.run(main())
    assert loop.now_s < 2.0
    loop.close()


def test_nothing_of_a_killed_process_goes_on() -> None:
    loop = VirtualLoop()
    trace = Trace(loop.time)
    disk = SimulatedDisk()
    process = Process("p", trace)
    mine = ProcessDisk(disk, process)
    after: list[str] = []

    async def work() -> None:
        try:
            mine.make_dir("/p")
            await asyncio.sleep(1.0)
        finally:
            after.append("finally")
            mine.make_dir("/p/left")

    async def main() -> None:
        task = process.context().run(loop.create_task, work())
        await asyncio.sleep(0.5)
        process.die()
        task.cancel()
        await asyncio.sleep(10.0)

    loop.run(main())
    assert not after
    assert disk.node("/p") is not None
    assert disk.node("/p/left") is None
    with pytest.raises(Killed):
        mine.make_dir("/p/later")
    loop.close()
    with ending_quietly():
        process.forget()
    assert disk.node("/p/left") is None


def test_a_process_dies_between_two_effects() -> None:
    disk = SimulatedDisk()
    process = Process("p", Trace(lambda: 0.0))
    mine = ProcessDisk(disk, process)
    process.kill_at = 3
    for name in ("a", "b"):
        mine.make_dir(f"/{name}")
    with pytest.raises(Killed):
        mine.make_dir("/c")
    assert disk.node("/c") is None
    assert not process.alive


# --- the disk --------------------------------------------------------------------------------------


def written(*, flushed: bool, name_flushed: bool) -> SimulatedDisk:
    disk = SimulatedDisk()
    mine = ProcessDisk(disk, Process("p", Trace(lambda: 0.0)))
    with mine.open("/file", "create") as file:
        file.write(b"old" * 1000, 0)
        if flushed:
            file.datasync()
        if name_flushed:
            mine.sync_dir("/")
        file.write(b"new" * 1000, 0)
        file.write(b"more", 5000)
    return disk


def test_a_name_that_was_not_flushed_is_lost_or_not() -> None:
    disk = written(flushed=True, name_flushed=False)
    disk.lose_power(None)
    assert disk.node("/file") is None
    kept = set()
    for seed in range(20):
        disk = written(flushed=True, name_flushed=False)
        disk.lose_power(random.Random(seed))
        kept.add(disk.node("/file") is not None)
    assert kept == {True, False}


def test_without_power_a_file_is_what_was_flushed() -> None:
    disk = written(flushed=True, name_flushed=True)
    disk.lose_power(None)
    assert bytes(disk.file("/file").data) == b"old" * 1000


def test_what_was_not_flushed_may_be_there_in_part() -> None:
    seen = set()
    for seed in range(20):
        disk = written(flushed=True, name_flushed=True)
        disk.lose_power(random.Random(seed))
        data = bytes(disk.file("/file").data)
        assert len(data) in {3000, 5004}
        for start in range(0, 2560, 512):
            assert data[start : start + 3] in {
                (b"old" * 1000)[start:][:3],
                (b"new" * 1000)[start:][:3],
            }
        seen.add(data)
    assert len(seen) > 3


# --- the model -------------------------------------------------------------------------------------


class Clock:
    """A time that tests set."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_change_that_was_cut_off_may_be_either_way_until_it_is_seen() -> None:
    clock = Clock()
    files = Files(clock)
    one, two = value_of(1, 10), value_of(2, 10)
    files.done(files.begin("/a", one))
    files.cut_off(files.begin("/a", two))
    assert files.may_be("/a") == {one, two}
    watch = files.watch("/a")
    assert files.seen(watch, one)
    assert files.may_be("/a") == {one, two}, "it may take effect still"
    clock.now_s = HORIZON_S + 1
    assert files.seen(files.watch("/a"), one)
    assert files.may_be("/a") == {one}


def test_a_value_that_was_never_written_is_told() -> None:
    files = Files(Clock())
    files.done(files.begin("/a", value_of(1, 10)))
    assert not files.seen(files.watch("/a"), value_of(2, 10))
    assert not files.seen(files.watch("/a"), None)


def test_a_restored_catalogue_is_as_it_was() -> None:
    clock = Clock()
    files = Files(clock)
    values: list[Any] = [value_of(number, 10) for number in range(4)]
    for at_s, value in enumerate(values):
        clock.now_s = float(at_s)
        files.done(files.begin("/a", value))
    files.done(files.begin("/b", values[0]))
    clock.now_s = 10.0
    files.restored(1.5, 2.5)
    assert files.may_be("/a") == {values[1], values[2]}
    assert files.may_be("/b") == {None}
    assert files.may_be_lost("/a")


def test_of_a_restored_catalogue_only_what_no_file_had_and_no_node_has_is_lost_rightly() -> None:
    house = Scenario(0, 1.0).house
    files, loop = house.files, house.loop
    removed, kept, still_there = (value_of(number, 10) for number in range(3))
    for path, value in (("/removed", removed), ("/kept", kept), ("/still-there", still_there)):
        files.done(files.begin(path, value))
    loop.now_s = 10.0
    for path in ("/removed", "/still-there"):
        files.done(files.begin(path, None))
    needed = files.all_certain()
    files.restored(5.0, 5.0)
    assert files.all_possible() == {removed, kept, still_there}
    house.nodes = ["n1"]
    (gone,), (needful,), (held,) = (
        chunks_of(value, CHUNK_BYTES) for value in (removed, kept, still_there)
    )
    with mock.patch.object(house.truth, "held", return_value={(held, 7)}):
        house.note_lost(needed)
    assert house.may_be_lost(gone)
    assert not house.may_be_lost(needful), "a file had it all the time"
    assert not house.may_be_lost(held), "a node has it"
    house.loop.close()


def test_nodes_that_are_late_reach_a_restored_coordinator_after_the_people() -> None:
    house = Scenario(0, 1.0).house
    loop, member = house.loop, house.member

    def is_cut() -> bool:
        return member.network.link("n1", COORDINATOR).cut

    async def restore() -> None:
        late = loop.create_task(Restores(house.faults)._keep_away(["n1"]))
        await asyncio.sleep(9.0)
        assert is_cut(), "the coordinator does not run yet"
        await asyncio.sleep(1.5 + LATE_MOST_S)
        assert not is_cut()
        await late

    with mock.patch.object(member, "is_ready", side_effect=lambda _: loop.now_s >= 9.5):
        loop.run(restore())
    house.loop.close()


def test_a_huge_file_has_many_pieces_and_few_chunks() -> None:
    for size in (HUGE_BYTES, HUGE_BYTES + HUGE_MORE_BYTES - 1):
        chunks = chunks_of(value_of(1, size), CHUNK_BYTES)
        assert len(chunks) == -(-size // CHUNK_BYTES)
        assert len(set(chunks)) < 20


# --- the judge -------------------------------------------------------------------------------------


def test_a_catalogue_that_is_closed_to_end_is_not_looked_at() -> None:
    house = Scenario(0, 1.0).house
    database = apsw.Connection(":memory:")
    engine = SimpleNamespace(writer=SimpleNamespace(_db=database))
    role = SimpleNamespace(_catalog=SimpleNamespace(_engine=engine))
    with mock.patch.object(house.member, "running", return_value=role):
        assert house.truth.database() is database
        database.close()
        assert house.truth.database() is None
    house.loop.close()


TABLES = """
    CREATE TABLE nodes (id, name, removed);
    CREATE TABLE chunks (id, hash, stored_length, wanted);
    CREATE TABLE copies (chunk, node, generation, state);
    CREATE TABLE doomed (node, hash, generation, stored_length, guard);
    CREATE TABLE versions (id, state);
    CREATE TABLE extents (version, chunk);
    INSERT INTO nodes VALUES (1, 'n1', 0), (2, 'n2', 0), (3, 'n3', 0);
    INSERT INTO chunks VALUES (1, x'AA', 10, 2);
    INSERT INTO versions VALUES (1, 1);
    INSERT INTO extents VALUES (1, 1);
    INSERT INTO copies VALUES (1, 2, 7, 1), (1, 3, 8, 1);
    INSERT INTO doomed VALUES (1, x'AA', 6, 10, 1);
"""


@pytest.mark.parametrize(
    ("good", "before", "is_wrong"),
    [
        ({"n1", "n2", "n3"}, "", False),
        ({"n1", "n2"}, "", True),
        ({"n2"}, "", False),
        ({"n1", "n2"}, "DELETE FROM extents", False),
        ({"n1", "n2", "n3"}, "UPDATE nodes SET removed = 1 WHERE id = 3", True),
        ({"n1", "n2"}, "INSERT INTO copies VALUES (1, 1, 9, 1)", False),
    ],
    ids=("enough", "too few", "itself bad", "of no file", "on a removed node", "newer beside it"),
)
def test_a_copy_is_let_go_only_while_enough_others_are_good(
    good: set[str], before: str, is_wrong: bool
) -> None:
    house = Scenario(0, 1.0).house
    database = apsw.Connection(":memory:")
    database.execute(TABLES)
    database.execute(before)
    guards = Guards(house)
    truth = guards._truth

    async def let_go() -> None:
        guards.watch()
        database.execute("UPDATE doomed SET guard = 0")
        await asyncio.sleep(1.0)

    with (
        mock.patch.object(truth, "database", return_value=database),
        mock.patch.object(truth, "may_be_good", lambda node, *_: node in good),
    ):
        if is_wrong:
            with pytest.raises(BrokenPromiseError, match="let go"):
                house.loop.run(let_go())
        else:
            house.loop.run(let_go())
    house.loop.close()


@pytest.mark.parametrize(
    ("held", "dirty", "is_wrong"),
    [
        ({b"old", b"new"}, None, False),
        ({b"new"}, None, False),
        ({b"old"}, None, True),
        ({b"old"}, "n1", False),
    ],
    ids=("all", "not an older one", "not the new one", "of a node that may lack it"),
)
def test_a_node_whose_disk_was_full_has_what_counts_since(
    held: set[bytes], dirty: str | None, is_wrong: bool
) -> None:
    house = Scenario(0, 1.0).house
    faults = house.faults
    faults.dirty = dirty
    with (
        mock.patch.object(faults, "_counted", return_value={(b"old", 1), (b"new", 1)}),
        mock.patch.object(faults.truth, "store", return_value=object()),
        mock.patch.object(faults.truth, "held", return_value={(one, 1) for one in held}),
    ):
        if is_wrong:
            with pytest.raises(BrokenPromiseError, match="promised"):
                faults._check_promised("n1", {(b"old", 1)})
        else:
            faults._check_promised("n1", {(b"old", 1)})
    house.loop.close()


@pytest.mark.parametrize(
    ("epoch", "catalog_id", "nodes", "is_wrong"),
    [
        (3, "ours", ["n1", "n2"], True),
        (4, "ours", ["n1", "n2"], False),
        (3, "ours", ["n2"], False),
        (3, "newer", ["n1", "n2"], False),
    ],
    ids=("unnoticed", "noticed", "the node that knew is gone", "it knew another catalogue"),
)
def test_a_restore_that_nodes_can_show_must_be_noticed(
    epoch: int, catalog_id: str, nodes: list[str], is_wrong: bool
) -> None:
    house = Scenario(0, 1.0).house
    house.nodes = nodes
    house.lost_future = LostFuture(3, {"n1": "ours"})
    judge = Judge(house)
    with mock.patch.object(judge._truth, "rows", return_value=[(epoch, catalog_id)]):
        if is_wrong:
            with pytest.raises(BrokenPromiseError, match="takes itself for the newest"):
                judge.check_noticed()
        else:
            judge.check_noticed()
    house.loop.close()
