"""Which copies the store holds and where: compact, in memory, rebuilt at open.

About 220 bytes a copy: the key is the chunk id, the value one integer that packs generation, pack,
offset and length (a tuple of them for the rare chunk with several generations).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from collective.chunking.store.model import StoredCopy
from collective.core.ids import ChunkId, Generation

OWN_FILE: Final = 0
"""Pack number of a chunk that has a file of its own."""
_MASK: Final = 0xFFFF_FFFF


class Location(NamedTuple):
    """Where a copy lies: pack number, offset of its record, length of its body in bytes."""

    generation: Generation
    pack: int
    offset: int
    length: int


def _pack(place: Location) -> int:
    return place.generation << 96 | place.pack << 64 | place.offset << 32 | place.length


def _unpack(value: int) -> Location:
    return Location(
        Generation(value >> 96), value >> 64 & _MASK, value >> 32 & _MASK, value & _MASK
    )


class Index:
    """Chunk id → places; not locked, the store's lock guards it."""

    def __init__(self) -> None:
        self._places: dict[ChunkId, int | tuple[int, ...]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def places(self, chunk: ChunkId) -> tuple[Location, ...]:
        """Return the places of ``chunk``, newest generation first; empty if there is none."""
        found = self._places.get(chunk)
        if found is None:
            return ()
        if isinstance(found, int):
            return (_unpack(found),)
        return tuple(_unpack(value) for value in found)

    def find(self, chunk: ChunkId, generation: Generation | None) -> Location | None:
        """Return the place of that generation (None: the newest), if any."""
        for place in self.places(chunk):
            if generation is None or place.generation == generation:
                return place
        return None

    def add(self, chunk: ChunkId, place: Location) -> Location | None:
        """Record ``place`` and return the one it replaces, of the same generation."""
        before = self.remove(chunk, place.generation)
        rest = self.places(chunk)
        self._count += 1
        self._store(chunk, (*rest, place))
        return before

    def remove(self, chunk: ChunkId, generation: Generation) -> Location | None:
        """Forget that generation and return its place, if any."""
        places = self.places(chunk)
        found = next((place for place in places if place.generation == generation), None)
        if found is not None:
            self._count -= 1
            self._store(chunk, tuple(place for place in places if place is not found))
        return found

    def _store(self, chunk: ChunkId, places: tuple[Location, ...]) -> None:
        values = sorted((_pack(place) for place in places), reverse=True)
        if not values:
            self._places.pop(chunk, None)
        else:
            self._places[chunk] = values[0] if len(values) == 1 else tuple(values)

    def chunks(self) -> list[ChunkId]:
        """Return all chunk ids now held, in no order."""
        return list(self._places)

    def copies(self, chunk: ChunkId) -> Iterator[StoredCopy]:
        """Yield the copies of ``chunk``, oldest generation first."""
        for place in reversed(self.places(chunk)):
            yield StoredCopy(chunk, place.generation, place.length)


def sorted_in_slices(chunks: Iterable[ChunkId]) -> Iterator[ChunkId]:
    """Yield ``chunks`` in order; millions of them stop no other thread for more than milliseconds."""
    slices: list[list[ChunkId]] = [[] for _ in range(256)]
    for chunk in chunks:
        slices[chunk[0]].append(chunk)
    for some in slices:
        some.sort()
        yield from some
