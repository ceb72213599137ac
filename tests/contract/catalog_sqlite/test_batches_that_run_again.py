"""A batch has no savepoints until a change in it fails that has written something; then it runs again."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.store.writer import STEP_MAX_S, WARY_BATCHES, Transaction
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError, InternalError
from tests.contract.catalog.engines import SqliteEngines

Change = Callable[[Transaction], object]


class Batches:
    """Runs changes in one batch each, and notes which ran how often."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self.catalog = catalog
        self.runs: Counter[str] = Counter()
        self.ends: list[tuple[str, bool]] = []

    def adds(self, name: str, error: Exception | None = None) -> Change:
        """Return a change that writes ``name``, counts a file and a doubt, and then raises ``error``."""

        def work(tx: Transaction) -> tuple[str, int]:
            self.runs[name] += 1
            tx.at_end(lambda durable: self.ends.append((name, durable)))
            tx.run("INSERT INTO strangers (catalog_id) VALUES (?)", name)
            tx.deltas.files += 1
            tx.deltas.doubts += 1
            number = tx.next_version()
            if error is not None:
                raise error
            return name, number

        return work

    def refuses(self, name: str) -> Change:
        """Return a change that raises before it writes anything."""

        def work(_: Transaction) -> None:
            self.runs[name] += 1
            raise ConflictError(name)

        return work

    async def run(self, *changes: Change) -> list[Any]:
        """Run ``changes`` in one batch; return their results and errors."""
        writer = self.catalog._engine.writer
        is_queued = threading.Event()
        first = asyncio.ensure_future(writer.write(lambda _: is_queued.wait()))
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(writer.write(change)) for change in changes]
        await asyncio.sleep(0)
        is_queued.set()
        await first
        before = writer.sequence
        found = await asyncio.gather(*rest, return_exceptions=True)
        assert writer.sequence <= before + 1, "they were not one batch"
        return found

    async def there(self) -> Sequence[str]:
        """Return what was written, by name."""
        sql = "SELECT catalog_id FROM strangers ORDER BY catalog_id"
        found: Any = await self.catalog._engine.read(lambda db: db.execute(sql).fetchall())
        return [one for (one,) in found]


@pytest.fixture
async def batches(engines: SqliteEngines) -> Batches:
    return Batches(await engines.open())


async def test_of_a_change_that_fails_nothing_is_left_and_all_others_are_there(
    batches: Batches,
) -> None:
    writer = batches.catalog._engine.writer
    files, doubts = writer.totals.files, writer.doubts
    found = await batches.run(
        batches.adds("a"), batches.adds("b", ConflictError("b")), batches.adds("c")
    )
    assert [one for one in found if isinstance(one, ConflictError)] == [found[1]]
    assert await batches.there() == ["a", "c"]
    assert [found[0][0], found[2][0]] == ["a", "c"]
    assert found[0][1] < found[2][1]
    assert writer.totals.files - files == 2
    assert writer.doubts - doubts == 2
    # Nobody is told of the first run but that it was undone.
    assert Counter(batches.ends) == Counter(
        {("a", False): 1, ("a", True): 1, ("b", False): 2, ("c", True): 1}
    )


async def test_what_the_engine_refuses_takes_nobody_else_along(batches: Batches) -> None:
    found = await batches.run(batches.adds("a"), batches.adds("a"), batches.adds("c"))
    assert isinstance(found[1], InternalError)
    assert await batches.there() == ["a", "c"]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_refusal_that_wrote_nothing_has_nothing_run_again(
    batches: Batches, place: int
) -> None:
    changes = [batches.adds("a"), batches.adds("b")]
    changes.insert(place, batches.refuses("no"))
    found = await batches.run(*changes)
    assert isinstance(found[place], ConflictError)
    assert await batches.there() == ["a", "b"]
    assert set(batches.runs.values()) == {1}


async def test_the_first_one_fails_alone(batches: Batches) -> None:
    """It saw what is durable, and nothing else was written: neither it nor others run again."""
    error = ConflictError("a")
    found = await batches.run(
        batches.refuses("no"), batches.adds("a", error), batches.adds("b"), batches.adds("c")
    )
    assert found[1] is error
    assert await batches.there() == ["b", "c"]
    assert set(batches.runs.values()) == {1}
    assert batches.catalog._engine.writer.totals.files == 2


async def test_where_changes_fail_all_the_time_few_batches_run_twice(batches: Batches) -> None:
    for number in range(2 * WARY_BATCHES):
        await batches.run(
            batches.adds(f"well {number}"), batches.adds(f"bad {number}", ConflictError("bad"))
        )
    again = [name for name, runs in batches.runs.items() if runs > 1]
    assert 2 <= len(again) <= 8
    assert len(await batches.there()) == 2 * WARY_BATCHES


async def test_numbers_that_a_batch_gave_twice_are_the_answers_of_the_second(
    batches: Batches,
) -> None:
    before = await batches.run(batches.adds("a"))
    found = await batches.run(
        batches.adds("b"), batches.adds("c", ConflictError("c")), batches.adds("d")
    )
    after = await batches.run(batches.adds("e"))
    numbers = [before[0][1], found[0][1], found[2][1], after[0][1]]
    assert numbers == sorted(set(numbers))


async def test_a_caller_who_left_before_the_second_run_changes_nothing(batches: Batches) -> None:
    """Its change was begun and undone: it was withdrawn in time."""
    writer = batches.catalog._engine.writer
    loop = asyncio.get_running_loop()
    leaving: list[asyncio.Future[Any]] = []

    def leaves(tx: Transaction) -> None:
        batches.adds("b")(tx)
        left = threading.Event()
        loop.call_soon_threadsafe(lambda: (leaving[0].cancel(), loop.call_soon(left.set)))
        assert left.wait(10)
        raise ConflictError("b")

    is_queued = threading.Event()
    first = asyncio.ensure_future(writer.write(lambda _: is_queued.wait()))
    await asyncio.sleep(0)
    leaving.append(asyncio.ensure_future(writer.write(batches.adds("a"))))
    fails = asyncio.ensure_future(writer.write(leaves))
    await asyncio.sleep(0)
    is_queued.set()
    await first
    found = await asyncio.gather(leaving[0], fails, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert await batches.there() == []


async def test_a_batch_that_runs_again_holds_the_writer_for_50_ms_at_most(
    batches: Batches, engines: SqliteEngines, clock: ManualClock
) -> None:
    catalog, work_s = batches.catalog, list[float]()
    order: list[int] = []

    def slow(tx: Transaction, number: int) -> None:
        clock.advance(0.6 * STEP_MAX_S)
        tx.run("UPDATE state SET next_node = next_node + 1")
        if number == 3:
            raise ConflictError("late")
        order.append(number)

    def observe(phase: str, seconds: float) -> None:
        work_s.extend([seconds] if phase == "work" else [])

    async with engines.held_up(catalog) as ask:
        catalog._engine.writer.observe = observe
        changes = [
            await ask(catalog._engine.change(partial(slow, number=number))) for number in range(20)
        ]
    found = await asyncio.gather(*changes, return_exceptions=True)
    assert [number for number, one in enumerate(found) if one is not None] == [3]
    assert order == [0, 1, 2, 0, 1, 2, *range(4, 20)], "each keeps its turn"
    assert 0.024 < max(work_s) <= 0.05
