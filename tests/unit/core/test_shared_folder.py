"""A folder with a hostile writer: nothing is followed, waited for, or read beyond the bound."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from collective.core.shared_folder import OsSharedFolder, SharedFolder, UnfitFileError

MOST = 64 * 1024
SECRET = b"what only this process may read"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shared" / "home.bob").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "bundle.json").write_bytes(SECRET)
    return tmp_path / "shared"


@pytest.fixture
def folder(root: Path) -> SharedFolder:
    return OsSharedFolder(str(root))


def place_link(path: Path) -> None:
    path.symlink_to(path.parents[2] / "elsewhere" / "bundle.json")


def place_hard_link(path: Path) -> None:
    os.link(path.parents[2] / "elsewhere" / "bundle.json", path)


def place_pipe(path: Path) -> None:
    os.mkfifo(path)


def place_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_PATH)  # a path of a socket must be short
        made.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def place_folder(path: Path) -> None:
    path.mkdir()


def place_large(path: Path) -> None:
    path.write_bytes(bytes(MOST + 1))


def place_endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        (place_link, "symbolic link"),
        (place_hard_link, "second name"),
        (place_pipe, "no plain file"),
        (place_socket, "no plain file"),
        (place_folder, "no plain file"),
        (place_large, "larger than 64 KiB"),
        (place_endless, "larger than 64 KiB"),
    ],
)
def test_what_is_no_plain_file_of_its_size_is_refused(
    folder: SharedFolder, root: Path, place: Callable[[Path], None], why: str
) -> None:
    place(root / "home.bob" / "bundle.json")
    with pytest.raises(UnfitFileError, match=why):
        folder.read("home.bob", "bundle.json", MOST, None)


def test_a_file_of_the_largest_size_is_read(folder: SharedFolder, root: Path) -> None:
    (root / "home.bob" / "bundle.json").write_bytes(bytes(MOST))
    found = folder.read("home.bob", "bundle.json", MOST, None)
    assert found is not None
    assert found.content == bytes(MOST)


def test_no_more_is_read_than_the_bound_whatever_the_length_says(
    folder: SharedFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file grows after it was looked at."""
    path = root / "home.bob" / "bundle.json"
    path.write_bytes(b"small")
    looked, read, taken = os.fstat, os.read, []

    def look_and_grow(fd: int) -> os.stat_result:
        found = looked(fd)
        os.truncate(path, 1 << 40)
        return found

    def count(fd: int, most: int) -> bytes:
        taken.append(len(more := read(fd, most)))
        return more

    monkeypatch.setattr(os, "fstat", look_and_grow)
    monkeypatch.setattr(os, "read", count)
    with pytest.raises(UnfitFileError, match="larger"):
        folder.read("home.bob", "bundle.json", MOST, None)
    assert sum(taken) == MOST + 1


def test_a_subfolder_that_is_a_link_is_not_entered(folder: SharedFolder, root: Path) -> None:
    (root / "home.bob").rmdir()
    (root / "home.bob").symlink_to(root.parent / "elsewhere")
    with pytest.raises(UnfitFileError, match="subfolder is a link"):
        folder.read("home.bob", "bundle.json", MOST, None)
    with pytest.raises(NotADirectoryError):
        folder.write("home.bob", "bundle.json", b"mine")
    assert (root.parent / "elsewhere" / "bundle.json").read_bytes() == SECRET
    assert [one.name for one in (root.parent / "elsewhere").iterdir()] == ["bundle.json"]


def swap_subfolder(root: Path) -> None:
    (root / "home.bob").rename(root / "moved")
    (root / "home.bob").symlink_to(root.parent / "elsewhere")


def swap_file(root: Path) -> None:
    (root / "home.bob" / "bundle.json").unlink()
    place_link(root / "home.bob" / "bundle.json")


class Swapping:
    """Swaps once, before the ``before``-th of those calls of the system that name or look at something."""

    CALLS = ("open", "stat", "lstat", "fstat", "unlink", "rename")

    def __init__(self, swap: Callable[[], None], before: int, patch: pytest.MonkeyPatch) -> None:
        self._swap = swap
        self._left = before
        self._real = {name: getattr(os, name) for name in self.CALLS}
        self._patch = patch
        self.is_done = False
        for name in self.CALLS:
            patch.setattr(os, name, partial(self._call, name))

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        if not self._left and not self.is_done:
            self.is_done = True
            self._patch.undo()
            self._swap()
        self._left -= 1
        return self._real[name](*arguments, **options)


