"""What arrives as a stream of bytes, cut into chunks as our own client cuts them.

One chunk is in memory at a time, in a buffer of the pool; whoever takes it releases it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.envelope import HEADER_BYTES, encode_header
from collective.core import limits
from collective.model.extents import ChunkIntent
from collective.transfer.buffers import BufferPool, PooledBuffer


@dataclass(frozen=True, slots=True)
class IncomingChunk:
    """A chunk ready to be stored; whoever holds it releases it."""

    intent: ChunkIntent
    buffer: PooledBuffer

    def release(self, *_: object) -> None:
        """Give the buffer back, once; fit to be a task's callback."""
        self.buffer.release()


class Splitter:
    """Cuts a stream of messages of any size into enveloped chunks."""

    def __init__(self, data: AsyncIterator[bytes], pool: BufferPool) -> None:
        """Cut ``data``, each chunk into a buffer of ``pool``."""
        self._data = data
        self._pool = pool
        self._rest = memoryview(b"")
        self._ended = False

    async def next_chunk(self, offset: int) -> IncomingChunk | None:
        """Return the chunk at ``offset`` (plain bytes so far), or None at the end."""
        if not await self._more():
            return None
        buffer = await self._pool.acquire(HEADER_BYTES + limits.CHUNK_SIZE_BYTES)
        try:
            filled = 0
            body = buffer.view[HEADER_BYTES:]
            while filled < limits.CHUNK_SIZE_BYTES and await self._more():
                part = self._rest[: limits.CHUNK_SIZE_BYTES - filled]
                body[filled : filled + len(part)] = part
                filled += len(part)
                self._rest = self._rest[len(part) :]
            buffer.view[:HEADER_BYTES] = encode_header(filled)
            buffer.shrink(HEADER_BYTES + filled)
        except BaseException:
            buffer.release()
            raise
        intent = ChunkIntent(
            chunk=chunk_id(buffer.view),
            stored_length=len(buffer.view),
            offset=offset,
            length=filled,
        )
        return IncomingChunk(intent, buffer)

    async def _more(self) -> bool:
        while not self._rest and not self._ended:
            try:
                self._rest = memoryview(await anext(self._data))
            except StopAsyncIteration:
                self._ended = True
        return bool(self._rest)
