"""The envelope's bytes are frozen, and no input makes decoding do anything but refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.envelope import (
    BODY_MAX_BYTES,
    HEADER_BYTES,
    decode_header,
    encode_header,
    open_plain,
    stored_length,
)
from collective.core.errors import CorruptionError, UsageError


def test_golden_header() -> None:
    assert encode_header(5).hex() == "434c43310000000000000005" + "00000000"
    assert encode_header(4 << 20, padding_length=258).hex() == "434c4331000000000040000000000102"


def test_golden_chunk_id() -> None:
    stored = encode_header(5) + b"hello"
    assert chunk_id(stored).hex() == GOLDEN_HELLO
    assert chunk_id([encode_header(5), memoryview(b"hello")]).hex() == GOLDEN_HELLO
    assert chunk_id(encode_header(0)).hex() == GOLDEN_EMPTY


GOLDEN_HELLO = "2c6b18d1c505400514bc23c665426b99ff4c0230ec1dbf7810834adea6a4c741"
GOLDEN_EMPTY = "9faa6d95aa5822b9f8929501c43b2bfe91da9b7d8f71152390521a66a2a2bae2"


@given(st.binary(max_size=2000), st.integers(0, 300))
def test_what_was_wrapped_is_opened(plain: bytes, padding: int) -> None:
    stored = encode_header(len(plain), padding_length=padding) + plain + bytes(padding)
    assert len(stored) == stored_length(len(plain), padding)
    assert decode_header(stored).stored_length == len(stored)
    assert open_plain(memoryview(stored)) == plain


def test_opening_does_not_copy() -> None:
    stored = bytearray(encode_header(3) + b"abc")
    view = open_plain(memoryview(stored))
    stored[HEADER_BYTES] = ord("x")
    assert bytes(view) == b"xbc"


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_refused_or_opened(raw: bytes) -> None:
    try:
        plain = open_plain(memoryview(raw))
    except CorruptionError:
        return
    assert raw.startswith(b"CLC1")
    assert len(plain) <= len(raw) - HEADER_BYTES


@given(st.binary(min_size=12, max_size=60))
def test_arbitrary_fields_after_the_magic_are_refused_or_opened(raw: bytes) -> None:
    try:
        open_plain(memoryview(b"CLC1" + raw))
    except CorruptionError:
        return
    assert raw[:4] == bytes(4)


@pytest.mark.parametrize("position", range(HEADER_BYTES))
def test_a_flipped_bit_in_the_header_is_refused(position: int) -> None:
    stored = bytearray(encode_header(3, padding_length=2) + b"abc\0\0")
    stored[position] ^= 0x40
    with pytest.raises(CorruptionError):
        open_plain(memoryview(stored))


@pytest.mark.parametrize("stored", [b"", encode_header(3) + b"ab", encode_header(3) + b"abcd"])
def test_wrong_length_is_refused(stored: bytes) -> None:
    with pytest.raises(CorruptionError):
        open_plain(memoryview(stored))


def test_hidden_bytes_in_the_padding_are_refused() -> None:
    with pytest.raises(CorruptionError, match="padding"):
        open_plain(memoryview(encode_header(1, padding_length=2) + b"a\0b"))


@pytest.mark.parametrize(("plain", "padding"), [(-1, 0), (0, -1), (BODY_MAX_BYTES, 1)])
def test_lengths_beyond_the_limit_are_not_encoded(plain: int, padding: int) -> None:
    with pytest.raises(UsageError):
        encode_header(plain, padding_length=padding)


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_an_id_is_of_the_bytes_however_they_are_cut(parts: list[bytes]) -> None:
    assert chunk_id(parts) == chunk_id(b"".join(parts))
