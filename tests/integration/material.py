"""Contents for tests of any size, made and compared without holding them in memory.

One random block of 1 MiB, repeated with a counter at its start, so that no two chunks are equal and
making it costs next to nothing.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

BLOCK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Material:
    """``size`` bytes that ``seed`` determines."""

    size: int
    seed: int = 0

    def blocks(self) -> Iterator[bytes]:
        """Yield the content in blocks of at most 1 MiB."""
        base = random.Random(self.seed).randbytes(BLOCK_BYTES)
        for offset in range(0, self.size, BLOCK_BYTES):
            block = struct.pack(">Q", offset) + base[8:]
            yield block[: self.size - offset]

    def all(self) -> bytes:
        """Return the whole content."""
        return b"".join(self.blocks())

    def part(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset``."""
        base = random.Random(self.seed).randbytes(BLOCK_BYTES)
        found = bytearray()
        end = min(self.size, offset + length)
        while offset < end:
            start = offset // BLOCK_BYTES * BLOCK_BYTES
            block = struct.pack(">Q", start) + base[8:]
            piece = block[offset - start : min(end, start + BLOCK_BYTES) - start]
            found += piece
            offset += len(piece)
        return bytes(found)

    def save(self, path: str) -> None:
        """Write the content to a local file."""
        with open(path, "wb") as file:
            file.writelines(self.blocks())

    def is_all_of(self, stream: IO[bytes]) -> bool:
        """Whether ``stream`` gives exactly this content; reads it to the end."""
        same = True
        for block in self.blocks():
            same = same and stream.read(len(block)) == block
        return same and not stream.read(1)
