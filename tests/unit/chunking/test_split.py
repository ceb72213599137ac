"""Where files are cut is frozen; the pieces cover the file exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.chunking.split import Piece, room_at, split
from collective.core.errors import UsageError

MIB = 1 << 20


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (0, []),
        (1, [(0, 1)]),
        (4 * MIB - 1, [(0, 4194303)]),
        (4 * MIB, [(0, 4194304)]),
        (4 * MIB + 1, [(0, 4194304), (4194304, 1)]),
        (10 * MIB, [(0, 4194304), (4194304, 4194304), (8388608, 2097152)]),
    ],
)
def test_golden_boundaries(size: int, pieces: list[tuple[int, int]]) -> None:
    assert list(split(size)) == [Piece(*piece) for piece in pieces]


@given(st.integers(0, 5000), st.integers(1, 700))
def test_pieces_cover_the_file_without_gap(size: int, chunk_size: int) -> None:
    pieces = list(split(size, chunk_size))
    assert sum(piece.length for piece in pieces) == size
    end = 0
    for piece in pieces:
        assert piece.offset == end
        assert 0 < piece.length <= chunk_size
        end = piece.end


@pytest.mark.parametrize(
    ("offset", "room"),
    [(0, 4194304), (1, 4194303), (4 * MIB - 1, 1), (4 * MIB, 4194304), (9 * MIB, 3145728)],
)
def test_a_chunk_behind_a_hole_ends_at_the_boundary(offset: int, room: int) -> None:
    assert room_at(offset) == room


@pytest.mark.parametrize(("size", "chunk_size"), [(-1, 1), (1, 0)])
def test_impossible_sizes_are_refused(size: int, chunk_size: int) -> None:
    with pytest.raises(UsageError):
        list(split(size, chunk_size))
