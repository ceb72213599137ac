"""The serving side of the chunk stream: a node's, and (without a store) a coordinator's as relay.

Checks the ticket of every request before it takes any memory or touches the store; how puts and
gets then proceed stands in :mod:`~.put_job` and :mod:`~.get_job`.  Limits: requests at once on a
connection, memory by the pool, and a deadline for every wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from collective.core.errors import BusyError, CollectiveError, InternalError, RejectedError
from collective.core.ids import ChunkId, SpiffeId
from collective.core.limits import CHUNK_STORED_MAX_BYTES, ROUTE_MAX_HOPS
from collective.core.tasks import TaskScope
from collective.core.world import Runs
from collective.pki.certificates import Certified
from collective.rpc.gen.collective.v1.transfer import (
    ChunkOperation,
    GetHeader,
    PutHeader,
    SignedTicket,
    Ticket,
)
from collective.rpc.links import Dialer
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.chunk_client import ChunkClient, ClientLimits
from collective.transfer.stream.connection import ChunkConnection
from collective.transfer.stream.frames import (
    BLOCKED,
    Blocked,
    Frame,
    FrameType,
    FramingError,
    PayloadTarget,
    parse_head,
)
from collective.transfer.stream.get_job import GetJob
from collective.transfer.stream.kept_links import Moved
from collective.transfer.stream.put_job import PutJob
from collective.transfer.stream.serving import (
    ChunkStorage,
    ForeignPools,
    Serving,
    TicketRefusals,
    TransferCounts,
    TransferLimits,
)
from collective.transfer.stream.terms import ServingTerms, Terms
from collective.transfer.tickets.checking import check_following, check_ticket
from collective.transfer.tickets.keys import KeySource
from collective.transfer.tickets.refusals import TicketRefusedError

__all__ = ["ChunkServer", "ChunkStorage", "TransferCounts", "TransferLimits"]

_FORWARDING: Final = ClientLimits(connections_per_peer=8, crowded_at_requests=1)
"""Payload passed on grows as fast as it arrives, so each has a connection of its own if possible."""
_log = structlog.get_logger(__name__)


class ChunkServer:
    """Serves chunk-stream connections within one event loop; :meth:`close` ends it."""

    def __init__(
        self,
        *,
        identity: SpiffeId,
        store: ChunkStorage | None,
        keys: KeySource,
        dialer: Dialer,
        pool: BufferPool,
        threads: Runs,
        limits: TransferLimits | None = None,
        refusals: TicketRefusals | None = None,
        foreign_pools: ForeignPools | None = None,
        moved: Moved | None = None,
    ) -> None:
        """Serve as ``identity``; without ``store`` it only forwards.

        ``dialer`` opens the connections to next hops, ``pool`` holds all payload, ``threads`` do
        what blocks; ``refusals`` is told of tickets refused here.  Payload from other members, or to them, is in
        ``foreign_pools``; ``moved`` is told of payload that came from others, and went to them.
        """
        self._tasks = TaskScope(_log_failure)
        self._serving = Serving(
            identity=identity,
            store=store,
            keys=keys,
            client=ChunkClient(
                dialer,
                pool,
                threads,
                home=identity.trust_domain,
                limits=_FORWARDING,
                moved=moved,
            ),
            pool=pool,
            limits=limits or TransferLimits(),
            storing=TaskScope(_log_failure),
            counts=TransferCounts(),
            refusals=refusals,
            foreign_pools=foreign_pools,
            moved=moved,
        )
        self._terms = ServingTerms(
            identity.trust_domain, self._serving.limits.requests_per_connection
        )
        self._connections: set[_ServerConnection] = set()
        self._draining = False

    @property
    def counts(self) -> TransferCounts:
        """What was done since the start, for metrics."""
        return self._serving.counts

    @property
    def active(self) -> int:
        """Requests under way."""
        return len(self._tasks)

    def protocol(self, peer: SpiffeId) -> asyncio.BufferedProtocol:
        """Return the protocol for a new connection whose certificate proved to be ``peer``."""
        terms = self._terms.of(peer.trust_domain)
        served = _ServerConnection(
            peer, terms, self._serving, self._tasks, self._forget, self._is_draining
        )
        self._connections.add(served)
        if self._draining:
            asyncio.get_running_loop().call_soon(served.connection.close)
        return served.connection

    def accept(self, peer: Certified) -> asyncio.BufferedProtocol:
        """Return the protocol for a new connection of ``peer``: a listener's ``chunk_factory``."""
        return self.protocol(peer.identity)

    async def close(self, grace_s: float = 5.0) -> None:
        """Refuse new requests, let those under way finish for ``grace_s``, then close all."""
        self._draining = True
        await self._tasks.close(grace_s)
        for served in tuple(self._connections):
            served.connection.close()
        await self._serving.client.close()
        await self._serving.storing.close(self._serving.limits.store_s)

    def _forget(self, served: _ServerConnection) -> None:
        self._connections.discard(served)

    def _is_draining(self) -> bool:
        return self._draining


