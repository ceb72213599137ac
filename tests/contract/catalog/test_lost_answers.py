"""Answers that were lost and callers who have gone: nothing acknowledged later is taken away by them."""

import asyncio
from typing import Any

import pytest

from collective.catalog.interface import Catalog
from collective.core.errors import NotFoundError
from collective.model.writing import Attributes
from tests.contract.catalog.engines import Engines
from tests.contract.catalog.world import (
    ANY,
    OPERATOR,
    begin,
    enrol,
    extent,
    names,
    p,
    receipts,
    write,
)


@pytest.fixture
async def ready(catalog: Catalog) -> Catalog:
    await enrol(catalog, 4)
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    return catalog


async def hang_up(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_repeated_commit_does_not_bring_back_what_was_removed(
    ready: Catalog,
) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    args = (OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 10)
    first = await ready.uploads.commit(*args)
    await ready.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY)
    assert await ready.uploads.commit(*args) == first
    assert await names(ready, "/d") == []


async def test_a_remove_whose_caller_has_gone_does_not_take_what_is_committed_after_it(
    ready: Catalog, engines: Engines
) -> None:
    await write(ready, "/d/f", "a")
    upload, wanted = await begin(ready, "/d/f", "b")
    async with engines.held_up(ready) as ask:
        remove = ready.names.remove(OPERATOR, p("/d/f"), recursive=False, condition=ANY)
        await hang_up(await ask(remove))
        commit = ready.uploads.commit(
            OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 10
        )
        committing = await ask(commit)
    entry = await committing
    assert await ready.names.stat(OPERATOR, p("/d/f")) == entry


async def test_a_commit_whose_caller_has_gone_does_not_replace_what_is_committed_after_it(
    ready: Catalog, engines: Engines
) -> None:
    older, before = await begin(ready, "/d/f", "a")
    newer, after = await begin(ready, "/d/f", "b")
    async with engines.held_up(ready) as ask:
        first = ready.uploads.commit(OPERATOR, older.id, [extent(before[0])], receipts(older), 10)
        await hang_up(await ask(first))
        second = ready.uploads.commit(OPERATOR, newer.id, [extent(after[0])], receipts(newer), 10)
        committing = await ask(second)
    entry = await committing
    assert await ready.names.stat(OPERATOR, p("/d/f")) == entry


async def test_an_upload_that_was_given_up_is_not_committed_any_more(ready: Catalog) -> None:
    upload, wanted = await begin(ready, "/d/f", "a")
    await ready.uploads.abort(OPERATOR, upload.id)
    entry = await write(ready, "/d/f", "b")
    with pytest.raises(NotFoundError, match="has ended"):
        await ready.uploads.commit(OPERATOR, upload.id, [extent(wanted[0])], receipts(upload), 10)
    assert await ready.names.stat(OPERATOR, p("/d/f")) == entry


async def test_what_was_not_begun_when_its_caller_went_is_never_done(
    ready: Catalog, engines: Engines
) -> None:
    """So a call whose deadline passes while it waits changes nothing later."""
    entry = await write(ready, "/d/f", "a")
    path = p("/d/f")
    async with engines.held_up(ready) as ask:
        for change in (
            ready.names.remove(OPERATOR, path, recursive=False, condition=ANY),
            ready.names.make_link(OPERATOR, p("/d/link"), b"f", Attributes(), ANY),
            ready.names.set_attributes(OPERATOR, path, modified_ns=1, mode=0o600, condition=ANY),
            ready.names.move(OPERATOR, path, p("/d/g"), condition=ANY),
        ):
            await hang_up(await ask(change))
        later = await ask(ready.names.make_directory(OPERATOR, p("/d/z"), parents=False))
    await later  # what waited before it has had its turn
    assert await names(ready, "/d") == ["/d/f", "/d/z"]
    assert await ready.names.stat(OPERATOR, path) == entry
