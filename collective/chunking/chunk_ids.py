"""Chunk ids: BLAKE3-256 over the bytes as stored."""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from collective.core.ids import ChunkId


def chunk_id(parts: Iterable[bytes | memoryview] | bytes | memoryview) -> ChunkId:
    """Return the id of ``parts`` taken together (a single buffer will do)."""
    if isinstance(parts, bytes | memoryview):
        return ChunkId(blake3(parts).digest())
    state = blake3()
    for part in parts:
        state.update(part)
    return ChunkId(state.digest())


def challenge_answer(nonce: bytes, stored: bytes | memoryview) -> bytes:
    """Return what only a holder of the bytes ``stored`` can answer to the 32 bytes of ``nonce``."""
    return blake3(stored, key=nonce).digest()
