"""One get at one hop: from the own store, or passed on from the next hop while it arrives."""

from __future__ import annotations

import asyncio

from collective.core.errors import NotFoundError, UnreachableError, UsageError
from collective.core.ids import ChunkId
from collective.rpc.gen.collective.v1.transfer import GetHeader, GetResult, Ticket
from collective.transfer.buffers import PooledBuffer
from collective.transfer.stream.chunk_client import peer_of
from collective.transfer.stream.connection import ChunkConnection
from collective.transfer.stream.frames import FrameType
from collective.transfer.stream.outbound import FOLLOW_BYTES, PartsSource, Patience, Source
from collective.transfer.stream.serving import ChunkStorage, Serving
from collective.transfer.tickets.refusals import TicketRefusedError


class GetJob:
    """A get whose ticket was checked.  :meth:`close` gives its memory back, whatever happened."""

    def __init__(
        self,
        serving: Serving,
        connection: ChunkConnection,
        request_id: int,
        header: GetHeader,
        ticket: Ticket,
    ) -> None:
        """Hold no memory yet."""
        self._serving = serving
        self._connection = connection
        self._request_id = request_id
        self._header = header
        self._ticket = ticket
        self._buffer: PooledBuffer | None = None
        self._sent_bytes = 0

    async def run(self) -> None:
        """Do it all.

        Raises:
            NotFoundError, CorruptionError: the copy is missing or damaged.
            BusyError: no memory came free in time.
            UsageError: the range lies outside of the chunk.
            UnreachableError: the next hop does not deliver, or this peer does not take.
        """
        store = self._serving.store
        if self._ticket.forward_only or store is None:
            await self._relay()
        else:
            await self._serve(store)

    def described(self) -> dict[str, str]:
        """Return what a log line says of this job."""
        return {"operation": "get", "chunk": self._header.chunk_id.hex()}

    def close(self) -> None:
        """Give the memory back; idempotent."""
        if self._buffer is not None:
            self._buffer.release()
            self._buffer = None

    async def _take(self, length: int) -> PooledBuffer:
        self._buffer = await self._serving.pool_for(self._ticket).acquire(
            length, timeout_s=self._serving.limits.buffer_wait_s
        )
        return self._buffer

    async def _serve(self, store: ChunkStorage) -> None:
        chunk = ChunkId(self._ticket.chunk_id)
        total = store.length_of(chunk)
        if total > self._ticket.length_limit:
            raise TicketRefusedError("The chunk is longer than its ticket allows.")
        begin = self._header.offset
        end = begin + self._header.length if self._header.length else total
        if not begin < end <= total:
            raise UsageError("The range lies outside of the chunk.")
        buffer = await self._take(total)
        view = buffer.view
        # The store's thread writes into the buffer, whatever becomes of this request.
        buffer.retain()
        job = self._serving.storing.spawn(store.get_into(chunk, view))
        job.add_done_callback(lambda _: buffer.release())
        try:
            async with asyncio.timeout(self._serving.limits.store_s):
                read = await asyncio.shield(job)
        except TimeoutError as error:
            raise UnreachableError("The node's disk does not answer; use another.") from error
        if read != total:
            raise NotFoundError("The chunk was replaced while it was read; try again.")
        await self._send(PartsSource([view[begin:end]]), total)
        self._serving.counts.read += 1

    async def _relay(self) -> None:
        limits = self._serving.limits
        try:
            peer = peer_of(self._ticket.next_node, self._ticket.next_addresses)
        except UsageError as error:
            raise TicketRefusedError("The ticket's next hop is malformed.") from error
        limit = self._ticket.length_limit
        buffer = await self._take(min(self._header.length or limit, limit))
        header = GetHeader(
            chunk_id=self._header.chunk_id,
            offset=self._header.offset,
            length=self._header.length,
            hops=self._header.hops[1:],
            request_id=self._header.request_id,
        )
        transfer = self._serving.client.get_through(
            peer,
            header,
            buffer,
            patience=Patience(stall_s=limits.stall_s, answer_s=limits.hop_result_s),
        )
        try:
            inbound = await transfer.begin()
            await self._send(inbound, transfer.total_length)
        finally:
            transfer.end()
        self._serving.counts.forwarded += 1

    async def _send(self, source: Source, total_length: int) -> None:
        self._sent_bytes = 0
        try:
            await self._send_pieces(source, total_length)
        finally:
            self._serving.moved_by(self._ticket, sent_bytes=self._sent_bytes)

    async def _send_pieces(self, source: Source, total_length: int) -> None:
        stall_s = self._serving.limits.stall_s
        while (sent := self._sent_bytes) < source.total:
            await source.wait_for(min(sent + FOLLOW_BYTES, source.total), stall_s)
            try:
                await self._connection.writable(stall_s)
            except UnreachableError as error:
                self._connection.abort(error)
                raise
            end = min(source.received, sent + self._connection.piece_bytes)
            result = None
            if not sent:
                result = GetResult(
                    chunk_id=self._header.chunk_id,
                    offset=self._header.offset,
                    total_length=total_length,
                )
            self._connection.send(
                FrameType.DATA if sent else FrameType.GET_RESULT,
                self._request_id,
                result,
                source.slices(sent, end),
            )
            self._serving.counts.sent_bytes += end - sent
            self._sent_bytes = end
