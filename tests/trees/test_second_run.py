"""A second run carries what changed and nothing else, whatever changed."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.client.disk.nofollow_tree import LocalTree
from collective.client.trees.result import TreeResult
from tests.trees.home import Home
from tests.trees.machine import NOBODY, Names, Seen, snapshot
from tests.trees.mover import EXAMPLES, Mover, workplace
from tests.trees.things import TREES, Folder, make, tidy

Edit = Callable[[Path, random.Random], None]


# --- what happens to trees --------------------------------------------------------------------------


def things(root: Path, *kinds: int) -> list[Path]:
    found = [
        root.joinpath(*names)
        for names, one in snapshot(root).items()
        if names and one.kind in kinds
    ]
    return sorted(found)


def one_of(root: Path, chance: random.Random, *kinds: int) -> Path | None:
    found = things(root, *kinds)
    return chance.choice(found) if found else None


def change_mode(root: Path, chance: random.Random) -> None:
    path = one_of(root, chance, stat.S_IFREG, stat.S_IFDIR)
    if path is not None:
        path.chmod(chance.randrange(0o1000) | 0o700)


def change_time(root: Path, chance: random.Random) -> None:
    path = one_of(root, chance, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    if path is not None:
        os.utime(path, ns=(0, chance.randrange(-(10**18), 10**18)), follow_symlinks=False)


def rewrite_in_place(root: Path, chance: random.Random) -> None:
    """Other content of the same size, in the same inode, with its time put back."""
    path = one_of(root, chance, stat.S_IFREG)
    if path is not None and (status := path.stat()).st_size:
        with path.open("r+b") as file:
            file.write(chance.randbytes(min(status.st_size, 100)))
        os.utime(path, ns=(0, status.st_mtime_ns))


def replace_by_its_like(root: Path, chance: random.Random) -> None:
    """Another file of the same size, time and mode."""
    path = one_of(root, chance, stat.S_IFREG)
    if path is not None and (status := path.stat()).st_size:
        new = path.with_name(f"{path.name[:50]}~")
        if not os.path.lexists(new):
            new.write_bytes(chance.randbytes(status.st_size))
            os.chmod(new, stat.S_IMODE(status.st_mode))
            os.utime(new, ns=(0, status.st_mtime_ns))
            new.rename(path)


def lengthen(root: Path, chance: random.Random) -> None:
    path = one_of(root, chance, stat.S_IFREG)
    if path is not None:
        with path.open("ab") as file:
            file.write(chance.randbytes(chance.randrange(1, 9000)))


def punch(root: Path, chance: random.Random) -> None:
    """The same bytes, with zeros at the end as a hole."""
    path = one_of(root, chance, stat.S_IFREG)
    if path is not None:
        with path.open("r+b") as file:
            file.write(b"head")
            file.truncate(4)
            file.truncate(chance.choice((40960, 8192)))


def retarget(root: Path, chance: random.Random) -> None:
    path = one_of(root, chance, stat.S_IFLNK)
    if path is not None:
        path.unlink()
        path.symlink_to(str(chance.randrange(100)))


def add(root: Path, chance: random.Random) -> None:
    folder = one_of(root, chance, stat.S_IFDIR) or root
    path = folder / f"new{chance.randrange(5)}"
    if not os.path.lexists(path):
        kind = chance.randrange(3)
        if kind == 0:
            path.write_bytes(chance.randbytes(chance.randrange(9000)))
        elif kind == 1:
            path.symlink_to("a")
        else:
            path.mkdir()


def turn_into_another_leaf(root: Path, chance: random.Random) -> None:
    path = one_of(root, chance, stat.S_IFREG, stat.S_IFLNK)
    if path is not None:
        was_link = path.is_symlink()
        path.unlink()
        if was_link:
            path.write_bytes(b"was a link")
        else:
            path.symlink_to("was a file")


EDITS: tuple[Edit, ...] = (
    change_mode, change_time, rewrite_in_place, replace_by_its_like, lengthen, punch, retarget, add,
    turn_into_another_leaf,
)  # fmt: skip


# --- what a second run owes -------------------------------------------------------------------------


def owed(before: Mapping[Names, Seen], after: Mapping[Names, Seen]) -> TreeResult:
    """Return what differs between two states of a tree, counted as a run counts it."""
    result = TreeResult()
    for names, one in after.items():
        old = before.get(names)
        is_like = old is not None and (one.kind, one.content, one.target, one.holes) == (
            old.kind, old.content, old.target, old.holes,
        )  # fmt: skip
        if not is_like:
            result.files += one.kind == stat.S_IFREG
            result.links += one.kind == stat.S_IFLNK
            result.directories += one.kind == stat.S_IFDIR
            result.bytes += len(one.content)
        elif one != old:
            result.attributes += 1
        elif one.kind != stat.S_IFDIR:
            result.unchanged += 1
    return result


@EXAMPLES
@given(
    tree=TREES,
    edits=st.lists(st.sampled_from(EDITS), min_size=1, max_size=5),
    chance=st.randoms(use_true_random=False),
)
def test_a_second_run_carries_what_changed_and_nothing_else(
    home: Home, desk: Path, tree: Folder, edits: list[Edit], chance: random.Random
) -> None:
    plain = tidy(tree)
    assert plain is not None
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        with NOBODY.acting():
            make(str(mover.source), plain)
        before = snapshot(mover.source)
        mover.put()
        assert mover.get("back").left_out == []
        with NOBODY.acting():
            for edit in edits:
                edit(mover.source, chance)
        after = snapshot(mover.source)

        assert mover.put() == owed(before, after)
        assert mover.put() == owed(after, after)
        got = mover.get("back")
        assert got.left_out == []
        assert got.files <= owed(before, after).files  # what only lost a hole is the same here
        assert contents(snapshot(folder / "back")) == contents(after)
        mover.get("fresh")
        assert snapshot(folder / "fresh") == after


def contents(seen: Mapping[Names, Seen]) -> dict[Names, Seen]:
    """Return a tree without its holes."""
    return {
        names: Seen(one.kind, one.mode, one.modified_ns, one.content, one.target)
        for names, one in seen.items()
    }


def test_removed_names_stay_at_the_member(home: Home, desk: Path) -> None:
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        with NOBODY.acting():
            mover.source.mkdir()
            for name in ("a", "b"):
                (mover.source / name).write_bytes(name.encode())
            mover.put()
            (mover.source / "a").unlink()
            mover.put()
        mover.get("back")
        assert sorted(os.listdir(folder / "back")) == ["a", "b"]


@pytest.mark.parametrize("is_folder_here", [True, False])
def test_a_file_there_and_a_directory_here_is_named_and_the_rest_goes_on(
    home: Home, desk: Path, is_folder_here: bool
) -> None:
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        x = mover.source / "x"

        def as_folder() -> None:
            x.mkdir()
            (x / "below").write_bytes(b"1")

        def as_file() -> None:
            x.write_bytes(b"2")

        with NOBODY.acting():
            mover.source.mkdir()
            (as_file if is_folder_here else as_folder)()
            mover.put()
            x.rename(folder / "away")
            (as_folder if is_folder_here else as_file)()
            (mover.source / "y").write_bytes(b"3")
        done = mover.put()
        assert mover.named(done) == {("x",)}
        assert (done.files, done.bytes) == (1, 1)
        assert "at the member" in done.left_out[0].error.message
        back = folder / "back"
        with NOBODY.acting():
            back.mkdir()
            (back / "x").mkdir() if is_folder_here else (back / "x").write_bytes(b"mine")
        came = mover.get("back")
        assert [one.name for one in came.left_out] == [f"{mover.path}/x"]
        assert (back / "y").read_bytes() == b"3"


def test_files_that_notes_vouch_for_are_neither_read_nor_asked_for(
    home: Home, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        with NOBODY.acting():
            mover.source.mkdir()
            for name in "abc":
                (mover.source / name).write_bytes(name.encode())
        mover.put()
        opened: list[tuple[str, ...]] = []
        real = LocalTree.open_file

        def noted(self: LocalTree, names: tuple[str, ...]) -> int:
            opened.append(names)
            return real(self, names)

        monkeypatch.setattr(LocalTree, "open_file", noted)
        assert mover.put().unchanged == 3
        assert opened == []
        with NOBODY.acting():
            (mover.source / "b").chmod(0o600)
        assert mover.put().attributes == 1
        assert opened == [("b",)]
        assert mover.put(compares_all=True).unchanged == 3
        assert len(opened) == 4


def test_a_target_that_get_did_not_make_keeps_its_own_mode_and_time(home: Home, desk: Path) -> None:
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        with NOBODY.acting():
            mover.source.mkdir(0o777)
            mover.source.chmod(0o777)
            os.utime(mover.source, ns=(0, 5))
            mover.put()
            (folder / "mine").mkdir()
            (folder / "mine").chmod(0o711)
        mover.get("mine")
        mover.get("made")
        assert stat.S_IMODE((folder / "mine").stat().st_mode) == 0o711
        assert (folder / "mine").stat().st_mtime_ns != 5
        with NOBODY.acting():
            mover.source.chmod(0o755)
            os.utime(mover.source, ns=(0, 6))
        mover.put()
        assert mover.get("made").attributes == 1
        made = (folder / "made").stat()
        assert (stat.S_IMODE(made.st_mode), made.st_mtime_ns) == (0o755, 6)


def test_notes_that_are_lost_cost_a_comparison_and_nothing_else(home: Home, desk: Path) -> None:
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        with NOBODY.acting():
            mover.source.mkdir()
            (mover.source / "a").write_bytes(b"x" * 9000)
        mover.put()
        mover.state = str(folder / "other-state")
        assert (mover.put().files, mover.put().unchanged) == (0, 1)
        with NOBODY.acting():
            status = (mover.source / "a").stat()
            (mover.source / "a").write_bytes(b"y" * 9000)
            os.utime(mover.source / "a", ns=(0, status.st_mtime_ns))
        mover.state = str(folder / "a-third-state")
        assert mover.put().files == 1
