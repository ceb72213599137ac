import asyncio

import pytest

from collective.catalog.interface import Catalog
from collective.core.errors import ConflictError, NotFoundError, PermissionDeniedError, UsageError
from collective.model.entries import EntryKind
from collective.model.writing import Precondition, Removed
from tests.contract.catalog.engines import Bound, Engines, KilledError
from tests.contract.catalog.world import ANY, NODES, OPERATOR, enrol, grant, names, p, user, write


async def test_a_folder_at_the_top_is_a_datastore_and_names_stay_as_given(
    catalog: Catalog,
) -> None:
    made = await catalog.names.make_directory(OPERATOR, p("/Media"), parents=False)
    assert made.kind is EntryKind.DATASTORE
    decomposed, composed = "/Media/e\u0301", "/Media/\u00e9"
    await catalog.names.make_directory(OPERATOR, p(decomposed), parents=False)
    await catalog.names.make_directory(OPERATOR, p(composed), parents=False)
    await catalog.names.make_directory(OPERATOR, p("/Media/\U0001f600"), parents=False)
    assert await names(catalog, "/Media") == [decomposed, composed, "/Media/\U0001f600"]


async def test_a_missing_parent_says_which_mkdir_to_run(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match=r"Parent directory does not exist.*mkdir -p /a/b"):
        await catalog.names.make_directory(OPERATOR, p("/a/b/c"), parents=False)
    await catalog.names.make_directory(OPERATOR, p("/a/b/c"), parents=True)
    await catalog.names.make_directory(OPERATOR, p("/a/b/c"), parents=True)
    with pytest.raises(ConflictError):
        await catalog.names.make_directory(OPERATOR, p("/a/b/c"), parents=False)


async def test_listing_pages_in_order_of_path(catalog: Catalog) -> None:
    for path in ["/a", "/a/b", "/a/b/c", "/a/b-c", "/a/z", "/b", "/b/x"]:
        await catalog.names.make_directory(OPERATOR, p(path), parents=False)
    expected = ["/a", "/a/b", "/a/b/c", "/a/b-c", "/a/z", "/b", "/b/x"]
    assert await names(catalog, "/", deep=True) == expected
    assert await names(catalog, "/") == ["/a", "/b"]
    assert await names(catalog, "/a", deep=True) == expected[1:5]


async def test_outside_grants_absence_and_presence_look_the_same(catalog: Catalog) -> None:
    await catalog.names.make_directory(OPERATOR, p("/secret"), parents=False)
    bob = user("bob")
    said = set()
    for path in ["/secret", "/nothing"]:
        with pytest.raises(PermissionDeniedError) as caught:
            await catalog.names.stat(bob, p(path))
        said.add(caught.value.message.replace(path, "PATH"))
    assert len(said) == 1
    await grant(catalog, bob, "/other", 1)
    with pytest.raises(NotFoundError):
        await catalog.names.stat(bob, p("/other/absent"))


async def test_folders_above_a_grant_show_only_the_way(catalog: Catalog) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/a/way/deep"), parents=True)
    await catalog.names.make_directory(OPERATOR, p("/a/hidden"), parents=True)
    await write(catalog, "/a/way/deep/file", "x")
    bob = user("bob")
    await grant(catalog, bob, "/a/way/deep", 1)
    assert await names(catalog, "/", bob) == ["/a"]
    assert await names(catalog, "/a", bob) == ["/a/way"]
    assert await names(catalog, "/", bob, deep=True) == [
        "/a", "/a/way", "/a/way/deep", "/a/way/deep/file",
    ]  # fmt: skip
    with pytest.raises(PermissionDeniedError):
        await catalog.names.list(bob, p("/a/hidden"), recursive=False, page_size=0, token="")


async def test_write_alone_reveals_only_existence_and_kind(catalog: Catalog) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/in"), parents=False)
    await write(catalog, "/in/file", "x")
    bob = user("bob")
    await grant(catalog, bob, "/in", 2)
    entry = await catalog.names.stat(bob, p("/in/file"))
    assert (entry.kind, entry.size_bytes, entry.version) == (EntryKind.FILE, 0, 0)
    with pytest.raises(PermissionDeniedError):
        await catalog.names.list(bob, p("/in"), recursive=False, page_size=0, token="")
    with pytest.raises(PermissionDeniedError):
        await catalog.reads.open(bob, p("/in/file"), offset=0, length=0, if_version=0, batch=0)


