"""What a node says of itself to its coordinator: heartbeats, its inventory, and copies it found bad."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from collective.chunking.store import ChunkStore
from collective.core.disk_errors import DiskState
from collective.core.ids import ChunkId, Generation, SpiffeId
from collective.core.units import Address
from collective.roles.node.bad_copies import Problems
from collective.roles.node.coordinator_keys import CoordinatorKeys
from collective.roles.node.durable_memory import DurableMemory
from collective.rpc.conversions.node_registry import position_message
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import node as node_pb

INVENTORY_PAGE: Final = 2000

Batch = Mapping[tuple[ChunkId, Generation], bool]
"""Copies that are bad, and whether each is corrupt, else missing."""


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """What a node says of itself in every heartbeat."""

    identity: SpiffeId
    instance_id: str
    addresses: tuple[Address, ...]
    version: str


class WatchedDisk(Protocol):
    """The disk below the store."""

    @property
    def state(self) -> DiskState:
        """Whether it takes writes."""
        ...


class HeartbeatFacts:
    """Everything that is told, as it is when it is told."""

    def __init__(
        self,
        own: OwnFacts,
        store: ChunkStore,
        keys: CoordinatorKeys,
        memory: DurableMemory,
        problems: Problems,
        disk: WatchedDisk,
    ) -> None:
        """Tell of the node ``own``, its ``store``, and what it has of the coordinator."""
        self._own = own
        self._store = store
        self._keys = keys
        self._memory = memory
        self._problems = problems
        self._disk = disk

    def move(self, addresses: tuple[Address, ...]) -> None:
        """Tell ``addresses`` from the next heartbeat on."""
        self._own = replace(self._own, addresses=addresses)

    @property
    def copies(self) -> int:
        """How many the store has."""
        return self._store.chunk_count

    def heartbeat(
        self,
        *,
        draining: bool,
        leaves_out_revoked: bool,
        peers_digest: bytes,
        trusted_digests: Sequence[bytes],
    ) -> node_pb.HeartbeatRequest:
        """Return a heartbeat.

        Args:
            draining: whether the node is about to stop.
            leaves_out_revoked: the coordinator knows by the MAC alone what is remembered as revoked.
            peers_digest: what the coordinator calls the peers that it named last.
            trusted_digests: SHA-256 of the key of each CA of the own domain that is trusted.
        """
        kept = self._memory.kept
        return node_pb.HeartbeatRequest(
            store_uuid=self._store.uuid,
            instance_id=self._own.instance_id,
            addresses=[pb.Address(host=one.host, port=one.port) for one in self._own.addresses],
            total_capacity=self._store.capacity_bytes,
            used_capacity=self._store.used_bytes,
            chunk_count=self._store.chunk_count,
            highest_position=position_message(kept.position),
            draining=draining,
            version=self._own.version,
            key_ids=self._keys.key_ids,
            revoked=[] if leaves_out_revoked else kept.authenticated_entries,
            revoked_left_out=leaves_out_revoked,
            revocation_epoch=kept.revocations.epoch,
            revocation_mac=kept.revocation_mac,
            disk=self._disk.state.value,
            peers_digest=peers_digest,
            trusted_digests=list(trusted_digests),
        )

    async def inventory(self) -> AsyncIterator[node_pb.InventoryPage]:
        """Yield all copies in order of chunk, page by page."""
        instance = self._own.instance_id
        async for page in self._store.inventory(INVENTORY_PAGE):
            copies = [
                node_pb.CopyRecord(chunk_id=one.chunk, generation=one.generation, length=one.length)
                for one in page
            ]
            yield node_pb.InventoryPage(instance_id=instance, copies=copies)
        yield node_pb.InventoryPage(instance_id=instance, last=True)

    def problems(self) -> Batch:
        """Return copies that were found bad and not told of yet, oldest first; bounded."""
        return self._problems.batch()

    @staticmethod
    def report(batch: Batch) -> node_pb.ReportProblemsRequest:
        """Return what is said of ``batch``."""
        return node_pb.ReportProblemsRequest(
            copies=[
                node_pb.CopyTrouble(chunk_id=chunk, generation=generation, corrupt=corrupt)
                for (chunk, generation), corrupt in batch.items()
            ]
        )

    def told(self, batch: Batch) -> None:
        """Note that the coordinator has heard of ``batch``."""
        self._problems.told(batch)
