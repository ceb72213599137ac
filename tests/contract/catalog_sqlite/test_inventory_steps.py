"""What the writer does with an inventory: steps that are bounded, and a look once more."""

from typing import Any

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.collection.dooming import note_stranger
from collective.catalog.sqlite.copies import inventories
from collective.catalog.sqlite.copies.copy_rows import node_number
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.writer import Transaction
from collective.model.copies import CopyKey
from tests.contract.catalog.engines import Bound, SqliteEngines
from tests.contract.catalog.test_inventories import A, held, tell
from tests.contract.catalog.world import begin, chunk, write


async def test_finding_3_an_empty_disk_holds_the_writer_in_bounded_steps(
    ready: SqliteCatalog, engines: SqliteEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many copies are missing, back, or unknown: no transaction changes more than a step."""
    engines.bound(Bound.INVENTORY_WINDOW, 8)
    engines.bound(Bound.INVENTORY_STEP, 4)
    texts = [f"t{number}" for number in range(60)]
    await write(ready, "/d/f", *texts)
    page = await held(ready, A, *texts)
    ours = page[0].generation  # given out here, else the copy would be of another catalogue
    strangers = [CopyKey(chunk(f"no{number}"), ours, 5) for number in range(60)]
    changes: list[int] = []
    change = Engine.change

    async def counting(self: Engine, operation: Any) -> Any:
        def counted(tx: Transaction) -> Any:
            before = tx.db.total_changes()
            result = operation(tx)
            changes.append(tx.db.total_changes() - before)
            return result

        return await change(self, counted)

    monkeypatch.setattr(Engine, "change", counting)
    await tell(ready, A, [])
    await tell(ready, A, page)
    assert len(await tell(ready, A, sorted(page + strangers, key=lambda key: key.chunk))) == 60
    assert len(changes) >= 3 * 60 // inventories.STEP_COPIES
    assert max(changes) <= 10 * inventories.STEP_COPIES  # triggers: chunk, node, six of health


async def test_a_copy_that_was_stored_between_comparison_and_writing_is_no_stranger(
    ready: SqliteCatalog,
) -> None:
    upload, _ = await begin(ready, "/d/g", "b")
    (target,) = [one for one in upload.allocations[0].targets if one.node == A]
    late = CopyKey(chunk("b"), target.generation, 26)
    marked = await ready._engine.change(lambda tx: note_stranger(tx, node_number(tx.db, A), late))
    assert not marked
