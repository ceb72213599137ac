"""The versioned envelope around a chunk's bytes as stored.

Layout, big endian, 16 bytes, then the body, then zero padding:

====== ===== =======================================================================
offset bytes field
====== ===== =======================================================================
0      4     magic ``CLC1``
4      1     codec: 0 = plain (the body is the plaintext)
5      1     flags: 0
6      2     key id: 0 for plain
8      4     plain length: bytes of plaintext
12     4     padding length: zero bytes after the body
====== ===== =======================================================================

The chunk id is the BLAKE3-256 of header, body and padding together.  Decoding trusts nothing: any
bytes give an :class:`Envelope` or :class:`CorruptionError`.  Nothing here copies the body.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from collective.core import limits
from collective.core.errors import CorruptionError, UsageError

MAGIC: Final = b"CLC1"
_HEADER: Final = struct.Struct(">4sBBHII")
HEADER_BYTES: Final = _HEADER.size
BODY_MAX_BYTES: Final = limits.CHUNK_STORED_MAX_BYTES - HEADER_BYTES


PLAIN: Final = 0
"""The codec whose body is the plaintext."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a header says; lengths in bytes."""

    codec: int
    key_id: int
    plain_length: int
    padding_length: int

    @property
    def stored_length(self) -> int:
        """Bytes of the whole stored chunk: header, body and padding."""
        return HEADER_BYTES + self.plain_length + self.padding_length


def stored_length(plain_length: int, padding_length: int = 0) -> int:
    """Return the stored bytes of a plain chunk of ``plain_length`` bytes."""
    return HEADER_BYTES + plain_length + padding_length


def encode_header(plain_length: int, *, padding_length: int = 0) -> bytes:
    """Return the 16-byte header of a plain chunk.

    The caller hashes and sends ``[header, body]`` (and ``bytes(padding_length)`` after it).

    Raises:
        UsageError: a length is negative, or the stored chunk would exceed the limit.
    """
    if (
        plain_length < 0
        or padding_length < 0
        or stored_length(plain_length, padding_length) > limits.CHUNK_STORED_MAX_BYTES
    ):
        raise UsageError(
            f"A stored chunk may have at most {limits.CHUNK_STORED_MAX_BYTES} bytes; split smaller."
        )
    return _HEADER.pack(MAGIC, PLAIN, 0, 0, plain_length, padding_length)


def decode_header(stored: bytes | memoryview) -> Envelope:
    """Return what the first 16 bytes of ``stored`` say; the rest is not looked at.

    Raises:
        CorruptionError: too short, unknown magic, codec or flags, or lengths beyond the limit.
    """
    if len(stored) < HEADER_BYTES:
        raise CorruptionError("A stored chunk is shorter than its header; read another copy.")
    magic, codec, flags, key_id, plain_length, padding_length = _HEADER.unpack_from(stored)
    if magic != MAGIC:
        raise CorruptionError("A stored chunk does not begin with an envelope; read another copy.")
    if codec != PLAIN or flags != 0 or key_id != 0:
        raise CorruptionError(
            f"A stored chunk uses codec {codec}, flags {flags}, key {key_id}, unknown to this"
            " version; upgrade."
        )
    if plain_length + padding_length > BODY_MAX_BYTES:
        raise CorruptionError("A stored chunk claims more bytes than a chunk may have.")
    return Envelope(codec, key_id, plain_length, padding_length)


def open_plain(stored: memoryview) -> memoryview:
    """Return the plaintext inside a whole stored chunk, as a view into ``stored``.

    Raises:
        CorruptionError: as :func:`decode_header`; or the length differs from what the header says,
            or the padding is not zero.
    """
    envelope = decode_header(stored)
    if len(stored) != envelope.stored_length:
        raise CorruptionError(
            f"A stored chunk has {len(stored)} bytes where its header says"
            f" {envelope.stored_length}; read another copy."
        )
    end = HEADER_BYTES + envelope.plain_length
    if envelope.padding_length and any(stored[end:]):
        raise CorruptionError("The padding of a stored chunk is not zero; read another copy.")
    return stored[HEADER_BYTES:end]
