"""What arrives as protobuf is strict: hostile bytes are one error, quickly, and types hold."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from contextlib import suppress

import pytest
from betterproto2 import Message
from hypothesis import given
from hypothesis import strategies as st

from collective.core.errors import RejectedError
from collective.rpc.wire.decoding import FIELDS_MAX, UINT64_MAX, UNKNOWN_FIELDS_MAX, parse_message
from tests import protocol as pb

CLASSES: Sequence[type[Message]] = [
    value
    for value in vars(pb).values()
    if isinstance(value, type) and issubclass(value, Message) and value is not Message
]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def refused(message_class: type[Message], raw: bytes) -> None:
    with pytest.raises(RejectedError, match=f"no valid {message_class.__name__}"):
        parse_message(message_class, raw)


def test_a_cut_off_field_is_refused() -> None:
    refused(pb.SignedTicket, b"\x0a\x7fabc")
    refused(pb.SignedTicket, b"\x10")
    refused(pb.SignedTicket, b"\x10\x80")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x08\x05", id="number for bytes"),
        pytest.param(b"\x12\x01\x05", id="packed for a single number"),
        pytest.param(b"\x11" + bytes(8), id="fixed64 for a number"),
        pytest.param(b"\x20\x05", id="number for text"),
        pytest.param(b"\x0b\x0c", id="group"),
        pytest.param(b"\x0f", id="wire type 7"),
        pytest.param(b"\x00\x00", id="field number 0"),
        pytest.param(b"\x22\x01\xff", id="text that is not UTF-8"),
        pytest.param(b"\x22\x03\xed\xa0\x80", id="text with a surrogate"),
        pytest.param(b"\x10" + b"\xff" * 11, id="endless number"),
    ],
)
def test_a_field_of_another_wire_type_is_refused(raw: bytes) -> None:
    refused(pb.SignedReceipt, raw)


def test_numbers_beyond_what_the_catalogue_can_add_up_are_refused() -> None:
    assert parse_message(pb.StatRequest, b"").path == ""
    assert parse_message(pb.RemoveRequest, b"\x18" + varint(UINT64_MAX)).if_version == UINT64_MAX
    for value in (UINT64_MAX + 1, (1 << 63) - 1, (1 << 64) - 1, (1 << 70) - 1):
        refused(pb.RemoveRequest, b"\x18" + varint(value))


@pytest.mark.parametrize(
    ("message_class", "raw"),
    [
        pytest.param(pb.BeginJoinRequest, b"\xf8\x01\x01" * 1_390_000, id="unknown fields"),
        pytest.param(pb.BeginJoinRequest, b"\x0a\x00" * 2_000_000, id="one field many times"),
        pytest.param(pb.AllocateChunksRequest, b"\x12\x00" * 2_000_000, id="empty messages"),
        pytest.param(pb.HeartbeatRequest, b"\x5a\x80\x89\x7a" + b"\1" * 2_000_000, id="packed"),
    ],
)
def test_four_mebibytes_of_tiny_fields_are_refused_at_once(
    message_class: type[Message], raw: bytes
) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        refused(message_class, raw)
    finally:
        sys.setprofile(None)
    assert calls < 700_000, "calls and returns, of several for each field that is looked at"


def test_bounds_are_exact() -> None:
    parse_message(pb.BeginJoinRequest, b"\xf8\x01\x01" * UNKNOWN_FIELDS_MAX)
    refused(pb.BeginJoinRequest, b"\xf8\x01\x01" * (UNKNOWN_FIELDS_MAX + 1))
    parse_message(pb.BeginJoinRequest, b"\x0a\x00" * FIELDS_MAX)
    refused(pb.BeginJoinRequest, b"\x0a\x00" * (FIELDS_MAX + 1))


def test_every_entry_of_a_long_page_may_have_more_than_is_known() -> None:
    newer = b"\xba\x3e\x01x"  # a string as field 999
    entry = b"\x0a\x02/a" + newer * 3
    page = b"".join(b"\x0a" + bytes((len(entry),)) + entry for _ in range(1000))
    assert len(parse_message(pb.ListResponse, page).entries) == 1000


def test_what_others_encode_differently_is_taken() -> None:
    """Packed and unpacked numbers, fields in any order, defaults written out: all are protobuf."""
    packed = parse_message(pb.HeartbeatRequest, b"\x5a\x02\x01\x02")
    assert packed.key_ids == parse_message(pb.HeartbeatRequest, b"\x58\x01\x58\x02").key_ids
    turned = parse_message(pb.BeginJoinRequest, b"\xf8\x01\x01\x0a\x01a")
    assert turned.code_id == "a"
    attributes = pb.FileAttributes(mode=0o644, modified_s=-1, metadata={"a": "b", "c": ""})
    assert parse_message(pb.FileAttributes, bytes(attributes)) == attributes


@given(st.sampled_from(CLASSES), st.binary(max_size=512))
def test_any_bytes_are_a_message_or_one_error(message_class: type[Message], raw: bytes) -> None:
    try:
        message = parse_message(message_class, raw)
    except RejectedError:
        return
    bytes(message)  # what was taken has the declared types, so it can be encoded


@given(st.randoms(use_true_random=False))
def test_a_damaged_message_is_a_message_or_one_error(rng: random.Random) -> None:
    raw = bytearray(
        bytes(
            pb.CommitUploadRequest(
                upload_id="0" * 32,
                extents=[pb.Extent(offset=5, length=7, chunk_id=b"x" * 32, stored_length=23)],
                receipts=[pb.SignedReceipt(body=b"b", key_id=9, mac=b"m" * 32, node="n")],
                size_bytes=12,
            )
        )
    )
    for _ in range(rng.randint(1, 4)):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    with suppress(RejectedError):
        bytes(parse_message(pb.CommitUploadRequest, bytes(raw)))
