"""Trees of every kind of thing and name, by Hypothesis, and how they come to lie on a disk."""

from __future__ import annotations

import os
import random
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from hypothesis import strategies as st

from collective.core.errors import CollectiveError
from collective.core.paths import check_name
from tests.simulation.tuning import CHUNK_BYTES
from tests.trees.machine import Names, Seen

FIRST_S: Final = -(1 << 31)
LAST_S: Final = (1 << 31) - 1
"""Times that every file system of ours keeps."""
SET_ID: Final = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True)
class File:
    """Pieces of data, as (seed, length), and holes, as (None, length)."""

    pieces: tuple[tuple[int | None, int], ...]
    mode: int
    modified_ns: int

    def content(self) -> bytes:
        return b"".join(
            bytes(length) if seed is None else random.Random(seed).randbytes(length)
            for seed, length in self.pieces
        )


@dataclass(frozen=True)
class Link:
    target: bytes
    modified_ns: int


@dataclass(frozen=True)
class Special:
    """What no member keeps."""

    is_socket: bool


@dataclass(frozen=True)
class Folder:
    children: Mapping[str, Thing]
    mode: int
    modified_ns: int


Thing = File | Link | Special | Folder

_MOMENTS: Final = st.one_of(
    st.sampled_from((0, -1, 1, -1_000_000_000, 1_700_000_000_123_456_789, LAST_S * 10**9)),
    st.integers(FIRST_S * 10**9, LAST_S * 10**9),
)
_ODD_NAMES: Final = (
    "-rf", "--help", " ", "a b", "…", "Ünï", "cafe\u0301", "caf\u00e9", "README", "readme", "CON",
    "nul", "com1.txt", "a\\b", "x:y", "*", "~", "$HOME", "@peer", "\u202egnp.exe", "\u017f", "ß", "SS",
    "n" * 255, "\U0001f600", "a\nb", "\x1b[31m", "\x7f", "\udcff\udcfe", "bad-\udc80", ".x", "..x",
)  # fmt: skip
_NAMES: Final = st.one_of(
    st.sampled_from(("a", "b", "c")),
    st.sampled_from(_ODD_NAMES),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1)
    .filter(lambda name: name not in {".", ".."} and len(name.encode()) <= 255),
)  # fmt: skip
_BLOCK: Final = 4096
_PIECES: Final = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 3), st.integers(1, 3 * CHUNK_BYTES)),
        st.tuples(st.none(), st.sampled_from((_BLOCK, 2 * _BLOCK, 40 * _BLOCK))),
        st.tuples(st.none(), st.integers(1, 3 * _BLOCK)),
    ),
    max_size=5,
).map(tuple)
_MODES: Final = st.one_of(
    st.sampled_from((0o644, 0o600, 0o755, 0o700, 0o444, 0o666, 0o777)), st.integers(0, 0o7777)
)
_FILES: Final = st.builds(File, _PIECES, _MODES, _MOMENTS)
_LINKS: Final = st.builds(
    Link,
    st.one_of(
        st.sampled_from((b"a", b"../..", b"/etc/passwd", b".", b"nowhere", b"\xff\xfe", b"x\n")),
        st.binary(min_size=1, max_size=300).filter(lambda target: b"\0" not in target),
    ),
    _MOMENTS,
)


def _folders(children: st.SearchStrategy[Thing]) -> st.SearchStrategy[Thing]:
    return st.builds(Folder, st.dictionaries(_NAMES, children, max_size=4), _MODES, _MOMENTS)


_THINGS: Final[st.SearchStrategy[Thing]] = st.recursive(
    st.one_of(_FILES, _LINKS, st.builds(Special, st.booleans())), _folders, max_leaves=12
)
TREES: Final = st.builds(
    Folder,
    st.dictionaries(_NAMES, _THINGS, max_size=5),
    _MODES.map(lambda mode: mode | 0o500),
    _MOMENTS,
)
"""Roots that their owner may read."""


def make(path: str, thing: Thing) -> None:
    """Have ``thing`` lie at ``path``, where nothing is."""
    match thing:
        case File():
            _make_file(path, thing)
        case Link():
            os.symlink(thing.target, os.fsencode(path))
            os.utime(path, ns=(0, thing.modified_ns), follow_symlinks=False)
        case Special(is_socket=True):
            _make_socket(path)
        case Special():
            os.mkfifo(path)
        case Folder():
            os.mkdir(path, 0o700)
            for name, child in thing.children.items():
                make(os.path.join(path, name), child)
            os.chmod(path, thing.mode)
            os.utime(path, ns=(0, thing.modified_ns))


def _make_file(path: str, thing: File) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        position = 0
        for seed, length in thing.pieces:
            if seed is not None:
                os.pwrite(fd, random.Random(seed).randbytes(length), position)
            position += length
        os.ftruncate(fd, position)
        os.fchmod(fd, thing.mode)
        os.utime(fd, ns=(0, thing.modified_ns))
    finally:
        os.close(fd)


def _make_socket(path: str) -> None:
    """Bind a socket at ``path``, whose name may be longer than sockets take."""
    folder, name = os.path.split(path)
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        with socket.socket(socket.AF_UNIX) as made:
            try:
                made.bind(os.fsencode(name))
            except OSError:  # too long
                os.mkfifo(path)
    finally:
        os.fchdir(before)
        os.close(before)


@dataclass(frozen=True)
class Expected:
    """What a tree promises of itself."""

    kept: dict[Names, Thing]
    """What comes to the member."""
    left_out: set[Names]
    """What is named, alone or with all below it."""


def expected(root: Folder) -> Expected:
    """Return what `put` by the owner of ``root`` does with it."""
    found = Expected({}, set())
    _expect((), root, found)
    return found


def _expect(names: Names, thing: Thing, found: Expected) -> None:
    match thing:
        case Special():
            found.left_out.add(names)
        case File() if not thing.mode & stat.S_IRUSR:
            found.left_out.add(names)
        case Folder() if not thing.mode & stat.S_IRUSR:
            found.left_out.add(names)
        case Folder():
            found.kept[names] = thing
            for name, child in thing.children.items():
                below = (*names, name)
                if not _can_be_a_name(name) or not thing.mode & stat.S_IXUSR:
                    found.left_out.add(below)
                else:
                    _expect(below, child, found)
        case _:
            found.kept[names] = thing


def _can_be_a_name(name: str) -> bool:
    try:
        check_name(name)
    except CollectiveError:
        return False
    return True


def without_set_id(seen: Mapping[Names, Seen]) -> dict[Names, Seen]:
    """Return the same tree, its files without the bits that `get` leaves out."""
    return {
        names: Seen(
            one.kind, one.mode & ~SET_ID, one.modified_ns, one.content, one.target, one.holes
        )
        if one.kind == stat.S_IFREG
        else one
        for names, one in seen.items()
    }


def files_of(things: Mapping[Names, Thing]) -> Iterator[tuple[Names, File]]:
    """Yield the files among ``things``."""
    for names, thing in things.items():
        if isinstance(thing, File):
            yield names, thing


def tidy(thing: Thing) -> Thing | None:
    """Return ``thing`` without what cannot be stored, with all of it for its owner to read and write."""
    if isinstance(thing, Special):
        return None
    if isinstance(thing, File):
        return replace(thing, mode=thing.mode & ~SET_ID | 0o600)
    if isinstance(thing, Folder):
        children = {
            name: one
            for name, child in thing.children.items()
            if _can_be_a_name(name) and (one := tidy(child)) is not None
        }
        return replace(thing, children=children, mode=thing.mode | 0o700)
    return thing
