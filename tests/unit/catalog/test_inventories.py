"""What an inventory says, decided on values."""

from __future__ import annotations

import pytest

from collective.catalog.decisions.inventories import KnownChunk, differences
from collective.core.ids import ChunkId, Generation
from collective.model.copies import CopyKey, CopyState

CHUNK = ChunkId(b"c" * 32)
SEVEN = Generation(7)
ROW = 12


def known(state: CopyState | None, *, length: int = 100) -> list[KnownChunk]:
    return [(CHUNK, ROW, None if state is None else SEVEN, state, length)]


def told(*, generation: int = 7, length: int = 100) -> CopyKey:
    return CopyKey(CHUNK, Generation(generation), length)


@pytest.mark.parametrize(
    ("state", "is_missing"),
    [(CopyState.STORED, True), (CopyState.DOUBTED, True), (CopyState.MISSING, False),
     (CopyState.INTENT, False), (None, False)],
)  # fmt: skip
def test_what_it_lacks_is_missing_where_it_counted(
    state: CopyState | None, is_missing: bool
) -> None:
    found = differences(known(state), [], frozenset())
    assert found.missing == ([(ROW, SEVEN)] if is_missing else [])
    assert not found.doubtful
    assert not found.strangers


def test_what_was_stored_while_it_made_its_list_may_be_absent() -> None:
    assert not differences(known(CopyState.STORED), [], {(CHUNK, SEVEN)}).missing
    assert differences(known(CopyState.STORED), [], {(CHUNK, Generation(8))}).missing


@pytest.mark.parametrize(
    ("state", "length", "is_doubtful"),
    [
        (CopyState.STORED, 100, False),
        (CopyState.STORED, 99, True),
        (CopyState.MISSING, 100, True),
        (CopyState.MISSING, 99, False),
        (CopyState.DOUBTED, 100, False),
        (CopyState.DOUBTED, 99, False),
        (CopyState.INTENT, 100, False),
        (CopyState.INTENT, 99, False),
    ],
)
def test_nothing_that_it_tells_makes_a_copy_count(
    state: CopyState, length: int, is_doubtful: bool
) -> None:
    found = differences(known(state), [told(length=length)], frozenset())
    assert found.doubtful == ([(ROW, SEVEN)] if is_doubtful else [])
    assert not found.missing
    assert not found.strangers, "it is known, whatever it is"


def test_what_nobody_gave_it_is_a_stranger() -> None:
    assert differences([], [told()], frozenset()).strangers == [told()]
    assert differences(known(None), [told()], frozenset()).strangers == [told()]
    found = differences(known(CopyState.STORED), [told(), told(generation=8)], frozenset())
    assert found.strangers == [told(generation=8)]
    assert not found.missing