def _log_failure(error: BaseException) -> None:
    _log.debug("transfer task failed", error=repr(error))


class _ServerConnection:
    """The requests of one connection."""

    def __init__(
        self,
        peer: SpiffeId,
        terms: Terms,
        serving: Serving,
        tasks: TaskScope,
        forget: Callable[[_ServerConnection], None],
        draining: Callable[[], bool],
    ) -> None:
        self._requests_max = terms.requests_max
        self.connection = ChunkConnection(terms.writes)
        self.connection.handler = self
        self.connection.open_transports = terms.transports
        self._peer = peer
        self._serving = serving
        self._tasks = tasks
        self._forget = forget
        self._draining = draining
        self._jobs: dict[int, PutJob | GetJob] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._idle_timer: asyncio.TimerHandle | None = None
        self._watch_idle()

    # --- ConnectionHandler ---

    def frame_begun(self, frame: Frame, head: bytes) -> PayloadTarget | Blocked | None:
        """Begin, continue or cancel a request."""
        match frame.type:
            case FrameType.DATA:
                job = self._jobs.get(frame.request_id)
                return job.inbound if isinstance(job, PutJob) else None
            case FrameType.CANCEL:
                task = self._running.get(frame.request_id)
                if task is not None:
                    task.cancel()
                return None
            case FrameType.PUT | FrameType.GET:
                return self._begin(frame, head)
            case FrameType.ERROR:
                return None
            case _:
                raise FramingError(f"A {frame.type.name} frame asks for nothing.")

    def connection_lost(self, error: CollectiveError) -> None:  # noqa: ARG002 - whatever it was
        """Cancel everything that was asked for here."""
        self._forget(self)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        for task in tuple(self._running.values()):
            task.cancel()

    # --- requests ---

    def _begin(self, frame: Frame, head: bytes) -> PayloadTarget | Blocked | None:
        if frame.request_id in self._running:
            raise FramingError("A request id is used twice at once.")
        trace = ""
        try:
            if self._draining():
                raise BusyError("The server is shutting down; try again in a moment.")
            if len(self._running) >= self._requests_max:
                raise BusyError("Too many requests at once on one connection; wait for answers.")
            if frame.type is FrameType.GET:
                get = parse_head(GetHeader, head)
                trace = get.request_id
                self._start(frame.request_id, self._get_job(frame.request_id, get), trace)
                return None
            put = parse_head(PutHeader, head)
            trace = put.request_id
            _check_first_piece(frame, put)
            job = self._put_job(frame.request_id, put)
            if not job.take_memory_now() and self._receiving():
                # Waiting stops the connection, and with it what would set memory free.
                raise BusyError("All transfer memory is in use; try again in a moment.")
            self._start(frame.request_id, job, trace)
        except FramingError:
            raise
        except CollectiveError as error:
            refusals = self._serving.refusals
            if refusals is not None and isinstance(error, TicketRefusedError):
                refusals.ticket(self._peer, self.connection.source, error, trace)
            self._refuse(frame.request_id, error, trace)
            return None
        return BLOCKED if job.inbound is None else job.inbound

    def _receiving(self) -> bool:
        return any(
            isinstance(job, PutJob) and job.inbound is not None and not job.inbound.complete
            for job in self._jobs.values()
        )

    def _put_job(self, request_id: int, header: PutHeader) -> PutJob:
        ticket = self._checked(ChunkOperation.PUT, header.chunk_id, header.length, header.hops)
        return PutJob(self._serving, self.connection, request_id, header, ticket)

    def _get_job(self, request_id: int, header: GetHeader) -> GetJob:
        end = header.offset + header.length
        ticket = self._checked(ChunkOperation.GET, header.chunk_id, end, header.hops)
        return GetJob(self._serving, self.connection, request_id, header, ticket)

    def _checked(
        self, operation: ChunkOperation, chunk: bytes, length: int, hops: list[SignedTicket]
    ) -> Ticket:
        if not 1 <= len(hops) <= ROUTE_MAX_HOPS:
            raise RejectedError(f"A route has 1 to {ROUTE_MAX_HOPS} hops.")
        if length > CHUNK_STORED_MAX_BYTES:
            raise RejectedError(f"No chunk has more than {CHUNK_STORED_MAX_BYTES} bytes.")
        serving = self._serving
        ticket = check_ticket(
            serving.keys,
            hops[0],
            operation=operation,
            chunk=ChunkId(chunk),
            length=length,
            node=serving.identity,
            holder=self._peer,
            now_ms=serving.keys.coordinator_now_ms(),
            revocation_epoch=serving.keys.revocation_epoch(),
        )
        check_following(ticket, hops[1:], serving.identity)
        if serving.store is None and not ticket.forward_only:
            raise TicketRefusedError("The ticket asks a relay to store.")
        return ticket

    def _start(self, request_id: int, job: PutJob | GetJob, trace: str) -> None:
        self._jobs[request_id] = job
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        task = self._tasks.spawn(self._run(request_id, job, trace))
        self._running[request_id] = task
        # A task cancelled before its first step never runs its own clean-up.
        task.add_done_callback(lambda _: self._finish(request_id, job))

    async def _run(self, request_id: int, job: PutJob | GetJob, trace: str) -> None:
        with structlog.contextvars.bound_contextvars(request_id=trace):
            try:
                await job.run()
                _log.debug("transfer served", peer=str(self._peer), **job.described())
            except CollectiveError as error:
                self._refuse(request_id, error, trace)
            except Exception:  # noqa: BLE001 - the edge of the request's task
                _log.exception("transfer failed", peer=str(self._peer))
                self._refuse(request_id, InternalError("The transfer failed."), trace)

    def _finish(self, request_id: int, job: PutJob | GetJob) -> None:
        self._jobs.pop(request_id, None)
        self._running.pop(request_id, None)
        job.close()
        if not self._running and self.connection.open:
            self._watch_idle()

    def _refuse(self, request_id: int, error: CollectiveError, trace: str) -> None:
        self._serving.counts.refused += 1
        now_s = asyncio.get_running_loop().time()
        line = self._serving.lines.take(self._peer.trust_domain, now_s)
        if line is not None:
            who, why = str(self._peer), error.message
            _log.info("transfer refused", peer=who, code=error.code, reason=why, **line)
        self.connection.answer_error(request_id, error, trace)

    def _watch_idle(self) -> None:
        with suppress(RuntimeError):  # made outside of a loop: by tests of the protocol alone
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(self._serving.limits.idle_s, self.connection.close)


def _check_first_piece(frame: Frame, put: PutHeader) -> None:
    if not 0 < frame.payload_length <= put.length:
        raise FramingError("A put carries none of its bytes, or more than it says.")