@pytest.mark.parametrize("swap", [swap_subfolder, swap_file])
@pytest.mark.parametrize("before", range(4))
def test_what_is_swapped_while_it_is_read_leads_nowhere(
    folder: SharedFolder,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    swap: Callable[[Path], None],
    before: int,
) -> None:
    (root / "home.bob" / "bundle.json").write_bytes(b"bob's own")
    swapping = Swapping(partial(swap, root), before, monkeypatch)
    found = None
    with contextlib.suppress(UnfitFileError):
        found = folder.read("home.bob", "bundle.json", MOST, None)
    assert swapping.is_done
    assert found is None or found.content == b"bob's own"


def swap_fresh(root: Path) -> None:
    (root / "home.bob" / ".bundle.json.new").unlink(missing_ok=True)
    place_link(root / "home.bob" / ".bundle.json.new")


@pytest.mark.parametrize("swap", [swap_subfolder, swap_fresh])
@pytest.mark.parametrize("before", range(6))
def test_what_is_swapped_while_it_is_written_leads_nowhere(
    folder: SharedFolder,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    swap: Callable[[Path], None],
    before: int,
) -> None:
    swapping = Swapping(partial(swap, root), before, monkeypatch)
    with contextlib.suppress(NotADirectoryError, FileExistsError):
        folder.write("home.bob", "bundle.json", b"mine")
    assert swapping.is_done
    assert (root.parent / "elsewhere" / "bundle.json").read_bytes() == SECRET
    assert [one.name for one in (root.parent / "elsewhere").iterdir()] == ["bundle.json"]


def test_a_folder_of_thousands_of_names_is_not_listed_through(
    folder: SharedFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3000):
        (root / f"home.n{number}").mkdir()
    looked_at = 0
    scandir = os.scandir

    class Counted:
        def __init__(self, where: int) -> None:
            self._entries = scandir(where)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return self._counted()

        def __exit__(self, *_: object) -> None:
            self._entries.close()

        def _counted(self) -> Iterator[os.DirEntry[str]]:
            nonlocal looked_at
            for entry in self._entries:
                looked_at += 1
                yield entry

    monkeypatch.setattr(os, "scandir", Counted)
    listing = folder.names(1024)
    assert len(listing.names) == 1024
    assert not listing.is_whole
    assert looked_at == 1025


def test_a_listing_says_when_it_is_whole(folder: SharedFolder, root: Path) -> None:
    (root / "home.carol").mkdir()
    assert sorted(folder.names(2).names) == ["home.bob", "home.carol"]
    assert folder.names(2).is_whole
    assert not folder.names(1).is_whole


def test_a_file_that_was_seen_is_not_read_again(folder: SharedFolder, root: Path) -> None:
    folder.write("home.bob", "bundle.json", b"one")
    first = folder.read("home.bob", "bundle.json", MOST, None)
    assert first is not None
    again = folder.read("home.bob", "bundle.json", MOST, first.stamp)
    assert again is not None
    assert again.content is None
    folder.write("home.bob", "bundle.json", b"two")
    other = folder.read("home.bob", "bundle.json", MOST, first.stamp)
    assert other is not None
    assert other.content == b"two"


def test_what_is_written_is_for_everybody_to_read(folder: SharedFolder, root: Path) -> None:
    former = os.umask(0o077)
    try:
        folder.write("home.alice", "bundle.json", b"mine")
    finally:
        os.umask(former)
    assert (root / "home.alice").stat().st_mode & 0o777 == 0o755
    assert (root / "home.alice" / "bundle.json").stat().st_mode & 0o777 == 0o644
    assert [one.name for one in (root / "home.alice").iterdir()] == ["bundle.json"]


def test_what_a_crash_left_and_a_link_in_the_place_of_the_file_are_replaced(
    folder: SharedFolder, root: Path
) -> None:
    place_link(root / "home.bob" / ".bundle.json.new")
    place_link(root / "home.bob" / "bundle.json")
    folder.write("home.bob", "bundle.json", b"mine")
    assert (root / "home.bob" / "bundle.json").read_bytes() == b"mine"
    assert (root.parent / "elsewhere" / "bundle.json").read_bytes() == SECRET


def test_the_folder_itself_is_never_made(tmp_path: Path) -> None:
    folder = OsSharedFolder(str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError):
        folder.names(10)
    with pytest.raises(FileNotFoundError):
        folder.write("home.alice", "bundle.json", b"mine")
    assert not (tmp_path / "absent").exists()


def test_nothing_there_is_nothing(folder: SharedFolder) -> None:
    assert folder.read("home.bob", "bundle.json", MOST, None) is None
    assert folder.read("home.carol", "bundle.json", MOST, None) is None
