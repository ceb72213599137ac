"""Keeping in touch with the coordinator: a heartbeat every two seconds, and what its answer asks.

What is said stands in :mod:`~.heartbeat_facts`, what an answer changes in :mod:`~.heartbeat_effects`.
A coordinator that restarts or moves is found again: each connection resolves its addresses anew.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from collective.client.joining import teller_of
from collective.core.backoff import Backoff
from collective.core.clock import Clock
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    PermissionDeniedError,
    RejectedError,
    UnreachableError,
)
from collective.core.work import IDLE, Outcome, Worker
from collective.roles.node.coordinator_channel import CoordinatorChannel
from collective.roles.node.heartbeat_effects import HeartbeatEffects
from collective.roles.node.heartbeat_facts import HeartbeatFacts
from collective.roles.node.metrics import NodeMetrics
from collective.rpc.conversions.node_registry import whereabouts_from
from collective.rpc.deadlines import call
from collective.rpc.gen.collective.v1 import node as node_pb

HEARTBEAT_TIMEOUT_S: Final = 5.0
RETRY_S: Final = 1.0
ASK_AFTER_FAILURES: Final = 2
ASK_EVERY_FAILURES: Final = 30
INTERVAL_LEAST_S: Final = 0.05
INTERVAL_MOST_S: Final = 30.0


class Heartbeat(Worker):
    """The node's side of ``NodeRegistry``."""

    name = "heartbeat"

    def __init__(
        self,
        channel: CoordinatorChannel,
        facts: HeartbeatFacts,
        effects: HeartbeatEffects,
        metrics: NodeMetrics,
        clock: Clock,
        *,
        interval_s: float,
    ) -> None:
        """Say ``facts`` over ``channel`` every ``interval_s`` seconds; ``effects`` are what the answers change."""
        self._channel = channel
        self._facts = facts
        self._effects = effects
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._draining = False
        self._refused = ""
        self._failures = 0
        self._answered_s: float | None = None
        self._turn = asyncio.Lock()
        self._log = structlog.get_logger("collective.node.heartbeat")

    @property
    def is_accepted(self) -> bool:
        """Whether the coordinator answered and knows our inventory."""
        return self._answered_s is not None and self._effects.knows_inventory and not self._refused

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
                await self._channel.drop()
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
        if self._failures % ASK_EVERY_FAILURES != ASK_AFTER_FAILURES:
            return
        refused = await self._channel.why_refused()
        if refused and refused != self._refused:
            self._log.error("shut out by the coordinator", reason=refused)
        self._refused = refused

    async def beat(self) -> None:
        """Send one heartbeat and take its answer over."""
        async with self._turn:
            channel = await self._channel.renewed()
            stub = channel.stub(node_pb.NodeRegistryStub)
            leaves_out = self._effects.is_mac_newest
            message = self._facts.heartbeat(
                draining=self._draining,
                leaves_out_revoked=leaves_out,
                peers_digest=self._effects.peers_digest,
                trusted_digests=self._effects.trusted_digests,
            )
            sent_s = self._clock.monotonic_s()
            answer = await call(lambda t: stub.heartbeat(message, timeout=t), HEARTBEAT_TIMEOUT_S)
            received_s = self._clock.monotonic_s()
            self._metrics.heartbeat_seconds.observe(received_s - sent_s)
            await self._effects.apply(
                answer,
                has_left_out=leaves_out,
                teller=teller_of(channel),
                sent_s=sent_s,
                received_s=received_s,
            )
            self._answered_s = received_s
            await self._channel.hear(whereabouts_from(answer))
            if answer.interval_s > 0:
                self._interval_s = min(max(answer.interval_s, INTERVAL_LEAST_S), INTERVAL_MOST_S)

    async def announce_drain(self) -> None:
        """Tell the coordinator that this node is about to stop; silent if it cannot be told."""
        self._draining = True
        try:
            await self.beat()
        except CollectiveError as error:
            self._log.info("coordinator not told of the stop", reason=error.message)

    async def _report_problems(self) -> None:
        batch = self._facts.problems()
        if not batch:
            return
        stub = self._channel.present.stub(node_pb.NodeRegistryStub)
        message = self._facts.report(batch)
        await call(lambda t: stub.report_problems(message, timeout=t), HEARTBEAT_TIMEOUT_S)
        self._facts.told(batch)
