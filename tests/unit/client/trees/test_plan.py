"""What is done about one name of a tree: the whole table of cases, on values alone."""

from __future__ import annotations

import pytest

from collective.client.disk.attributes import WantedAttributes
from collective.client.disk.local_entries import FileState, Kind, LocalEntry
from collective.client.trees.plan import Do, get_step, missing_attributes, put_step
from collective.core.errors import CollectiveError, ConflictError, UsageError
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.writing import Attributes

PATH = FilePath.parse("/s/x")
STATE = FileState(size_bytes=5, modified_ns=7, changed_ns=9, inode=11)
FILE = LocalEntry(Kind.FILE, 0o640, STATE)
LINK = LocalEntry(Kind.LINK, 0o777, STATE, b"there")
FOLDER = LocalEntry(Kind.DIRECTORY, 0o750, STATE)
FIFO = LocalEntry(Kind.FIFO, 0o600, STATE)
ABSENT, SEEN_ONLY = None, Entry(PATH, EntryKind.FILE)
ENTRY = Entry(PATH, EntryKind.FILE, size_bytes=5, modified_ns=7, mode=0o640, version=3)
LONGER = Entry(PATH, EntryKind.FILE, size_bytes=6, modified_ns=7, mode=0o640, version=3)
LATER = Entry(PATH, EntryKind.FILE, size_bytes=5, modified_ns=8, mode=0o640, version=3)
LINKED = Entry(PATH, EntryKind.LINK, modified_ns=7, target=b"there", version=3)
ELSEWHERE = Entry(PATH, EntryKind.LINK, modified_ns=7, target=b"elsewhere", version=3)
LINKED_LATER = Entry(PATH, EntryKind.LINK, modified_ns=8, target=b"there", version=3)
DIRECTORY = Entry(PATH, EntryKind.DIRECTORY, modified_ns=7, mode=0o750)
DATASTORE = Entry(PATH, EntryKind.DATASTORE, modified_ns=7, mode=0o750)
PEER = Entry(PATH, EntryKind.PEER)


@pytest.mark.parametrize(
    ("local", "entry", "is_sent", "step"),
    [
        (FILE, ABSENT, False, Do.CARRY),
        (FILE, SEEN_ONLY, False, Do.CARRY),
        (FILE, ENTRY, True, Do.NOTHING),
        (FILE, ENTRY, False, Do.COMPARE),
        (FILE, LATER, False, Do.COMPARE),
        (FILE, LONGER, False, Do.CARRY),
        (FILE, LINKED, False, Do.CARRY),
        (FILE, DIRECTORY, False, ConflictError),
        (FILE, DATASTORE, False, ConflictError),
        (LINK, ABSENT, False, Do.LINK),
        (LINK, LINKED, False, Do.NOTHING),
        (LINK, LINKED_LATER, False, Do.ATTRIBUTES),
        (LINK, ELSEWHERE, False, Do.LINK),
        (LINK, ENTRY, False, Do.LINK),
        (LINK, DIRECTORY, False, ConflictError),
        (FOLDER, ABSENT, False, Do.ENTER),
        (FOLDER, DIRECTORY, False, Do.ENTER),
        (FOLDER, DATASTORE, False, Do.ENTER),
        (FOLDER, ENTRY, False, ConflictError),
        (FOLDER, LINKED, False, ConflictError),
        (FIFO, ABSENT, False, UsageError),
        (FIFO, ENTRY, False, UsageError),
        (LocalEntry(Kind.DEVICE, 0, STATE), ABSENT, False, UsageError),
        (LocalEntry(Kind.SOCKET, 0, STATE), ABSENT, False, UsageError),
    ],
)
def test_put(
    local: LocalEntry, entry: Entry | None, is_sent: bool, step: Do | type[CollectiveError]
) -> None:
    if isinstance(step, Do):
        assert put_step(local, entry, is_sent=is_sent) is step
    else:
        with pytest.raises(step):
            put_step(local, entry, is_sent=is_sent)


WANTED = WantedAttributes(7, 0o640)


@pytest.mark.parametrize(
    ("entry", "local", "step"),
    [
        (ENTRY, None, Do.CARRY),
        (ENTRY, FILE, Do.COMPARE),
        (LONGER, FILE, Do.CARRY),
        (ENTRY, LINK, Do.CARRY),
        (ENTRY, FOLDER, ConflictError),
        (ENTRY, FIFO, ConflictError),
        (SEEN_ONLY, None, UsageError),
        (LINKED, None, Do.LINK),
        (LINKED, LINK, Do.NOTHING),
        (ELSEWHERE, LINK, Do.LINK),
        (LINKED, FILE, Do.LINK),
        (LINKED, FOLDER, ConflictError),
        (LINKED, FIFO, ConflictError),
        (DIRECTORY, None, Do.ENTER),
        (DIRECTORY, FOLDER, Do.ENTER),
        (DATASTORE, FOLDER, Do.ENTER),
        (DIRECTORY, FILE, ConflictError),
        (DIRECTORY, LINK, ConflictError),
        (DIRECTORY, FIFO, ConflictError),
        (PEER, None, UsageError),
    ],
)
def test_get(entry: Entry, local: LocalEntry | None, step: Do | type[CollectiveError]) -> None:
    if isinstance(step, Do):
        assert get_step(entry, local, WANTED) is step
    else:
        with pytest.raises(step):
            get_step(entry, local, WANTED)


def test_a_link_with_another_time_is_dated_alone() -> None:
    assert get_step(LINKED_LATER, LINK, WantedAttributes(8, None)) is Do.ATTRIBUTES


def test_what_the_member_is_told_beside_the_content() -> None:
    assert missing_attributes(FILE, ENTRY) is None
    assert missing_attributes(LINK, LINKED) is None
    assert missing_attributes(FILE, LATER) == Attributes(modified_ns=7, mode=0o640)
    assert missing_attributes(FILE, SEEN_ONLY) == Attributes(modified_ns=7, mode=0o640)
    assert missing_attributes(FOLDER, DIRECTORY) is None


@pytest.mark.parametrize(
    ("kind", "mode", "keeps", "wanted"),
    [
        (EntryKind.FILE, 0o6755, False, 0o755),
        (EntryKind.FILE, 0o6755, True, 0o6755),
        (EntryKind.FILE, 0o1644, False, 0o1644),
        (EntryKind.FILE, None, False, None),
        (EntryKind.DIRECTORY, 0o2775, False, 0o2775),
    ],
)
def test_modes_that_are_given_here(
    kind: EntryKind, mode: int | None, keeps: bool, wanted: int | None
) -> None:
    entry = Entry(PATH, kind, modified_ns=1, mode=mode)
    assert WantedAttributes.of(entry, keeps_set_id=keeps).mode == wanted
