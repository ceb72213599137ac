"""The audit is cut down without holding the writer for longer than other writes can wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.audit.trimming import STEP_ROWS_MAX, shares
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.clock import ManualClock
from collective.core.randomness import SeededRandomness
from tests.worlds import world_of

ACTORS = 10
ROWS = 12_000
ROWS_MAX = 4_000


def count(tx: Transaction) -> int:
    return int(tx.value("SELECT count(*) FROM audit"))


async def test_a_million_rows_too_many_never_hold_the_writer_for_long(
    tmp_path: Path, monkeypatch: Any
) -> None:
    settings = CatalogSettings(audit_changes_max=ROWS_MAX, audit_refusals_max=ROWS_MAX)
    catalog = await SqliteCatalog.open(
        str(tmp_path), world_of(ManualClock(), SeededRandomness(1)), settings
    )
    engine = catalog._engine
    change = engine.change
    dropped: list[int] = []

    async def watched(work: Any) -> Any:
        def counting(tx: Transaction) -> Any:
            before = count(tx)
            result = work(tx)
            dropped.append(before - count(tx))
            return result

        return await change(counting)

    def fill(tx: Transaction) -> None:
        for number in range(ROWS):
            tx.run(
                "INSERT INTO audit (at_ms, actor, action, target, detail, request_id)"
                " VALUES (?,?,'write','/x','','')",
                number,
                f"user{number % ACTORS}",
            )

    try:
        await change(fill)
        monkeypatch.setattr(type(engine), "change", lambda _, work: watched(work))
        for _ in range(3):
            await catalog.upkeep.expire()
        assert max(dropped) <= STEP_ROWS_MAX
        rows = await catalog.audit.list(since_ms=0, limit=10 * ROWS)
        told = [row for row in rows if row.action == "audit-drop"]
        assert sorted(row.target for row in told) == [f"user{one}" for one in range(ACTORS)]
        assert len(rows) - len(told) <= ROWS_MAX
        gone = ROWS - (len(rows) - len(told))
        assert sum(int(row.detail.split()[1]) for row in told) == gone
    finally:
        await catalog.close()


@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.integers(1, 50), min_size=1),
    st.data(),
)
def test_whoever_has_most_comes_down_to_the_level_of_the_others(
    counts: dict[str, int], data: st.DataObject
) -> None:
    excess = data.draw(st.integers(1, sum(counts.values())))
    gone = shares(counts, excess)
    assert sum(gone.values()) == excess
    assert all(0 < number <= counts[actor] for actor, number in gone.items())
    lowest = min(counts[actor] - number for actor, number in gone.items())
    kept = [counts[actor] for actor in counts if actor not in gone]
    assert max(kept, default=0) <= lowest + 1
    assert all(counts[actor] - number <= lowest + 1 for actor, number in gone.items())
