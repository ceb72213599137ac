"""Checks of chunks for fakes, which have no store to do it."""

from __future__ import annotations

from collections.abc import Iterable

from collective.chunking.chunk_ids import chunk_id
from collective.core.errors import CorruptionError
from collective.core.ids import ChunkId


def check_chunk_id(
    chunk: ChunkId, parts: Iterable[bytes | memoryview] | bytes | memoryview
) -> None:
    """Raise :class:`CorruptionError` unless ``parts`` hash to ``chunk``."""
    if chunk_id(parts) != chunk:
        raise CorruptionError(
            f"The bytes of chunk {chunk.hex()[:16]} do not match its id; use another copy."
        )
