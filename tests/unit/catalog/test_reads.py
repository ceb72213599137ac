"""Which version, part and copies a reader is given, decided on values."""

from __future__ import annotations

import pytest

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.catalog.decisions.reads import (
    FoundCopy,
    end_of,
    pieces_most,
    place_of_lease,
    readable,
    require_file,
    require_range,
    require_still_readable,
    require_version,
)
from collective.core import limits
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.ids import Generation, NodeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.copies import CopyState
from collective.model.entries import EntryKind
from collective.model.grants import Grant
from collective.model.nodes import Standing
from collective.model.rights import Right
from tests.values import OPERATOR, user

PATH = FilePath.parse("/shared/a")
ANN = user("ann")


def copy(
    node: str,
    state: CopyState | None = CopyState.STORED,
    standing: Standing = Standing.APPROVED,
    *,
    is_corrupt: bool = False,
) -> FoundCopy:
    return FoundCopy(NodeId(node), Generation(1), state, is_corrupt, standing)


def test_copies_that_count_come_first_and_the_others_are_marked() -> None:
    found = [
        copy("doubted", CopyState.DOUBTED),
        copy("given-up", None),
        copy("liar", standing=Standing.DOUBTED),
        copy("new", standing=Standing.PROBATION),
        copy("good"),
    ]
    given = [(str(one.node), one.is_doubted) for one in readable(found)]
    assert given == [
        ("new", False),
        ("good", False),
        ("doubted", True),
        ("given-up", True),
        ("liar", True),
    ]


@pytest.mark.parametrize(
    "bad",
    [copy("n", CopyState.MISSING), copy("n", CopyState.INTENT), copy("n", None, is_corrupt=True)],
    ids=("missing", "not sent yet", "corrupt"),
)
def test_a_copy_that_cannot_be_good_is_not_given(bad: FoundCopy) -> None:
    assert readable([bad]) == []


@pytest.mark.parametrize(
    ("kind", "refusal", "text"),
    [
        (None, NotFoundError, "does not exist"),
        (EntryKind.LINK, ConflictError, "not followed"),
        (EntryKind.DIRECTORY, ConflictError, "is a directory"),
        (EntryKind.DATASTORE, ConflictError, "is a directory"),
    ],
)
def test_only_a_file_can_be_opened(
    kind: EntryKind | None, refusal: type[CollectiveError], text: str
) -> None:
    require_file(PATH, EntryKind.FILE)
    with pytest.raises(refusal, match=text):
        require_file(PATH, kind)


def test_a_reader_who_names_a_version_gets_that_one_or_none() -> None:
    require_version(PATH, 7, 7)
    require_version(PATH, 7, 0)
    with pytest.raises(ConflictError, match="has version 7, not 6"):
        require_version(PATH, 7, 6)


def test_a_read_ends_with_its_range_or_with_the_file() -> None:
    assert end_of(10, 5, 100) == 15
    assert end_of(10, 0, 100) == 100
    assert end_of(90, 50, 100) == 100
    for offset, length in ((-1, 0), (0, -1)):
        with pytest.raises(UsageError):
            require_range(offset, length)
    require_range(0, 0)


def test_an_answer_has_no_more_pieces_than_one_may() -> None:
    assert pieces_most(3) == 3
    assert pieces_most(0) == limits.BATCH_MAX_CHUNKS
    assert pieces_most(limits.BATCH_MAX_CHUNKS + 1) == limits.BATCH_MAX_CHUNKS


def test_a_lease_is_judged_where_its_version_lies_or_else_where_it_was_opened() -> None:
    other = FilePath.parse("/private/a")
    assert place_of_lease(other, PATH) == other
    assert place_of_lease(None, PATH) == PATH
    with pytest.raises(NotFoundError, match="This read has ended"):
        place_of_lease(None, None)


def test_who_may_no_longer_read_there_is_refused_the_rest() -> None:
    grant = Grant("g", FilePath.parse("/shared"), Right.READ, ANN, OPERATOR, None)
    ann = Decider(Call(ANN, is_operator=False), GrantBook([grant]), 0)
    require_still_readable(ann, PATH)
    with pytest.raises(PermissionDeniedError, match="no longer"):
        require_still_readable(ann, FilePath.parse("/private/a"))
