"""One put at one hop: receive, pass on while receiving, keep, and answer for each hop.

Exactly one result goes up for this hop (if it keeps) and for each later one, in the order in which
they come, the last one flagged; a later hop that is dead or hangs gets an error after a deadline
and never delays this one's own answer.
"""

from __future__ import annotations

import asyncio

from collective.chunking.store.capacity import Reservation
from collective.core.errors import (
    CollectiveError,
    UnreachableError,
    UsageError,
)
from collective.core.ids import ChunkId, Generation
from collective.model.routes import SignedReceipt
from collective.rpc.conversions.transfers import receipt_message
from collective.rpc.errors import to_detail
from collective.rpc.gen.collective.v1.transfer import (
    PutHeader,
    PutResult,
    Receipt,
    Ticket,
)
from collective.transfer.buffers import PooledBuffer
from collective.transfer.stream.chunk_client import peer_of
from collective.transfer.stream.connection import ChunkConnection
from collective.transfer.stream.frames import FrameFlag, FrameType
from collective.transfer.stream.inbound import Inbound
from collective.transfer.stream.outbound import Patience
from collective.transfer.stream.serving import ChunkStorage, Serving
from collective.transfer.tickets.reading import read_ticket
from collective.transfer.tickets.receipts import sign_receipt
from collective.transfer.tickets.refusals import TicketRefusedError, UnknownKeyError


class PutJob:
    """A put whose ticket was checked.  :meth:`close` gives its memory back, whatever happened."""

    def __init__(
        self,
        serving: Serving,
        connection: ChunkConnection,
        request_id: int,
        header: PutHeader,
        ticket: Ticket,
    ) -> None:
        """Hold no memory yet."""
        self.inbound: Inbound | None = None
        """Where the payload lands, once there is memory."""
        self._serving = serving
        self._connection = connection
        self._request_id = request_id
        self._header = header
        self._ticket = ticket
        self._buffer: PooledBuffer | None = None
        self._store = None if ticket.forward_only else serving.store
        self._later = [read_ticket(hop).node for hop in header.hops[1:]]
        self._results_left = len(self._later) + (self._store is not None)

    def take_memory_now(self) -> bool:
        """Take a buffer if one is free and tell so; else :meth:`run` waits for one."""
        buffer = self._serving.pool_for(self._ticket).try_acquire(self._header.length)
        if buffer is not None:
            self._adopt(buffer)
        return buffer is not None

    def _adopt(self, buffer: PooledBuffer) -> Inbound:
        self._buffer = buffer
        self.inbound = Inbound(buffer, self._header.length)
        return self.inbound

    async def run(self) -> None:
        """Do it all.  Cancellation cancels later hops; a store call that has begun runs on.

        Raises:
            BusyError: no memory came free in time.
        """
        limits = self._serving.limits
        inbound = self.inbound
        if inbound is None:
            try:
                buffer = await self._serving.pool_for(self._ticket).acquire(
                    self._header.length, timeout_s=limits.buffer_wait_s
                )
            except BaseException:
                self._connection.unblock(None)
                raise
            inbound = self._adopt(buffer)
            self._connection.unblock(inbound)
        async with asyncio.TaskGroup() as group:
            if self._store is not None:
                group.create_task(self._keep(inbound, self._store))
            if self._later:
                group.create_task(self._forward(inbound))

    def described(self) -> dict[str, str]:
        """Return what a log line says of this job."""
        return {"operation": "put", "chunk": self._header.chunk_id.hex()}

    def close(self) -> None:
        """Let nothing more land, and give the memory back; idempotent."""
        if self.inbound is not None:
            self._connection.abandon(self.inbound)
            received_bytes = self.inbound.received
            self._serving.counts.received_bytes += received_bytes
            self._serving.moved_by(self._ticket, received_bytes=received_bytes)
            self.inbound = None
        if self._buffer is not None:
            self._buffer.release()
            self._buffer = None

    async def _keep(self, inbound: Inbound, store: ChunkStorage) -> None:
        node = str(self._serving.identity)
        try:
            receipt = await self._store_copy(inbound, store)
        except CollectiveError as error:
            self._answer(PutResult(node=node, error=to_detail(error, self._header.request_id)))
        else:
            self._answer(PutResult(node=node, receipt=receipt_message(receipt)))

    async def _store_copy(self, inbound: Inbound, store: ChunkStorage) -> SignedReceipt:
        ticket, limits = self._ticket, self._serving.limits
        reservation = store.reserve(inbound.total)
        try:
            await inbound.wait_for(inbound.total, limits.stall_s)
        except BaseException:
            reservation.release()
            raise
        assert self._buffer is not None
        # The store's thread reads the buffer: neither a cancelled request nor a deadline may give
        # it to anyone else before the store is done.
        job = self._serving.storing.spawn(
            self._keep_buffer(self._buffer.retain(), store, reservation)
        )
        try:
            async with asyncio.timeout(limits.store_s):
                await asyncio.shield(job)
        except TimeoutError as error:
            raise UnreachableError("The node's disk does not answer; use another.") from error
        self._serving.counts.stored += 1
        key = self._serving.keys.key(self._header.hops[0].key_id)
        if key is None:
            raise UnknownKeyError("The ticket's key was replaced meanwhile; try again.")
        return sign_receipt(
            key,
            Receipt(
                chunk_id=ticket.chunk_id,
                length=inbound.total,
                generation=ticket.generation,
                transfer_id=ticket.transfer_id,
                node=str(self._serving.identity),
                flushed=True,
            ),
        )

    async def _keep_buffer(
        self, buffer: PooledBuffer, store: ChunkStorage, reservation: Reservation
    ) -> None:
        try:
            await store.put(
                ChunkId(self._ticket.chunk_id),
                Generation(self._ticket.generation),
                buffer.view,
                reservation=reservation,
            )
        finally:
            reservation.release()
            buffer.release()

    async def _forward(self, inbound: Inbound) -> None:
        failure: CollectiveError = UnreachableError("The hop before this one gave no answer.")
        try:
            await self._pass_on(inbound)
        except CollectiveError as error:
            failure = error
        for node in tuple(self._later):
            self._answer_later(
                PutResult(node=node, error=to_detail(failure, self._header.request_id))
            )

    async def _pass_on(self, inbound: Inbound) -> None:
        limits = self._serving.limits
        try:
            peer = peer_of(self._ticket.next_node, self._ticket.next_addresses)
        except UsageError as error:
            raise TicketRefusedError("The ticket's next hop is malformed.") from error
        header = PutHeader(
            chunk_id=self._header.chunk_id,
            length=self._header.length,
            hops=self._header.hops[1:],
            request_id=self._header.request_id,
        )
        patience = Patience(stall_s=limits.stall_s, answer_s=limits.hop_result_s)
        async with self._serving.client.put_through(
            peer, header, inbound, patience=patience
        ) as transfer:
            async for result in transfer:
                self._answer_later(result)
        self._serving.counts.forwarded += 1

    def _answer_later(self, result: PutResult) -> None:
        """Pass a later hop's result up: one for each, and nobody else's."""
        if result.node in self._later:
            self._later.remove(result.node)
            self._answer(result)

    def _answer(self, result: PutResult) -> None:
        self._results_left -= 1
        last = FrameFlag.NONE if self._results_left else FrameFlag.LAST
        self._connection.answer(FrameType.PUT_RESULT, self._request_id, result, last)