async def test_remove_needs_empty_or_recursive_and_meets_preconditions(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d/e"), parents=True)
    entry = await write(catalog, "/d/e/f", "x")
    with pytest.raises(ConflictError, match="not empty"):
        await catalog.names.remove(OPERATOR, p("/d"), recursive=False, condition=ANY)
    wrong = Precondition(if_version=entry.version + 1)
    with pytest.raises(ConflictError, match="has version"):
        await catalog.names.remove(OPERATOR, p("/d/e/f"), recursive=False, condition=wrong)
    assert await catalog.names.remove(OPERATOR, p("/d"), recursive=True, condition=ANY) == Removed(
        3, is_all=True
    )
    assert (await catalog.figures.totals(None, frozenset())).files == 0
    with pytest.raises(NotFoundError):
        await catalog.names.stat(OPERATOR, p("/d"))


async def test_a_tree_larger_than_one_transaction_is_removed_whole(
    catalog: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.REMOVED_NAMES, 7)
    for outer in range(4):
        for inner in range(5):
            await catalog.names.make_directory(OPERATOR, p(f"/t/{outer}/{inner}"), parents=True)
    assert await catalog.names.remove(OPERATOR, p("/t"), recursive=True, condition=ANY) == Removed(
        25, is_all=True
    )
    assert await names(catalog, "/") == []


async def test_a_tree_that_goes_in_steps_leaves_one_row_in_the_audit(
    catalog: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.REMOVED_NAMES, 15)
    for number in range(40):
        await catalog.names.make_directory(OPERATOR, p(f"/d/{number:02}"), parents=True)
    await catalog.names.remove(OPERATOR, p("/d"), recursive=True, condition=ANY)
    rows = await catalog.audit.list(since_ms=0, limit=1000)
    told = [(row.target, row.detail) for row in rows if row.action == "remove"]
    assert told == [("/d", "41 entries")]


async def test_a_removal_ends_with_its_budget_and_leaves_a_smaller_tree(
    catalog: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.REMOVED_NAMES, 15)
    for number in range(40):
        await catalog.names.make_directory(OPERATOR, p(f"/d/{number:02}"), parents=True)
    steps: list[Removed] = []
    while not steps or not steps[-1].is_all:
        assert len(await names(catalog, "/d")) == 40 - sum(one.names for one in steps)
        steps.append(
            await catalog.names.remove(
                OPERATOR, p("/d"), recursive=True, condition=ANY, budget_s=0.0
            )
        )
    assert [one.names for one in steps] == [15, 15, 11]
    assert await names(catalog, "/") == []


async def test_what_a_killed_removal_has_taken_away_is_in_the_audit(
    catalog: Catalog, engines: Engines
) -> None:
    engines.bound(Bound.REMOVED_NAMES, 15)
    for number in range(40):
        await catalog.names.make_directory(OPERATOR, p(f"/d/{number:02}"), parents=True)

    async def killed(number: int) -> None:
        if number > 2:
            raise KilledError

    with engines.between(catalog, killed), pytest.raises(KilledError):
        await catalog.names.remove(OPERATOR, p("/d"), recursive=True, condition=ANY)
    rows = await catalog.audit.list(since_ms=0, limit=1000)
    assert [row.detail for row in rows if row.action == "remove"] == ["30 entries"]


async def test_move_carries_a_tree_replaces_a_file_and_refuses_loops(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d/e"), parents=True)
    await write(catalog, "/d/e/f", "x")
    await write(catalog, "/d/g", "y")
    await catalog.names.move(OPERATOR, p("/d/e"), p("/d/h"), condition=ANY)
    assert await names(catalog, "/d", deep=True) == ["/d/g", "/d/h", "/d/h/f"]
    await catalog.names.move(OPERATOR, p("/d/h/f"), p("/d/g"), condition=ANY)
    assert (await catalog.figures.totals(None, frozenset())).files == 1
    with pytest.raises(ConflictError):
        await catalog.names.move(OPERATOR, p("/d"), p("/d/h/d"), condition=ANY)
    with pytest.raises(ConflictError):
        await catalog.names.move(OPERATOR, p("/d/g"), p("/d/h"), condition=ANY)
    with pytest.raises(ConflictError):
        await catalog.names.move(OPERATOR, p("/d/g"), p("/g"), condition=ANY)


async def test_a_move_that_lets_others_in_needs_share(catalog: Catalog) -> None:
    for path in ["/mine/x", "/public"]:
        await catalog.names.make_directory(OPERATOR, p(path), parents=True)
    alice, bob = user("alice"), user("bob")
    await grant(catalog, alice, "/mine", 3)
    await grant(catalog, alice, "/public", 3)
    await catalog.names.move(alice, p("/mine/x"), p("/public/x"), condition=ANY)
    await catalog.names.move(alice, p("/public/x"), p("/mine/x"), condition=ANY)
    await grant(catalog, bob, "/public", 1)
    with pytest.raises(PermissionDeniedError, match="share"):
        await catalog.names.move(alice, p("/mine/x"), p("/public/x"), condition=ANY)
    await grant(catalog, alice, "/mine", 4)
    await catalog.names.move(alice, p("/mine/x"), p("/public/x"), condition=ANY)


async def test_ten_thousand_names_come_page_by_page_each_once(catalog: Catalog) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/big"), parents=False)
    async with asyncio.TaskGroup() as making:
        for number in range(10_000):
            making.create_task(
                catalog.names.make_directory(OPERATOR, p(f"/big/{number:05d}"), parents=False)
            )
    for recursive in (False, True):
        names: list[str] = []
        token = ""
        while True:
            page = await catalog.names.list(
                OPERATOR, p("/big"), recursive=recursive, page_size=0, token=token
            )
            names += [entry.path.name for entry in page.entries]
            token = page.next_token
            if not token:
                break
        assert names == [f"{number:05d}" for number in range(10_000)]


async def test_no_move_makes_a_path_that_nobody_could_write(catalog: Catalog) -> None:
    deep = "/a/" + "/".join("d" * 100 for _ in range(30))
    await catalog.names.make_directory(OPERATOR, p(deep), parents=True)
    wide = "/b/" + "/".join("w" * 200 for _ in range(6))
    await catalog.names.make_directory(OPERATOR, p(wide), parents=True)
    with pytest.raises(UsageError, match="too long or too deep"):
        await catalog.names.move(OPERATOR, p("/a"), p(wide + "/a"), condition=ANY)
    many = "/c" + "/x" * 126
    await catalog.names.make_directory(OPERATOR, p(many), parents=True)
    with pytest.raises(UsageError, match="too long or too deep"):
        await catalog.names.move(OPERATOR, p("/c/x"), p(wide + "/x"), condition=ANY)
    await catalog.names.move(OPERATOR, p("/a"), p("/moved"), condition=ANY)
    assert (await catalog.names.stat(OPERATOR, p(deep.replace("/a/", "/moved/", 1)))).kind


async def test_a_name_that_comes_while_its_tree_is_moved_makes_no_path_that_nobody_could_write(
    catalog: Catalog, engines: Engines
) -> None:
    """Whenever it comes: one tree is moved for each point, until the move is over before."""
    engines.bound(Bound.MEASURED_NAMES, 1)
    deep = "/".join("d" * 100 for _ in range(30))
    wide = "/b/" + "/".join("w" * 200 for _ in range(6))
    await catalog.names.make_directory(OPERATOR, p(wide), parents=True)
    outcomes: list[str] = []
    while not outcomes or outcomes[-1] != "over before":
        top, at, has_come = f"/t{len(outcomes)}", len(outcomes) + 1, False
        for path in (f"{top}/{deep}", f"{top}/aaa", f"{top}/near", f"{top}/zzz"):
            await catalog.names.make_directory(OPERATOR, p(path), parents=True)
        await catalog.names.remove(OPERATOR, p(f"{top}/{'d' * 100}"), recursive=True, condition=ANY)

        async def comes(number: int, at: int = at, top: str = top) -> None:
            nonlocal has_come
            if number == at:
                has_come = True
                await catalog.names.make_directory(OPERATOR, p(f"{top}/aaa/{deep}"), parents=True)

        with engines.between(catalog, comes):
            try:
                await catalog.names.move(OPERATOR, p(top), p(wide + top), condition=ANY)
            except UsageError:
                outcomes.append("refused")
                continue
        outcomes.append("came too late" if has_come else "over before")
        assert await names(catalog, f"{wide}{top}/aaa") == []
    assert outcomes.count("refused") > 3
    assert len(outcomes) - outcomes.count("refused") <= 2, outcomes


async def test_a_peer_that_is_none_is_refused_to_strangers_and_absent_for_others(
    catalog: Catalog,
) -> None:
    with pytest.raises(PermissionDeniedError):
        await catalog.names.stat(user("bob"), p("/@garage.bob/x"))
    with pytest.raises(NotFoundError, match="no peer"):
        await catalog.names.stat(OPERATOR, p("/@garage.bob/x"))


async def test_a_caller_is_told_of_the_files_that_its_grants_show_each_once(
    catalog: Catalog,
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/d/e"), parents=True)
    for path, texts in (("/d/f", "a"), ("/d/e/f", "bc"), ("/d/e/g", "d")):
        await write(catalog, path, *texts)
    bob = user("bob")

    async def told() -> tuple[int, int]:
        totals = await catalog.figures.totals(bob, frozenset(NODES))
        return totals.files, totals.file_bytes

    assert await told() == (0, 0)
    await grant(catalog, bob, "/d/f", 1)
    await grant(catalog, bob, "/d/absent", 1)
    await grant(catalog, bob, "/d/e", 2)
    assert await told() == (1, 10)
    await grant(catalog, bob, "/d/e/f", 1)
    assert await told() == (2, 30)
    await grant(catalog, bob, "/d/e", 1)
    assert await told() == (3, 40)
    await grant(catalog, bob, "/", 1)
    assert await told() == (3, 40)
