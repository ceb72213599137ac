"""What may be made, replaced, moved and removed, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions.names import (
    Bounds,
    become_by_move,
    fits,
    new_folders,
    reaches_no_further,
    refuse_peer,
    require_attributes,
    require_condition,
    require_empty,
    require_file_place,
    require_gives_way,
    require_mode,
    require_movable,
    require_no_root,
    require_removable,
    require_replaceable,
    takes_tree,
)
from collective.core import limits
from collective.core.errors import CollectiveError, ConflictError, NotFoundError, UsageError
from collective.core.paths import FilePath
from collective.model.entries import EntryKind
from collective.model.writing import Precondition

FILE, LINK = EntryKind.FILE, EntryKind.LINK
FOLDER, STORE = EntryKind.DIRECTORY, EntryKind.DATASTORE


def p(text: str) -> FilePath:
    return FilePath.parse(text)


@pytest.mark.parametrize(
    ("version", "condition", "is_met"),
    [
        (None, Precondition(), True),
        (3, Precondition(), True),
        (None, Precondition(if_absent=True), True),
        (3, Precondition(if_absent=True), False),
        (0, Precondition(if_absent=True), False),
        (3, Precondition(if_version=3), True),
        (4, Precondition(if_version=3), False),
        (None, Precondition(if_version=3), False),
    ],
)
def test_conditions(version: int | None, condition: Precondition, is_met: bool) -> None:
    if is_met:
        require_condition(p("/d/f"), version, condition)
    else:
        with pytest.raises(ConflictError):
            require_condition(p("/d/f"), version, condition)


@pytest.mark.parametrize(
    ("path", "there", "parents", "wanted"),
    [
        ("/a", [], False, ("a",)),
        ("/a/b", [STORE], False, ("b",)),
        ("/a/b/c", [], True, ("a", "b", "c")),
        ("/a/b", [STORE, FOLDER], True, ()),
        ("/", [], True, ()),
        ("/", [], False, ConflictError),
        ("/a/b", [STORE, FOLDER], False, ConflictError),
        ("/a/b/c", [STORE], False, NotFoundError),
        ("/a/b/c", [STORE, FILE], True, ConflictError),
        ("/a/b", [STORE, LINK], True, ConflictError),
    ],
)
def test_folders_to_be_made(
    path: str,
    there: list[EntryKind],
    parents: bool,
    wanted: tuple[str, ...] | type[CollectiveError],
) -> None:
    if isinstance(wanted, tuple):
        assert new_folders(p(path), there, parents=parents) == wanted
    else:
        with pytest.raises(wanted):
            new_folders(p(path), there, parents=parents)


@pytest.mark.parametrize("path", ["/", "/f"])
def test_a_file_lies_in_a_datastore(path: str) -> None:
    require_file_place(p("/d/f"))
    with pytest.raises(UsageError, match="write it into a datastore"):
        require_file_place(p(path))


@pytest.mark.parametrize(
    ("parent", "there", "error"),
    [
        (FOLDER, None, None),
        (STORE, FILE, None),
        (STORE, LINK, None),
        (None, None, NotFoundError),
        (FILE, None, ConflictError),
        (LINK, None, ConflictError),
        (FOLDER, FOLDER, ConflictError),
    ],
)
def test_what_a_file_may_replace(
    parent: EntryKind | None, there: EntryKind | None, error: type[CollectiveError] | None
) -> None:
    if error is None:
        require_replaceable(p("/d/a/f"), parent, there)
    else:
        with pytest.raises(error):
            require_replaceable(p("/d/a/f"), parent, there)


@pytest.mark.parametrize(
    ("source", "target", "moved", "parent", "error"),
    [
        ("/d/f", "/e/f", FILE, STORE, None),
        ("/d/a", "/b", FOLDER, STORE, None),
        ("/d/a", "/d/a", FOLDER, STORE, None),
        ("/d/a", "/d/ab", FOLDER, STORE, None),
        ("/d/a", "/d/a/b", FOLDER, FOLDER, ConflictError),
        ("/d/f", "/e/f", None, STORE, NotFoundError),
        ("/d/f", "/e/f", FILE, None, NotFoundError),
        ("/d/f", "/e/f", FILE, FILE, ConflictError),
        ("/d/f", "/f", FILE, STORE, ConflictError),
        ("/d/f", "/f", LINK, STORE, ConflictError),
    ],
)
def test_what_may_be_moved_where(
    source: str,
    target: str,
    moved: EntryKind | None,
    parent: EntryKind | None,
    error: type[CollectiveError] | None,
) -> None:
    if error is None:
        require_movable(p(source), p(target), moved, parent)
    else:
        with pytest.raises(error):
            require_movable(p(source), p(target), moved, parent)


def test_the_root_is_not_moved_and_a_peer_is_not_here() -> None:
    require_no_root(p("/a"), p("/b"))
    for source, target in (("/", "/a"), ("/a", "/")):
        with pytest.raises(UsageError):
            require_no_root(p(source), p(target))
    for source, target in (("/@bob.example/a", "/a"), ("/a", "/@bob.example/a")):
        with pytest.raises(NotFoundError, match="no peer of this member"):
            require_no_root(p(source), p(target))
    refuse_peer(p("/a/@b"))


@pytest.mark.parametrize("moved", [FILE, LINK, FOLDER])
@pytest.mark.parametrize("there", [None, FILE, LINK, FOLDER, STORE])
def test_only_files_and_links_give_way_and_only_to_one(
    moved: EntryKind, there: EntryKind | None
) -> None:
    if there is None or (moved.is_leaf and there.is_leaf):
        require_gives_way(p("/d/f"), moved, there)
    else:
        with pytest.raises(ConflictError, match="exists already"):
            require_gives_way(p("/d/f"), moved, there)


def test_a_tree_fits_up_to_the_limits_of_a_path_and_not_beyond() -> None:
    deep = limits.PATH_MAX_DEPTH - 2
    assert fits(p("/d/a"), Bounds(deep, 5))
    assert not fits(p("/d/a"), Bounds(deep + 1, 5))
    room = limits.PATH_MAX_BYTES - len("/d/a/")
    assert fits(p("/d/a"), Bounds(1, room))
    assert not fits(p("/d/a"), Bounds(1, room + 1))


@pytest.mark.parametrize(
    ("target", "is_so"),
    [("/d/bbbbb", True), ("/e", True), ("/d/bbbbbb", False), ("/d/b/c", False)],
)
def test_whether_a_move_makes_paths_longer(target: str, is_so: bool) -> None:
    assert reaches_no_further(p("/d/aaaaa"), p(target)) is is_so


def test_how_far_a_folder_reaches_that_has_a_tree() -> None:
    assert Bounds().under("név") == Bounds(1, 4)
    assert Bounds(1, 3).under("ab") == Bounds(2, 6)


def test_neither_the_root_nor_what_would_be_a_peers_is_removed() -> None:
    require_removable(p("/media"))
    with pytest.raises(UsageError, match="cannot be removed"):
        require_removable(p("/"))
    with pytest.raises(NotFoundError, match="no peer"):
        require_removable(p("/@home.bob/a"))


def test_a_folder_with_names_goes_only_as_a_tree() -> None:
    assert takes_tree(FOLDER, recursive=True)
    assert takes_tree(STORE, recursive=True)
    assert not takes_tree(FOLDER, recursive=False)
    assert not takes_tree(FILE, recursive=True)
    require_empty(p("/media"), has_names=False)
    with pytest.raises(ConflictError, match="not empty"):
        require_empty(p("/media"), has_names=True)


def test_the_root_has_no_attributes_and_a_link_no_mode() -> None:
    require_attributes(p("/media"))
    with pytest.raises(UsageError, match="neither time nor mode"):
        require_attributes(p("/"))
    require_mode(p("/media/l"), LINK, None)
    require_mode(p("/media/f"), FILE, 0o644)
    for mode in (0, 0o644):
        with pytest.raises(ConflictError, match="no mode of its own"):
            require_mode(p("/media/l"), LINK, mode)


@pytest.mark.parametrize(
    ("kind", "at_top", "becomes"),
    [
        (FOLDER, True, STORE),
        (STORE, True, STORE),
        (STORE, False, FOLDER),
        (FOLDER, False, FOLDER),
        (FILE, False, FILE),
        (LINK, False, LINK),
    ],
)
def test_a_folder_is_a_datastore_where_it_lies_at_the_top(
    kind: EntryKind, at_top: bool, becomes: EntryKind
) -> None:
    assert become_by_move(kind, is_at_top=at_top) is becomes
