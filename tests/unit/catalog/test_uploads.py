"""What an upload may name and whether it may go on, decided on values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.catalog.decisions.uploads import (
    UploadState,
    goes_on_at,
    may_use,
    may_use_still,
    must_check_again,
    require_active,
    require_attributes,
    require_batch,
    require_chunk,
    require_known,
)
from collective.core import limits
from collective.core.errors import NotFoundError, UsageError
from collective.core.ids import ChunkId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.extents import Extent
from collective.model.grants import Grant
from collective.model.rights import Right
from collective.model.writing import Attributes
from tests.values import OPERATOR, user

ANN = user("ann")
READER = Decider(
    Call(ANN, is_operator=False),
    GrantBook([Grant("g", FilePath.parse("/a"), Right.READ, ANN, OPERATOR, None)]),
    0,
)


def never() -> bool:
    pytest.fail("it was asked")


def test_metadata_and_content_type_have_bounds_in_bytes() -> None:
    require_attributes(Attributes(metadata={"k": "v" * (limits.METADATA_MAX_BYTES - 1)}))
    with pytest.raises(UsageError, match="metadata"):
        require_attributes(Attributes(metadata={"k": "ä" * (limits.METADATA_MAX_BYTES // 2)}))
    require_attributes(Attributes(content_type="t" * limits.CONTENT_TYPE_MAX_BYTES))
    with pytest.raises(UsageError, match="content type"):
        require_attributes(Attributes(content_type="t" * (limits.CONTENT_TYPE_MAX_BYTES + 1)))


def test_a_call_names_no_more_than_a_batch() -> None:
    require_batch(range(limits.BATCH_MAX_CHUNKS))
    with pytest.raises(UsageError, match="at most"):
        require_batch(range(limits.BATCH_MAX_CHUNKS + 1))


@pytest.mark.parametrize(
    ("chunk_id", "length"),
    [(b"c" * 31, 1), (b"c" * 33, 1), (b"c" * 32, 0), (b"c" * 32, -1), (b"c" * 32, 1 << 40)],
)
def test_what_cannot_be_a_chunk_is_refused(chunk_id: bytes, length: int) -> None:
    require_chunk(Extent(0, 1, ChunkId(b"c" * 32), limits.CHUNK_STORED_MAX_BYTES))
    with pytest.raises(UsageError):
        require_chunk(Extent(0, 1, ChunkId(chunk_id), length))


@pytest.mark.parametrize(
    ("state", "left_ms", "is_active", "is_known"),
    [
        (UploadState.ACTIVE, 1, True, True),
        (UploadState.ACTIVE, 0, False, False),
        (UploadState.COMMITTED, 1, False, True),
        (UploadState.COMMITTED_UNCLEARED, 1, False, True),
        (UploadState.COMMITTED, 0, False, False),
        (UploadState.ENDED, 1, False, False),
    ],
)
def test_an_upload_goes_on_while_it_is_active_and_is_known_while_it_has_an_answer(
    state: UploadState, left_ms: int, is_active: bool, is_known: bool
) -> None:
    for require, holds in ((require_active, is_active), (require_known, is_known)):
        with nullcontext() if holds else pytest.raises(NotFoundError, match="no such upload"):
            require(state, 1000 + left_ms, 1000)


def test_a_repeated_commit_of_either_kind_has_its_answer() -> None:
    assert [state for state in UploadState if state.is_committed] == [
        UploadState.COMMITTED,
        UploadState.COMMITTED_UNCLEARED,
    ]


def test_what_a_caller_may_read_or_has_sent_they_may_use() -> None:
    def places(*texts: str) -> Iterator[FilePath]:
        for text in texts:
            yield FilePath.parse(text)

    assert may_use(READER, places("/b/f", "/a/f"), never)
    assert not may_use(READER, places("/b/f"), lambda: False)
    assert may_use(READER, places("/b/f"), lambda: True)
    assert not may_use(READER, places(), lambda: False)


def test_what_they_might_read_they_must_be_allowed_to_read_still_while_it_is_anywhere() -> None:
    assert not may_use_still(is_authorised=False, is_kept=never, may_use=never)
    assert may_use_still(is_authorised=True, is_kept=lambda: False, may_use=never)
    assert may_use_still(is_authorised=True, is_kept=lambda: True, may_use=lambda: True)
    assert not may_use_still(is_authorised=True, is_kept=lambda: True, may_use=lambda: False)


def test_extents_are_checked_again_at_another_epoch_where_there_are_any() -> None:
    assert not must_check_again(4, 4, never)
    assert must_check_again(3, 4, lambda: True)
    assert must_check_again(-1, 0, lambda: True)
    assert not must_check_again(3, 4, lambda: False)


def test_a_check_goes_on_where_it_was_only_at_the_same_epoch() -> None:
    assert goes_on_at(4, 500, 4) == 500
    assert goes_on_at(3, 500, 4) == 0
