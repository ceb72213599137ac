"""Statements are parsed once, whatever is bound to them later.

The engine asks an authorizer whenever it parses, and at no other time.  Asked anew for each small
file, it took more of the writer's time than the file's rows did.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from tests.contract.catalog.world import OPERATOR, enrol, p, write
from tests.worlds import world_of


async def test_a_file_that_comes_in_has_nothing_parsed(tmp_path: Path) -> None:
    catalog = await SqliteCatalog.open(str(tmp_path), world_of(), CatalogSettings(copies=3))
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    parsed: list[Any] = []

    def note(*what: Any) -> int:
        parsed.append(what)
        return apsw.SQLITE_OK

    catalog._engine._db.authorizer = note  # which has each statement parsed once more
    for number in range(3):
        await write(catalog, f"/d/first{number}", f"first {number}")
    assert parsed, "the authorizer hears nothing"
    parsed.clear()
    for number in range(5):
        await write(catalog, f"/d/{number}", f"content {number}")
    assert parsed == []
    await catalog.close()
