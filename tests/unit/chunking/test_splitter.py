"""Where files are cut is frozen; the pieces cover the file exactly, and each is named by what is stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.codec import PLAIN, codec_of
from collective.chunking.splitter import Splitter
from collective.core.errors import CorruptionError

MIB = 1 << 20
SPLITTER = Splitter()


def pieces_of(size: int, splitter: Splitter = SPLITTER) -> list[tuple[int, int]]:
    """Cut a file of ``size`` bytes without a hole, as an upload does."""
    pieces, offset = [], 0
    while offset < size:
        length = min(splitter.room_at(offset), size - offset)
        pieces.append((offset, length))
        offset += length
    return pieces


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
    assert pieces_of(size) == pieces


@given(st.integers(0, 5000), st.integers(1, 700))
def test_pieces_cover_the_file_without_gap(size: int, chunk_size: int) -> None:
    pieces = pieces_of(size, Splitter(chunk_size_bytes=chunk_size))
    assert sum(length for _, length in pieces) == size
    end = 0
    for offset, length in pieces:
        assert offset == end
        assert 0 < length <= chunk_size
        end = offset + length


@pytest.mark.parametrize(
    ("offset", "room"),
    [(0, 4194304), (1, 4194303), (4 * MIB - 1, 1), (4 * MIB, 4194304), (9 * MIB, 3145728)],
)
def test_a_chunk_behind_a_hole_ends_at_the_boundary(offset: int, room: int) -> None:
    assert SPLITTER.room_at(offset) == room


@given(st.binary(min_size=1, max_size=500), st.integers(0, 1 << 40))
def test_what_is_cut_is_named_by_its_stored_bytes_and_opens_again(
    plain: bytes, offset: int
) -> None:
    extent, parts = SPLITTER.cut(memoryview(plain), offset)
    stored = b"".join(bytes(part) for part in parts)
    assert (extent.offset, extent.length) == (offset, len(plain))
    assert (extent.chunk, extent.stored_length) == (chunk_id(stored), len(stored))
    assert codec_of(extent.format).open(memoryview(stored)) == plain


def test_a_codec_of_the_future_is_refused_by_name() -> None:
    assert codec_of(0) is PLAIN
    with pytest.raises(CorruptionError, match="codec 7"):
        codec_of(7)
