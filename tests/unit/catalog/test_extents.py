"""Whether pieces of a file fit together, decided on values and compared with a set of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.catalog.decisions.extents import (
    Around,
    Fit,
    place_extent,
    place_hole,
    require_complete,
)
from collective.core.errors import ConflictError, UsageError
from collective.core.ids import ChunkId
from collective.model.extents import Extent, Hole

spans = st.tuples(st.integers(0, 30), st.integers(1, 8))


def extent(offset: int, length: int) -> Extent:
    return Extent(offset, length, ChunkId(b"c" * 32), length + 16)


def around(extents: dict[int, int], holes: dict[int, int], new: tuple[int, int]) -> Around:
    offset, length = new
    before = max((at for at in extents if at <= offset), default=None)
    after = min((at for at in extents if at > offset), default=None)
    hole = max((at for at in holes if at < offset + length), default=None)
    return Around(
        before,
        0 if before is None else extents[before],
        after,
        None if hole is None else hole + holes[hole],
    )


@given(st.lists(st.tuples(st.booleans(), spans), max_size=20))
def test_pieces_that_were_taken_never_overlap_and_none_is_refused_that_fits(
    asked: list[tuple[bool, tuple[int, int]]],
) -> None:
    extents: dict[int, int] = {}
    holes: dict[int, int] = {}
    taken: set[int] = set()
    for is_hole, (offset, length) in asked:
        wanted = set(range(offset, offset + length))
        same = (holes if is_hole else extents).get(offset) == length
        try:
            if is_hole:
                ends = (at + size for kind in (extents, holes) for at, size in kind.items()
                        if at < offset + length)  # fmt: skip
                placed = place_hole(Hole(offset, length), holes.get(offset), max(ends, default=0))
            else:
                placed = place_extent(
                    extent(offset, length), around(extents, holes, (offset, length))
                )
        except ConflictError:
            assert taken & wanted
            assert not same
            continue
        assert (placed is Fit.THERE) == same
        if not same:
            assert not taken & wanted
            (holes if is_hole else extents)[offset] = length
            taken |= wanted


@pytest.mark.parametrize(("offset", "length"), [(-1, 4), (0, 0), (3, -1)])
def test_what_is_no_range_is_refused(offset: int, length: int) -> None:
    with pytest.raises(UsageError):
        place_extent(extent(offset, length), Around())
    with pytest.raises(UsageError):
        place_hole(Hole(offset, length), None, 0)


@pytest.mark.parametrize(("recorded", "end"), [(9, 10), (10, 11), (0, 0)])
def test_a_file_with_a_gap_or_a_tail_is_not_complete(recorded: int, end: int) -> None:
    with pytest.raises(ConflictError, match=f"{recorded} of 10 bytes"):
        require_complete(10, recorded_bytes=recorded, end=end)


def test_a_covered_file_is_complete() -> None:
    require_complete(10, recorded_bytes=10, end=10)
    require_complete(0, recorded_bytes=0, end=0)
