"""Telling the coordinator all that this node holds, whenever an answer to a heartbeat asks for it.

It goes on beside the heartbeats: an inventory of millions takes minutes, and a node that says nothing for
so long counts as gone, and hears of no revocation.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from collective.core.backoff import Backoff
from collective.core.errors import ConflictError
from collective.core.work import IDLE, Outcome, Worker
from collective.roles.node.coordinator_channel import CoordinatorChannel
from collective.roles.node.heartbeat_facts import HeartbeatFacts
from collective.rpc.deadlines import call
from collective.rpc.gen.collective.v1 import node as node_pb

INVENTORY_TIMEOUT_S: Final = 600.0
RETRY_S: Final = 1.0
RETRY_MOST_S: Final = 60.0


class InventoryReport(Worker):
    """Tells the inventory, one at a time."""

    name = "inventory"

    def __init__(self, channel: CoordinatorChannel, facts: HeartbeatFacts) -> None:
        """Tell what ``facts`` says that we hold, over ``channel``."""
        self._channel = channel
        self._facts = facts
        self._wanted = asyncio.Event()
        self._is_telling = False
        self._log = structlog.get_logger("collective.node.inventory")
        self.is_known = False
        """Whether the coordinator knows what this start of the node holds."""

    @property
    def backoff(self) -> Backoff:
        """How long to wait after one that was not taken."""
        return Backoff(RETRY_S, RETRY_MOST_S)

    def heard(self, *, is_asked: bool) -> None:
        """Take over what an answer to a heartbeat says."""
        if not is_asked:  # it has it, though its word that it has may have been lost on the way
            self.is_known = True
            if not self._is_telling:
                self._wanted.clear()
        elif not self._is_telling:
            self._wanted.set()

    async def work(self) -> Outcome:
        """Tell the whole inventory, if it is asked for."""
        if self._wanted.is_set():
            self._is_telling = True
            try:
                await self._tell()
            finally:
                self._is_telling = False
            self._wanted.clear()
        return IDLE

    async def wait(self) -> None:
        """Wait until one is asked for."""
        await self._wanted.wait()

    async def _tell(self) -> None:
        stub = self._channel.present.stub(node_pb.NodeRegistryStub)
        try:
            verdict = await call(
                lambda t: stub.report_inventory(self._facts.inventory(), timeout=t),
                INVENTORY_TIMEOUT_S,
            )
        except ConflictError as error:  # an answer was late: nobody waits for it any more
            self._log.info("inventory not wanted", reason=error.message)
            return
        self.is_known = True
        self._log.info(
            "inventory reported", copies=self._facts.copies, unknown=len(verdict.unknown)
        )
