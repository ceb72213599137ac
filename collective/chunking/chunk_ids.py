"""Chunk ids: BLAKE3-256 over the bytes as stored, whole or as they arrive."""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from collective.core.errors import CorruptionError
from collective.core.ids import ChunkId


class ChunkHasher:
    """Computes a chunk id while the bytes arrive; releases the GIL on slices of 4 KiB and more."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, part: bytes | memoryview) -> None:
        """Add the next bytes."""
        self._hash.update(part)

    def chunk_id(self) -> ChunkId:
        """Return the id of everything added so far."""
        return ChunkId(self._hash.digest())


def chunk_id(parts: Iterable[bytes | memoryview] | bytes | memoryview) -> ChunkId:
    """Return the id of ``parts`` taken together (a single buffer will do)."""
    if isinstance(parts, bytes | memoryview):
        return ChunkId(blake3(parts).digest())
    state = blake3()
    for part in parts:
        state.update(part)
    return ChunkId(state.digest())


def check_chunk_id(
    chunk: ChunkId, parts: Iterable[bytes | memoryview] | bytes | memoryview
) -> None:
    """Raise :class:`CorruptionError` unless ``parts`` hash to ``chunk``."""
    if chunk_id(parts) != chunk:
        raise CorruptionError(
            f"The bytes of chunk {chunk.hex()[:16]} do not match its id; use another copy."
        )


def challenge_answer(nonce: bytes, stored: bytes | memoryview) -> bytes:
    """Return what only a holder of the bytes ``stored`` can answer to the 32 bytes of ``nonce``."""
    return blake3(stored, key=nonce).digest()
