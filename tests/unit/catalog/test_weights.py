"""What a file counts for, and how many extents it may have."""

from hypothesis import given
from hypothesis import strategies as st

from collective.catalog.decisions.weights import (
    EXTENT_BYTES,
    NAME_BYTES,
    catalog_bytes,
    extents_most,
)
from collective.core.limits import CHUNK_SIZE_BYTES, FILE_MAX_BYTES

SIZES = st.integers(0, FILE_MAX_BYTES)


@given(st.integers(0, 10**6), st.integers(0, 10**4))
def test_every_row_counts(extents: int, attribute_bytes: int) -> None:
    counted = catalog_bytes(extents=extents, attribute_bytes=attribute_bytes)
    assert counted == NAME_BYTES + extents * EXTENT_BYTES + attribute_bytes


@given(SIZES)
def test_a_file_cut_as_our_client_does_it_is_never_refused(size: int) -> None:
    assert -(-size // CHUNK_SIZE_BYTES) <= extents_most(size)


@given(SIZES)
def test_rows_stay_a_small_part_of_large_files(size: int) -> None:
    rows = catalog_bytes(extents=extents_most(size), attribute_bytes=0)
    assert rows <= size // 100 + 2 * EXTENT_BYTES * 1024
