"""Rows that count chunks by datastore: after a move none stays where nobody is shown it."""

from __future__ import annotations

import pytest

from collective.catalog.sqlite import SqliteCatalog
from tests.contract.catalog.test_homes import settle
from tests.contract.catalog.world import ANY, OPERATOR, enrol, p, write


async def counted(catalog: SqliteCatalog) -> dict[str, int]:
    """Return the chunks that count in each entry, datastore or not."""
    return await catalog._engine.read(
        lambda db: dict(
            db.execute(
                "SELECT coalesce(e.name, h.datastore), sum(h.chunks) FROM health h"
                " LEFT JOIN entries e ON e.id = h.datastore WHERE h.datastore <> 0 GROUP BY 1"
            )
        )
    )


@pytest.mark.parametrize(
    ("source", "target", "after"),
    [
        ("/d/f", "/e/f", {"d": 2, "e": 3}),
        ("/d/s", "/e/s", {"d": 3, "e": 2}),
        ("/d/s", "/s", {"d": 3, "s": 2}),
        ("/d", "/x", {"x": 5}),
        ("/d", "/e/x", {"e": 5}),
    ],
)
async def test_no_row_counts_chunks_where_their_files_were_before(
    catalog: SqliteCatalog, source: str, target: str, after: dict[str, int]
) -> None:
    await enrol(catalog)
    for path in ("/d", "/d/s", "/e"):
        await catalog.names.make_directory(OPERATOR, p(path), parents=False)
    await write(catalog, "/d/f", "a", "b", "c")
    await write(catalog, "/d/s/g", "d", "e")
    await catalog.names.move(OPERATOR, p(source), p(target), condition=ANY)
    await settle(catalog)
    assert await counted(catalog) == after
