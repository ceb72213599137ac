"""Trees that change while they are read, and places that change while they are written to."""

from __future__ import annotations

import os
import random
import shutil
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.trees.home import Home
from tests.trees.machine import NOBODY, Names, Seen, snapshot
from tests.trees.mover import EXAMPLES, Mover, workplace
from tests.trees.things import TREES, Folder, make, tidy

Shown = tuple[int, bytes, bytes]
"""What a leaf is at one moment: kind, content, target."""


class Meddler:
    """Somebody who changes a tree between any two steps of whoever reads it."""

    def __init__(self, root: Path, probe: Path, chance: random.Random) -> None:
        """Change what is below ``root``; ``probe`` is a file that tells the file system's time."""
        self.root, self.probe, self.chance = root, probe, chance
        self.touched: set[Names] = set()
        self.shown: dict[Names, set[Shown]] = {}
        self.acts = 0
        self.look()

    def look(self) -> None:
        """Note what every leaf is now."""
        for names, one in snapshot(self.root).items():
            self.shown.setdefault(names, set()).add((one.kind, one.content, one.target))

    def __call__(self) -> None:
        """Have a turn, perhaps."""
        if self.acts >= 12 or self.chance.random() > 0.35:
            return
        found = [names for names in snapshot(self.root) if names]
        if not found:
            return
        self.acts += 1
        self._until_time_has_passed()
        names = self.chance.choice(found)
        self.touched.add(names)
        path = self.root.joinpath(*names)
        act = self.chance.choice(
            (self._write, self._cut, self._replace, self._remove, self._as_link, self._as_folder)
        )
        act(path)
        self.look()

    def _until_time_has_passed(self) -> None:
        """Wait until the file system's clock has moved on: what is done in one tick looks the same."""
        self.probe.write_bytes(b"")
        before = self.probe.stat().st_ctime_ns
        while self.probe.stat().st_ctime_ns == before:
            self.probe.write_bytes(b"")

    def _write(self, path: Path) -> None:
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            with path.open("r+b") as file:
                file.write(self.chance.randbytes(max(1, min(status.st_size, 20_000))))
            os.utime(path, ns=(0, status.st_mtime_ns))

    def _cut(self, path: Path) -> None:
        if path.is_file() and not path.is_symlink():
            os.truncate(path, path.stat().st_size // 2)

    def _replace(self, path: Path) -> None:
        if not path.is_dir() or path.is_symlink():
            new = self.probe.with_name("new")
            new.write_bytes(self.chance.randbytes(self.chance.randrange(20_000)))
            new.rename(path)

    def _remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _as_link(self, path: Path) -> None:
        self._remove(path)
        path.symlink_to(self.chance.choice(("a", "/etc/passwd", "..")))

    def _as_folder(self, path: Path) -> None:
        self._remove(path)
        path.mkdir()
        (path / "inside").write_bytes(b"new")


@EXAMPLES
@given(tree=TREES, seed=st.integers(0, 1 << 32))
def test_what_comes_to_the_member_was_there_at_some_moment_or_is_named(
    home: Home, desk: Path, tree: Folder, seed: int
) -> None:
    plain = tidy(tree)
    assert plain is not None
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        with NOBODY.acting():
            make(str(mover.source), plain)
            meddler = Meddler(mover.source, folder / "probe", random.Random(seed))
            before = snapshot(mover.source)
        done = mover.put(before=meddler)
        named = mover.named(done)
        mover.get("there")
        there = snapshot(folder / "there")
        for names, one in there.items():
            shown = (one.kind, one.content, one.target)
            assert shown in meddler.shown[names], names
        for names, one in before.items():
            if not is_below(names, meddler.touched) and not is_below(names, named):
                assert like(there[names]) == like(one)
        # When it has come to rest, the next run brings all of it.
        mover.path = home.fresh_path()
        assert mover.put().left_out == []
        mover.get("rest")
        assert snapshot(folder / "rest") == snapshot(mover.source)


def is_below(names: Names, tops: set[Names]) -> bool:
    return any(names[: len(top)] == top for top in tops)


def like(one: Seen) -> tuple[object, ...]:
    """Return what does not change with a directory's children."""
    if one.kind == stat.S_IFDIR:
        return (one.kind, one.mode)
    return (one.kind, one.mode, one.modified_ns, one.content, one.target, one.holes)


class Intruder:
    """Somebody who exchanges things in the target of a download for ways out of it."""

    def __init__(self, target: Path, outside: Path, chance: random.Random) -> None:
        self.target, self.outside, self.chance = target, outside, chance

    def __call__(self) -> None:
        if not self.target.is_dir() or self.chance.random() > 0.5:
            return
        found = [names for names in snapshot(self.target) if names]
        path = self.target.joinpath(*self.chance.choice(found)) if found else self.target / "a"
        if path.is_dir() and not path.is_symlink():
            path.rename(self.outside.with_name(f"away-{self.chance.randrange(1 << 60)}"))
        elif os.path.lexists(path):
            path.unlink()
        kind = self.chance.randrange(4)
        if kind == 0:
            os.mkfifo(path)
        else:
            path.symlink_to(self.chance.choice((self.outside, self.outside / "precious", "..")))


@EXAMPLES
@given(tree=TREES, seed=st.integers(0, 1 << 32))
def test_nothing_is_written_outside_of_the_target_whatever_is_put_in_the_way(
    home: Home, desk: Path, tree: Folder, seed: int
) -> None:
    plain = tidy(tree)
    assert plain is not None
    with workplace(desk) as folder:
        mover = Mover(home, folder)
        outside = folder / "outside"
        with NOBODY.acting():
            make(str(mover.source), plain)
            outside.mkdir()
            (outside / "precious").write_bytes(b"precious")
            (outside / "a").write_bytes(b"as precious")
            (outside / "b").mkdir()
        mover.put()
        before = snapshot(outside)
        with NOBODY.acting():
            (folder / "back").mkdir()
        mover.get("back", before=Intruder(folder / "back", outside, random.Random(seed)))
        assert snapshot(outside) == before
        mover.get("back")
        assert snapshot(outside) == before
