"""Values that the chunk store's parts share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from collective.core.ids import ChunkId, Generation
from collective.core.limits import KIB, MIB

FREE_MARGIN_BYTES: Final = 64 * MIB
Part: TypeAlias = bytes | memoryview
Parts: TypeAlias = Sequence[Part] | Part


class StoredCopy(NamedTuple):
    """One stored copy: chunk, generation, and its stored length in bytes."""

    chunk: ChunkId
    generation: Generation
    length: int


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Sizes in bytes that tune the store; tests make them small."""

    small_max_bytes: int = 256 * KIB
    """A chunk below this goes into a pack, others have a file each."""
    pack_max_bytes: int = 256 * MIB
    """A pack that has reached this is closed and a new one begun."""
    batch_max_bytes: int = 4 * MIB
    """The most that one flush of a pack covers."""
    free_margin_bytes: int = FREE_MARGIN_BYTES
    """Free space of the file system that the store never uses."""
    dead_ratio: float = 0.5
    """A pack with more than this share of dead bytes is worth compacting."""
