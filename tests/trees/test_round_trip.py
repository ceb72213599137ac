"""A tree put and got back is the same tree, and doing it again carries nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collective.client.trees.result import TreeResult
from tests.trees.home import Home
from tests.trees.machine import NOBODY, Names, snapshot
from tests.trees.mover import EXAMPLES, Mover, workplace
from tests.trees.things import (
    SET_ID,
    TREES,
    Folder,
    Thing,
    expected,
    files_of,
    make,
    without_set_id,
)


@EXAMPLES
@given(tree=TREES, keeps_set_id=st.booleans())
def test_a_tree_put_and_got_back_is_the_same_tree(
    home: Home, desk: Path, tree: Folder, keeps_set_id: bool
) -> None:
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        with NOBODY.acting():
            make(str(mover.source), tree)
        told = expected(tree)
        done = mover.put()
        assert mover.named(done) == told.left_out
        came = mover.get("back", keeps_set_id=keeps_set_id)
        here = {names: one for names, one in snapshot(mover.source).items() if names in told.kept}
        there = snapshot(folder / "back")
        assert there == (here if keeps_set_id else without_set_id(here))
        ids = {names for names, file in files_of(told.kept) if file.mode & SET_ID}
        assert len(came.left_out) == (0 if keeps_set_id else len(ids))

        assert_nothing_was_carried(mover.put(), told.kept)
        assert_nothing_was_carried(mover.put(compares_all=True), told.kept)
        assert_nothing_was_carried(mover.get("back", keeps_set_id=keeps_set_id), told.kept)
        assert snapshot(folder / "back") == there


def assert_nothing_was_carried(result: TreeResult, kept: Mapping[Names, Thing]) -> None:
    leaves = sum(not isinstance(thing, Folder) for thing in kept.values())
    assert (result.files, result.links, result.directories, result.attributes, result.bytes) == (
        0, 0, 0, 0, 0,
    )  # fmt: skip
    assert result.unchanged == leaves
