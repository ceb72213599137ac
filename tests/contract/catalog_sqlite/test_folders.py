"""What folders keep of what lies below them, and the moves that rely on it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from collective.catalog.decisions.names import Bounds
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.names import folders, name_removal
from collective.catalog.sqlite.store.counting import disagreements
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.errors import BusyError, CollectiveError, UsageError
from collective.core.paths import FilePath
from collective.core.randomness import SeededRandomness
from collective.model.entries import EntryKind
from collective.model.writing import Attributes
from tests.contract.catalog.engines import SqliteEngines
from tests.contract.catalog.world import ANY, OPERATOR, enrol, p, write
from tests.contract.catalog_sqlite.test_upgrade import fill, old
from tests.worlds import world_of

DEEP: Final = "/a/" + "/".join("d" * 100 for _ in range(30))
FAR: Final = "/b/" + "/".join("w" * 200 for _ in range(6))
"""``DEEP`` does not fit below it."""

# --- whatever is done ------------------------------------------------------------------------------

NUMBER: Final = st.integers(0, 40)
NAME: Final = st.sampled_from(["a", "é", "long" * 9])
TEXTS: Final = st.lists(st.sampled_from("xyz"), min_size=0, max_size=3)


class Folders(RuleBasedStateMachine):
    """One catalogue of names; what is refused is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock, self.randomness = ManualClock(), SeededRandomness(5)
        self._open()
        self.runner.run(enrol(self.catalog))
        for path in ("/a/é/a", "/é/a", "/b"):
            self.runner.run(self.catalog.names.make_directory(OPERATOR, p(path), parents=True))
        for path in ("/a/f", "/a/é/f", "/é/a/f"):
            self.runner.run(write(self.catalog, path, "x"))

    def _open(self) -> None:
        self.catalog = self.runner.run(
            SqliteCatalog.open(
                self.folder.name,
                world_of(self.clock, self.randomness),
                CatalogSettings(),
                synchronous="OFF",
            )
        )

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        with suppress(CollectiveError):
            self.runner.run(work)

    def entry(self, number: int, kind: EntryKind | None = None) -> FilePath:
        """Return one of the paths that there are (folders: those that are no file), or ``/a``."""
        page = self.runner.run(
            self.catalog.names.list(OPERATOR, FilePath(), recursive=True, page_size=0, token="")
        )
        there = [one.path for one in page.entries if kind is None or one.kind is not kind]
        return there[number % len(there)] if there else p("/a")

    @rule(number=NUMBER, names=st.lists(NAME, min_size=1, max_size=3))
    def make(self, number: int, names: list[str]) -> None:
        path = FilePath((*self.entry(number, EntryKind.FILE).names, *names))
        self.do(self.catalog.names.make_directory(OPERATOR, path, parents=True))

    @rule(name=NAME)
    def make_datastore(self, name: str) -> None:
        self.do(self.catalog.names.make_directory(OPERATOR, FilePath((name,)), parents=False))

    @rule(number=NUMBER, name=st.sampled_from(["f", "g"]), texts=TEXTS)
    def write(self, number: int, name: str, texts: list[str]) -> None:
        """A new file, or the next version of one."""
        path = self.entry(number, EntryKind.FILE).child(name)
        self.do(write(self.catalog, str(path), *texts))

    @rule(number=NUMBER, name=st.sampled_from(["f", "l"]), to=st.binary(min_size=1))
    def link(self, number: int, name: str, to: bytes) -> None:
        path = self.entry(number, EntryKind.FILE).child(name)
        self.do(self.catalog.names.make_link(OPERATOR, path, to, Attributes(), ANY))

    @rule(number=NUMBER, to=NUMBER, name=NAME | st.just("f"))
    def move(self, number: int, to: int, name: str) -> None:
        target = self.entry(to, EntryKind.FILE).child(name)
        self.do(self.catalog.names.move(OPERATOR, self.entry(number), target, condition=ANY))

    @rule(number=NUMBER, name=NAME)
    def move_to_the_top(self, number: int, name: str) -> None:
        target = FilePath((name,))
        self.do(self.catalog.names.move(OPERATOR, self.entry(number), target, condition=ANY))

    @rule(number=NUMBER, recursive=st.booleans())
    def remove(self, number: int, recursive: bool) -> None:
        path = self.entry(number)
        self.do(self.catalog.names.remove(OPERATOR, path, recursive=recursive, condition=ANY))

    @rule(number=NUMBER)
    def remove_in_part(self, number: int) -> None:
        """The process is killed after the first step."""
        path = self.entry(number)

        async def cut_off() -> None:
            with mock.patch.object(name_removal, "STEP_NAMES", 2):
                task = asyncio.ensure_future(
                    self.catalog.names.remove(OPERATOR, path, recursive=True, condition=ANY)
                )
                await asyncio.sleep(0)
                await self.catalog.upkeep.prove()
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await self.catalog.upkeep.prove()

        self.do(cut_off())

    @rule(quota=st.sampled_from([0, 5000]), name=st.sampled_from(["a", "b"]))
    def limit(self, quota: int, name: str) -> None:
        self.do(self.catalog.datastores.set(OPERATOR, FilePath((name,)), quota_bytes=quota))

    @rule()
    def restart(self) -> None:
        self.runner.run(self.catalog.close())
        self._open()

    @invariant()
    def folders_say_what_lies_below_them(self) -> None:
        assert self.runner.run(self.catalog._engine.read(disagreements)) == []

    def teardown(self) -> None:
        self.runner.run(self.catalog.close())
        self.runner.close()
        self.folder.cleanup()


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(25, 30), pytest.param(1500, 80, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
    ids=["", "at_length_hostile"],
)
def test_folders_agree_with_their_names_whatever_is_done(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Folders,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_bounds_grow_by_a_name() -> None:
    assert Bounds().under("é") == Bounds(1, 2)
    assert Bounds(1, 2).under("abc") == Bounds(2, 6)


async def test_a_chain_of_folders_counts_as_if_each_had_been_made_by_itself(
    catalog: SqliteCatalog,
) -> None:
    await catalog.names.make_directory(OPERATOR, p("/x/é/abc/d"), parents=True)
    for path in ("/y", "/y/é", "/y/é/abc", "/y/é/abc/d"):
        await catalog.names.make_directory(OPERATOR, p(path), parents=False)
    found = await catalog._engine.read(
        lambda db: db.execute(
            "SELECT names, files, bytes, overhead, depth, reach, added FROM folders WHERE entry > 1"
            " ORDER BY entry"
        ).fetchall()
    )
    assert found[0] == (3, 0, 0, 3072, 3, 8, 3)
    assert found[:4] == found[4:]


# --- how far a tree reaches ------------------------------------------------------------------------


@pytest.fixture
async def deep(catalog: SqliteCatalog) -> SqliteCatalog:
    for path in (DEEP, FAR, "/a/near"):
        await catalog.names.make_directory(OPERATOR, p(path), parents=True)
    return catalog


async def test_what_was_removed_does_not_keep_a_tree_from_moving(
    deep: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "PAGE_NAMES", 1)
    with pytest.raises(UsageError, match="too long or too deep"):
        await deep.names.move(OPERATOR, p("/a"), p(f"{FAR}/a"), condition=ANY)
    top = DEEP[: len("/a/") + 100]
    await deep.names.remove(OPERATOR, p(top), recursive=True, condition=ANY)
    await deep.names.move(OPERATOR, p("/a"), p(f"{FAR}/a"), condition=ANY)
    assert (await deep.names.stat(OPERATOR, p(f"{FAR}/a/near"))).kind
    kept = await deep._engine.read(
        lambda db: db.execute(
            "SELECT depth, reach FROM folders JOIN entries ON id = entry WHERE name = 'a'"
        ).fetchone()
    )
    assert kept == (1, len("near")), "what was measured is kept"


async def add_while_measured(
    catalog: SqliteCatalog, monkeypatch: pytest.MonkeyPatch, *adds: Callable[[], Awaitable[object]]
) -> None:
    """Have each measure interrupted, after its first page, by the next of ``adds``."""
    monkeypatch.setattr(folders, "PAGE_NAMES", 1)
    waiting = list(adds)
    engine, read = catalog._engine, catalog._engine.read
    pages = 0

    async def between(function: Any) -> Any:
        nonlocal pages
        answer = await read(function)
        is_page = getattr(function, "func", None) is folders._measure_page
        pages = pages + 1 if is_page else 0
        if pages == 1 and waiting:
            await waiting.pop(0)()
        return answer

    monkeypatch.setattr(engine, "read", between)


async def test_a_name_that_is_added_while_a_tree_is_measured_counts(
    deep: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is added behind where the measuring has come to; without it the tree would fit."""
    await deep.names.remove(OPERATOR, p(DEEP[:103]), recursive=True, condition=ANY)
    long = "/a/aaa/" + "/".join("x" * 100 for _ in range(30))
    await deep.names.make_directory(OPERATOR, p("/a/aaa"), parents=False)
    await deep.names.make_directory(OPERATOR, p("/a/zzz"), parents=False)
    await add_while_measured(
        deep, monkeypatch, lambda: deep.names.make_directory(OPERATOR, p(long), parents=True)
    )
    with pytest.raises(UsageError, match="too long or too deep"):
        await deep.names.move(OPERATOR, p("/a"), p(f"{FAR}/a"), condition=ANY)


async def test_a_tree_in_which_names_are_renamed_is_measured_again(
    deep: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deep.names.remove(OPERATOR, p(DEEP[:103]), recursive=True, condition=ANY)
    low = "/a/m/" + "/".join("x" * 100 for _ in range(28))
    await deep.names.make_directory(OPERATOR, p(low), parents=True)
    await deep.names.move(OPERATOR, p("/a/m"), p("/a/z"), condition=ANY)
    longer = "/a/" + "z" * 250

    await add_while_measured(
        deep,
        monkeypatch,
        lambda: deep.names.move(OPERATOR, p("/a/near"), p("/a/nearer"), condition=ANY),
        lambda: deep.names.move(OPERATOR, p("/a/z"), p(longer), condition=ANY),
    )
    with pytest.raises(UsageError, match="too long or too deep"):
        await deep.names.move(OPERATOR, p("/a"), p(f"{FAR}/a"), condition=ANY)


async def test_a_tree_to_which_names_come_all_the_time_is_not_moved_for_now(
    deep: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deep.names.remove(OPERATOR, p(DEEP[:103]), recursive=True, condition=ANY)
    adds = [
        lambda n=n: deep.names.make_directory(OPERATOR, p(f"/a/n{n}"), parents=False)
        for n in range(9)
    ]
    await add_while_measured(deep, monkeypatch, *adds)
    with pytest.raises(BusyError):
        await deep.names.move(OPERATOR, p("/a"), p(f"{FAR}/a"), condition=ANY)


async def test_a_tree_that_vanishes_while_it_is_measured_is_absent(
    deep: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deep.names.remove(OPERATOR, p(DEEP[:103]), recursive=True, condition=ANY)
    await add_while_measured(
        deep,
        monkeypatch,
        lambda: deep.names.remove(OPERATOR, p("/a"), recursive=True, condition=ANY),
    )
    with pytest.raises(CollectiveError, match="does not exist"):
        await deep.names.move(OPERATOR, p("/a"), p(f"{FAR}/a"), condition=ANY)


# --- upgrade ---------------------------------------------------------------------------------------


async def test_an_upgrade_counts_what_lies_below_each_folder(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    with old(tmp_path, 16) as db:
        fill(db)
        db.execute("INSERT INTO entries VALUES (90, 1, 'empty', 2, NULL, 0)")
        db.execute("INSERT INTO datastores VALUES (90, NULL, NULL, 0, 9, 0, 0)")
        db.execute("INSERT INTO entries VALUES (91, 2, 'é', 1, NULL, 0)")
        db.execute("INSERT INTO entries VALUES (92, 91, 'sub', 1, NULL, 0)")
    catalog = await engines.open()
    known = {str(one.path): one for one in await catalog.datastores.list(OPERATOR)}
    assert (known["/d"].used_bytes, known["/d"].files) == (20, 1)
    assert known["/d"].catalog_bytes == 3 * 1024 + 2 * 512 + 2
    assert (known["/empty"].used_bytes, known["/empty"].catalog_bytes) == (0, 0)
    root = await catalog._engine.read(
        lambda db: db.execute(
            "SELECT names, files, depth, reach FROM folders WHERE entry = 1"
        ).fetchone()
    )
    assert root == (5, 1, 3, len("d/é/sub".encode()))


# --- limits ----------------------------------------------------------------------------------------


async def test_a_path_of_as_many_levels_as_there_may_be_is_made_at_once(
    catalog: SqliteCatalog,
) -> None:
    deepest = p("/" + "/".join(["x"] * limits.PATH_MAX_DEPTH))
    assert (await catalog.names.make_directory(OPERATOR, deepest, parents=True)).path == deepest
    found = await catalog._engine.read(
        lambda db: db.execute("SELECT names, depth FROM folders WHERE entry = 1").fetchone()
    )
    assert found == (limits.PATH_MAX_DEPTH, limits.PATH_MAX_DEPTH)
