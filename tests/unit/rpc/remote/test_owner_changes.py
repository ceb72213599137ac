"""What a peer tells of changes is taken for the watched folder alone."""

from __future__ import annotations

import pytest

from collective.core.errors import RejectedError
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.model.changes import Change, Changes, Cursor, ListAnew
from collective.model.entries import Entry, EntryKind
from collective.rpc.remote.owner_paths import OwnerPaths

PATHS = OwnerPaths(Domain("garage.bob"))
FOLDER = FilePath.parse("/@garage.bob/media")
CURSOR = Cursor("c")


def change(path: str, entry: str | None = None) -> Change:
    there = None if entry is None else Entry(FilePath.parse(entry), EntryKind.FILE)
    return Change(FilePath.parse(path), there, below=False)


def test_changes_are_called_as_they_are_here() -> None:
    told = Changes(CURSOR, [change("/media/a", "/media/a"), change("/media")], more=True)
    here = PATHS.changed(told, FOLDER)
    assert isinstance(here, Changes)
    assert [str(one.path) for one in here.changes] == ["/@garage.bob/media/a", str(FOLDER)]
    assert here.changes[0].entry is not None
    assert here.changes[0].entry.path == here.changes[0].path
    assert (here.cursor, here.more) == (CURSOR, True)
    assert PATHS.changed(ListAnew(CURSOR), FOLDER) == ListAnew(CURSOR)


@pytest.mark.parametrize(
    "told", [change("/other"), change("/"), change("/media2"), change("/media/a", "/media/b")]
)
def test_what_lies_elsewhere_is_not_taken(told: Change) -> None:
    with pytest.raises(RejectedError):
        PATHS.changed(Changes(CURSOR, [told]), FOLDER)
