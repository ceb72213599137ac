"""Changes of names as those who watch are told: kept within bounds, and never of another past than this one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.settings import CatalogSettings
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.errors import BusyError
from collective.core.paths import FilePath
from collective.model.changes import Changes, Cursor, ListAnew
from collective.model.writing import Precondition
from tests.contract.catalog.engines import Engines
from tests.contract.catalog.world import OPERATOR, p

ANY: Final = Precondition()
ROOT: Final = FilePath(())


async def cursor_of(catalog: Catalog, path: FilePath = ROOT) -> Cursor:
    found = await catalog.changes.since(OPERATOR, path, "", page_size=100)
    assert isinstance(found, ListAnew)
    return found.cursor


async def told(catalog: Catalog, cursor: Cursor, path: FilePath = ROOT) -> Sequence[str] | None:
    """Return the paths that changed; None: the folder is to be listed anew."""
    found = await catalog.changes.since(OPERATOR, path, cursor, page_size=100)
    return [str(one.path) for one in found.changes] if isinstance(found, Changes) else None


async def make(catalog: Catalog, *paths: str) -> None:
    for path in paths:
        await catalog.names.make_directory(OPERATOR, p(path), parents=False)


async def prune(catalog: Catalog) -> int:
    steps = 1
    while await catalog.changes.prune():
        steps += 1
    return steps


async def test_a_cursor_outlives_a_restart(engines: Engines) -> None:
    catalog = await engines.open()
    await make(catalog, "/a")
    cursor = await cursor_of(catalog)
    await make(catalog, "/b")
    await engines.close()
    catalog = await engines.open()
    await make(catalog, "/c")
    assert await told(catalog, cursor) == ["/b", "/c"]


async def test_a_cursor_of_a_future_that_was_lost_lists_anew(engines: Engines) -> None:
    catalog = await engines.open()
    await make(catalog, "/a")
    before = await cursor_of(catalog)
    kept = await engines.keep()
    await make(catalog, "/lost")
    lost = await cursor_of(catalog)
    catalog = await engines.put_back(kept)
    assert await told(catalog, lost) is None
    await make(catalog, "/c", "/d", "/e")
    assert await told(catalog, lost) is None, "its numbers are reached again, its life is not"
    assert await told(catalog, before) is None, "a backup was put back: its epoch is another"
    assert await told(catalog, await cursor_of(catalog)) == []


async def test_after_a_restore_that_nodes_have_shown_all_list_anew(engines: Engines) -> None:
    catalog = await engines.open()
    cursor = await cursor_of(catalog)
    now = await catalog.restores.position()
    assert await catalog.restores.observe(
        type(now)(now.catalog_id, now.epoch, now.sequence + 9, "")
    )
    assert await told(catalog, cursor) is None


async def test_another_catalogue_knows_no_cursor_of_this_one(engines: Engines) -> None:
    catalog = await engines.open()
    other = await engines.beside(99).open()
    assert await told(other, await cursor_of(catalog)) is None


@pytest.mark.parametrize(
    "settings",
    [
        CatalogSettings(changes_max=3),
        CatalogSettings(changes_max_bytes=150),
        CatalogSettings(changes_kept_s=50.0),
    ],
    ids=["number", "size", "age"],
)
async def test_what_lies_beyond_the_bounds_goes_and_is_listed_anew(
    engines: Engines, clock: ManualClock, settings: CatalogSettings
) -> None:
    engines.settings = settings
    catalog = await engines.open()
    cursors = []
    for number in range(6):
        cursors.append(await cursor_of(catalog))
        await make(catalog, f"/d{number}")
        clock.advance(20)
    assert await told(catalog, cursors[0]) == [f"/d{number}" for number in range(6)]
    await prune(catalog)
    good = [await told(catalog, cursor) is not None for cursor in cursors]
    assert good == sorted(good), "the newest are kept"
    assert not good[0]
    assert good[-1]
    assert await told(catalog, cursors[-1]) == ["/d5"]


async def test_a_change_after_all_others_went_is_told_of(
    engines: Engines, clock: ManualClock
) -> None:
    catalog = await engines.open()
    await make(catalog, "/a", "/b")
    cursor = await cursor_of(catalog)
    clock.advance(30 * 86400)
    await prune(catalog)
    assert await told(catalog, cursor) == []
    await engines.close()
    catalog = await engines.open()
    await make(catalog, "/c")
    assert await told(catalog, cursor) == ["/c"]


async def test_a_refused_change_is_none(engines: Engines) -> None:
    catalog = await engines.open()
    await make(catalog, "/a")
    cursor = await cursor_of(catalog)
    for attempt in (
        catalog.names.make_directory(OPERATOR, p("/a"), parents=False),
        catalog.names.remove(
            OPERATOR, p("/a"), recursive=False, condition=Precondition(if_version=9)
        ),
        catalog.names.move(OPERATOR, p("/none"), p("/b"), condition=ANY),
    ):
        with pytest.raises(Exception, match=r"."):
            await attempt
    assert await told(catalog, cursor) == []


async def test_one_who_waits_misses_no_change_and_is_woken_by_no_other(engines: Engines) -> None:
    catalog = await engines.open()
    await make(catalog, "/a", "/a/in", "/b")
    never = asyncio.get_running_loop().time() + 1000
    with catalog.changes.waiting(p("/a/in")) as waiter:
        await make(catalog, "/b/x", "/a/beside", "/a/in/x")
        assert await waiter.notified(never)
        await make(catalog, "/a/in2")
        notifying = asyncio.ensure_future(waiter.notified(never))
        await make(catalog, "/b/y")
        assert not notifying.done()
        await catalog.names.move(OPERATOR, p("/a"), p("/c"), condition=ANY)
        assert await notifying
        catalog.changes.end_waits()
        with pytest.raises(BusyError, match="stopping"):
            await waiter.notified(never)
    with catalog.changes.waiting(p("/b")) as waiter, pytest.raises(BusyError, match="stopping"):
        await waiter.notified(never)


async def test_a_page_that_is_cut_by_its_size_leaves_no_tree_out(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that changes again behind the cut is told again; what was told of it before stays told."""
    catalog = await engines.open()
    await make(catalog, "/s", "/w", "/s/t", "/s/t/inside", "/w/b", "/w/c")
    cursor = await cursor_of(catalog, p("/w"))
    await catalog.names.move(OPERATOR, p("/s/t"), p("/w/t"), condition=ANY)
    for name in ("b", "c", "t"):
        await catalog.names.set_attributes(
            OPERATOR, p(f"/w/{name}"), modified_ns=1, mode=None, condition=ANY
        )
    monkeypatch.setattr(limits, "ANSWER_MAX_BYTES", 300)
    told: list[tuple[str, bool]] = []
    more = True
    while more:
        found = await catalog.changes.since(OPERATOR, p("/w"), cursor, page_size=100)
        assert isinstance(found, Changes)
        told += [(str(one.path), one.below) for one in found.changes]
        cursor, more = found.cursor, found.more
    assert ("/w/t", True) in told
    assert {path for path, _ in told} == {"/w/b", "/w/c", "/w/t"}
