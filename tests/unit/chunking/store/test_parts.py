"""Index, records, names and capacity, each alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.chunking.store.capacity import Capacity
from collective.chunking.store.datadir import Layout, parse_chunk_name, parse_pack_name
from collective.chunking.store.index import Index, Location, sorted_in_slices
from collective.chunking.store.pack_record import (
    RECORD_HEADER_BYTES,
    Kind,
    Record,
    check_pack_header,
    decode_record,
    encode_pack_header,
    encode_record,
    record_span,
)
from collective.core.errors import DataDirError, NoSpaceError
from collective.core.ids import ChunkId, Generation

KEY = bytes(range(32))
CHUNK = ChunkId(bytes(range(32)))

records = st.builds(
    Record,
    st.sampled_from(Kind),
    st.binary(min_size=32, max_size=32).map(ChunkId),
    st.integers(0, 2**64 - 1).map(Generation),
    st.integers(0, 1 << 24),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
)


def test_golden_record() -> None:
    raw = encode_record(Record(Kind.PUT, CHUNK, Generation(5), 9, 3), KEY, 2, 32)
    assert raw[:64].hex() == (
        "434c523101000000000000090000000000000000000000030000000000000005" + CHUNK.hex()
    )
    assert raw[64:].hex() == "9fa5bd976d79b9a3"
    assert record_span(9) == 72 + 16


@given(records, st.integers(0, 2**32 - 1), st.integers(0, 2**40))
def test_a_record_is_read_back_at_its_place_only(record: Record, pack: int, offset: int) -> None:
    raw = encode_record(record, KEY, pack, offset)
    assert decode_record(raw, KEY, pack, offset) == record
    assert decode_record(raw, KEY, pack, offset + 8) is None
    assert decode_record(raw, KEY, pack ^ 1, offset) is None
    assert decode_record(raw, bytes(32), pack, offset) is None


@given(records, st.integers(0, RECORD_HEADER_BYTES * 8 - 1))
def test_a_flipped_bit_is_no_record(record: Record, bit: int) -> None:
    raw = bytearray(encode_record(record, KEY, 1, 32))
    raw[bit // 8] ^= 1 << bit % 8
    assert decode_record(bytes(raw), KEY, 1, 32) is None


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_no_record(raw: bytes) -> None:
    assert decode_record(raw, KEY, 1, 32) is None
    check_pack_header(raw, KEY, 1)


def test_a_pack_of_a_newer_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collective.chunking.store.pack_record.PACK_VERSION", 2)
    raw = encode_pack_header(KEY, 4)
    monkeypatch.undo()
    with pytest.raises(DataDirError, match="newer"):
        check_pack_header(raw, KEY, 4)


@given(st.binary(min_size=32, max_size=32).map(ChunkId), st.integers(0, 2**64 - 1))
def test_names_of_chunk_files_are_read_back(chunk: ChunkId, generation: int) -> None:
    path = Layout("/d").chunk_file(chunk, Generation(generation))
    assert parse_chunk_name(path.rsplit("/", 1)[1]) == (chunk, generation)


@given(st.text(max_size=80))
def test_foreign_names_are_not_chunks(name: str) -> None:
    assert parse_chunk_name(name) is None


@pytest.mark.parametrize("tail", ["", ".", ".01", ".-1", ".1.2", ".x", f".{1 << 64}", ".1 "])
def test_almost_names_are_not_chunks(tail: str) -> None:
    assert parse_chunk_name("ab" * 32 + tail) is None
    assert parse_chunk_name("AB" * 32 + ".1") is None


def test_names_of_packs() -> None:
    assert parse_pack_name("00000012.pack") == 12
    for name in ("x.pack", "1.pack.new", "1", ".pack"):
        assert parse_pack_name(name) is None


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 2**64 - 1).map(lambda n: n % 4))
    )
)
def test_the_index_behaves_as_a_dictionary(changes: list[tuple[bool, int, int]]) -> None:
    index, model = Index(), dict[tuple[ChunkId, int], Location]()
    for position, (adding, number, generation) in enumerate(changes):
        chunk = ChunkId(bytes([number]) * 32)
        place = Location(Generation(generation), position % 3, position * 8, position)
        if adding:
            assert index.add(chunk, place) == model.get((chunk, generation))
            model[chunk, generation] = place
        else:
            assert index.remove(chunk, Generation(generation)) == model.pop(
                (chunk, generation), None
            )
        assert len(index) == len(model)
    listed = [copy for chunk in sorted_in_slices(index.chunks()) for copy in index.copies(chunk)]
    assert [(c.chunk, c.generation) for c in listed] == sorted(model)
    for (chunk, generation), place in model.items():
        assert index.find(chunk, Generation(generation)) == place


def test_locations_keep_their_largest_values() -> None:
    place = Location(Generation(2**64 - 1), 2**32 - 1, 2**32 - 1, 2**32 - 1)
    index = Index()
    index.add(CHUNK, place)
    assert index.find(CHUNK, None) == place


def test_a_reservation_is_given_back_once() -> None:
    capacity = Capacity(100, 0, lambda: 1000)
    held = capacity.reserve(60)
    with pytest.raises(NoSpaceError):
        capacity.reserve(41)
    held.consume(20)
    assert capacity.reserved_bytes == 40
    held.release()
    held.release()
    assert capacity.reserved_bytes == 0
