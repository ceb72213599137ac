"""Keeping in touch with the coordinator: a heartbeat every two seconds, and what its answer asks.

An answer brings ticket keys, the coordinator's time, the catalogue's position and what is revoked;
what of it counts before it is flushed is the memory's affair.  A coordinator that restarts or moves is
found again: each connection resolves its addresses anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from collective.chunking.store import ChunkStore
from collective.client.joining import teller_of
from collective.core.backoff import Backoff
from collective.core.clock import Clock
from collective.core.disk_errors import DiskState
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    PermissionDeniedError,
    RejectedError,
    UnreachableError,
)
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.core.work import IDLE, Outcome, Worker
from collective.pki.revocation import RevocationSet
from collective.pki.succession import Told
from collective.roles.node.keys import CoordinatorKeys
from collective.roles.node.memory import NodeMemory
from collective.roles.node.metrics import NodeMetrics
from collective.roles.node.problems import Problems, trouble
from collective.rpc.deadlines import call
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import node as node_pb
from collective.rpc.links import Channel
from collective.transfer.tickets.adoptions import open_adoption

HEARTBEAT_TIMEOUT_S: Final = 5.0
INVENTORY_TIMEOUT_S: Final = 600.0
RETRY_S: Final = 1.0
ASK_AFTER_FAILURES: Final = 2
ASK_EVERY_FAILURES: Final = 30
INTERVAL_LEAST_S: Final = 0.05
INTERVAL_MOST_S: Final = 30.0
INVENTORY_PAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """What a node says of itself in every heartbeat."""

    identity: SpiffeId
    instance_id: str
    addresses: tuple[Address, ...]
    version: str


class Heartbeat(Worker):
    """The node's side of ``NodeRegistry``."""

    name = "heartbeat"

    def __init__(
        self,
        open_channel: Callable[[], Channel],
        own: OwnFacts,
        store: ChunkStore,
        keys: CoordinatorKeys,
        memory: NodeMemory,
        problems: Problems,
        metrics: NodeMetrics,
        clock: Clock,
        *,
        interval_s: float,
        revoked: Callable[[RevocationSet], None],
        why_refused: Callable[[], Awaitable[str]] | None = None,
        trusted: Callable[[Told], None] = lambda _: None,
        disk_state: Callable[[], DiskState] = lambda: DiskState.OK,
    ) -> None:
        """Speak over channels of ``open_channel``.

        ``revoked`` is told what is revoked now, ``why_refused`` asks the bootstrap whether we were
        shut out (a coordinator says nothing to one that was), ``trusted`` hears which CAs count, and
        ``disk_state`` says whether the store takes writes.
        """
        self._trusted = trusted
        self._disk_state = disk_state
        self._open_channel = open_channel
        self._own = own
        self._store = store
        self._keys = keys
        self._memory = memory
        self._problems = problems
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._revoked = revoked
        self._channel: Channel | None = None
        self._draining = False
        self._inventory_reported = False
        self._refused = ""
        self._why_refused = why_refused
        self._failures = 0
        self._answered_s: float | None = None
        self._seal_is_newest = False
        """The coordinator knows by the seal alone what we remember of revocations."""
        self._turn = asyncio.Lock()
        self._log = structlog.get_logger("collective.node.heartbeat")

    @property
    def channel(self) -> Channel:
        """The channel to the coordinator, opened if there is none."""
        if self._channel is None:
            self._channel = self._open_channel()
        return self._channel

    @property
    def is_accepted(self) -> bool:
        """Whether the coordinator answered and knows our inventory."""
        return self._answered_s is not None and self._inventory_reported and not self._refused

    @property
    def refusal(self) -> str:
        """Why the coordinator takes us for no node of its, as far as it is known; else empty."""
        return self._refused

    @property
    def backoff(self) -> Backoff:
        """How long to wait after a beat that was not answered: no longer than between two."""
        return Backoff(min(RETRY_S, self._interval_s), self._interval_s)

    async def work(self) -> Outcome:
        """Beat once and do what was asked."""
        try:
            await self.beat()
            await self._report_problems()
        except (ConflictError, PermissionDeniedError) as error:
            self._metrics.heartbeat_failures.inc()
            if error.message != self._refused:
                self._log.error("refused by the coordinator", reason=error.message)
            self._refused = error.message
            raise
        except CollectiveError as error:
            self._metrics.heartbeat_failures.inc()
            if isinstance(error, UnreachableError | RejectedError):
                await self.reconnect()
            await self._ask_why()
            raise
        self._refused, self._failures = "", 0
        return IDLE

    async def wait(self) -> None:
        """Wait until the next beat is due."""
        await asyncio.sleep(self._interval_s)

    async def _ask_why(self) -> None:
        """Find out, after some failures in a row, whether we were shut out."""
        self._failures += 1
        if self._why_refused is None or self._failures % ASK_EVERY_FAILURES != ASK_AFTER_FAILURES:
            return
        refused = await self._why_refused()
        if refused and refused != self._refused:
            self._log.error("shut out by the coordinator", reason=refused)
        self._refused = refused

    async def beat(self) -> None:
        """Send one heartbeat and take its answer over."""
        async with self._turn:
            stub = self.channel.stub(node_pb.NodeRegistryStub)
            message = self._message()
            sent_s = self._clock.monotonic_s()
            answer = await call(lambda t: stub.heartbeat(message, timeout=t), HEARTBEAT_TIMEOUT_S)
            received_s = self._clock.monotonic_s()
            self._metrics.heartbeat_seconds.observe(received_s - sent_s)
            left_out = message.revoked_left_out and answer.seal_is_newest
            if self._keys.learn((key.key_id, key.key) for key in answer.keys):
                self._log.debug("ticket keys learnt", key_ids=self._keys.key_ids)
            changed = await self._memory.heard(
                answer.position,
                answer.revocation_epoch,
                None if left_out else answer.revoked,
                answer.revocation_seal,
                self._adoption(answer.adoption),
            )
            self._seal_is_newest = answer.seal_is_newest
            if changed:
                self._revoked(self._memory.revocations)
            if answer.trusted_ca_ders:
                teller = teller_of(self.channel)
                self._trusted(Told(answer.trusted_ca_ders, answer.ca_link_ders, teller))
            self._keys.synchronise(answer.coordinator_time_ms, sent_s=sent_s, received_s=received_s)
            self._answered_s = received_s
            if answer.send_inventory:
                await self._report_inventory(stub)
            else:  # it has it, though its word that it has may have been lost on the way
                self._inventory_reported = True
            if answer.interval_s > 0:
                self._interval_s = min(max(answer.interval_s, INTERVAL_LEAST_S), INTERVAL_MOST_S)

    async def announce_drain(self) -> None:
        """Tell the coordinator that this node is about to stop; silent if it cannot be told."""
        self._draining = True
        try:
            await self.beat()
        except CollectiveError as error:
            self._log.info("coordinator not told of the stop", reason=error.message)

    async def renew_channel(self) -> None:
        """Use a new connection from the next call on, once the present call has ended."""
        async with self._turn:
            await self.reconnect()

    async def reconnect(self) -> None:
        """Drop the channel; the next call opens one, with addresses resolved anew."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.aclose()

    def _adoption(self, signed: node_pb.SignedAdoption | None) -> node_pb.Adoption | None:
        """Return a checked adoption; one that is not for us is logged and left."""
        if signed is None:
            return None
        try:
            adoption = open_adoption(self._keys, signed, node=self._own.identity)
        except RejectedError as error:
            self._log.error("adoption refused", reason=error.message)
            return None
        self._log.warning(
            "the coordinator's catalogue takes the place of the one obeyed before",
            replaced=adoption.replaced.catalog_id if adoption.replaced else "",
        )
        return adoption

    def _message(self) -> node_pb.HeartbeatRequest:
        kept = self._memory.kept
        return node_pb.HeartbeatRequest(
            store_uuid=self._store.uuid,
            instance_id=self._own.instance_id,
            addresses=[pb.Address(host=one.host, port=one.port) for one in self._own.addresses],
            total_capacity=self._store.capacity_bytes,
            used_capacity=self._store.used_bytes,
            chunk_count=self._store.chunk_count,
            highest_position=kept.position,
            draining=self._draining,
            version=self._own.version,
            key_ids=self._keys.key_ids,
            revoked=[] if self._seal_is_newest else kept.sealed_entries,
            revoked_left_out=self._seal_is_newest,
            revocation_epoch=kept.revocations.epoch,
            revocation_seal=kept.revocation_seal,
            disk=self._disk_state().value,
        )

    async def _report_inventory(self, stub: node_pb.NodeRegistryStub) -> None:
        verdict = await call(
            lambda t: stub.report_inventory(self._pages(), timeout=t), INVENTORY_TIMEOUT_S
        )
        self._inventory_reported = True
        self._log.info(
            "inventory reported", copies=self._store.chunk_count, unknown=len(verdict.unknown)
        )

    async def _pages(self) -> AsyncIterator[node_pb.InventoryPage]:
        instance = self._own.instance_id
        async for page in self._store.inventory(INVENTORY_PAGE):
            copies = [
                node_pb.CopyRecord(chunk_id=one.chunk, generation=one.generation, length=one.length)
                for one in page
            ]
            yield node_pb.InventoryPage(instance_id=instance, copies=copies)
        yield node_pb.InventoryPage(instance_id=instance, last=True)

    async def _report_problems(self) -> None:
        batch = self._problems.batch()
        if not batch:
            return
        stub = self.channel.stub(node_pb.NodeRegistryStub)
        message = node_pb.ReportProblemsRequest(
            copies=[
                trouble(chunk, generation, corrupt=corrupt)
                for (chunk, generation), corrupt in batch.items()
            ]
        )
        await call(lambda t: stub.report_problems(message, timeout=t), HEARTBEAT_TIMEOUT_S)
        self._problems.told(batch)
