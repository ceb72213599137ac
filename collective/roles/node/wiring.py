"""What a node is made of; nothing is opened here.

It is made in two parts, since what it says of itself names the address that it was given to listen on.
"""

from __future__ import annotations

import os.path
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from collective import __version__
from collective.chunking.store import ChunkStore
from collective.core.ids import SpiffeId
from collective.core.limits import MIB, PEERS_MAX
from collective.core.randomness import hex_id
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.core.work import Worker
from collective.roles.node.advertised_addresses import advertised
from collective.roles.node.bad_copies import Problems
from collective.roles.node.commands import NodeService
from collective.roles.node.compaction import compaction
from collective.roles.node.coordinator_channel import Bootstrap, CoordinatorChannel
from collective.roles.node.coordinator_keys import CoordinatorKeys
from collective.roles.node.durable_memory import DurableMemory
from collective.roles.node.enrolment import Enrolled
from collective.roles.node.enrolment_notes import record_path
from collective.roles.node.heartbeat import Heartbeat
from collective.roles.node.heartbeat_effects import HeartbeatEffects
from collective.roles.node.heartbeat_facts import HeartbeatFacts, OwnFacts
from collective.roles.node.identity import Identity
from collective.roles.node.inventory_report import InventoryReport
from collective.roles.node.member_addresses import MemberAddresses
from collective.roles.node.metrics import NodeMetrics
from collective.roles.node.renewal import Renewal
from collective.roles.node.scrub import Scrubber
from collective.roles.node.storage import NodeStorage
from collective.roles.node.trust import NodeTrust
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.lifecycle import Runtime
from collective.rpc.links import Listener
from collective.rpc.server.health_service import HealthService
from collective.rpc.tls.gate import PeerGate
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.chunk_client import ChunkClient
from collective.transfer.stream.server import ChunkServer
from collective.transfer.stream.serving import ForeignPools

POOL_BYTES: Final = 64 * MIB
PEER_POOL_BYTES: Final = 20 * MIB
"""For what people of each peer bring and fetch."""
NODE_SERVICE: Final = "collective.v1.node.Node"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a node has on its disk, opened."""

    enrolled: Enrolled
    folder: str
    store: ChunkStore
    memory: DurableMemory
    watch: DiskWatch


@dataclass(frozen=True, slots=True)
class Serving:
    """What others reach."""

    identity: Identity
    gate: PeerGate
    trust: NodeTrust
    keys: CoordinatorKeys
    problems: Problems
    metrics: NodeMetrics
    storage: NodeStorage
    client: ChunkClient
    chunks: ChunkServer
    listener: Listener


@dataclass(frozen=True, slots=True)
class Working:
    """What a node does by itself."""

    channel: CoordinatorChannel
    facts: HeartbeatFacts
    heartbeat: Heartbeat
    bound: Address
    """Where the node listens."""
    others: Sequence[Worker]

    def move(self, settings: ServeSettings) -> None:
        """Be found, and find the coordinator, where ``settings`` say."""
        self.facts.move(advertised(settings, self.bound, platform.node()))
        self.channel.move(settings)


def wire_serving(kept: Kept, runtime: Runtime, ready: Callable[[], bool]) -> Serving:
    """Make the listener of a node, and what stands behind it; it is healthy while ``ready``."""
    world, links, clock = runtime.world, runtime.links, runtime.world.clock
    credentials = kept.enrolled.credentials
    own, coordinator = credentials.identity, SpiffeId.coordinator(credentials.domain)
    identity = Identity(credentials, links)
    gate = PeerGate(
        credentials.trust(),
        kept.memory.revocations,
        clock,
        home=credentials.domain,
        foreign_roles=frozenset(("user",)),
    )
    metrics = NodeMetrics(runtime.metrics)
    problems = Problems()
    storage = NodeStorage(kept.store, problems, metrics, clock, kept.watch.saw)
    keys = CoordinatorKeys(clock, kept.memory)
    pool = BufferPool(POOL_BYTES)
    dialer = links.dialer(identity.chunk_client, gate)
    client = ChunkClient(dialer, pool, world.threads, home=credentials.domain)
    chunks = ChunkServer(
        identity=own,
        store=storage,
        keys=keys,
        dialer=dialer,
        pool=pool,
        threads=world.threads,
        foreign_pools=ForeignPools(PEER_POOL_BYTES, PEERS_MAX),
    )
    listener = links.listener(
        [
            NodeService(coordinator, kept.store, storage, kept.memory, client, pool),
            HealthService(frozenset((NODE_SERVICE,)), ready),
        ],
        gate,
        identity.server,
        chunk_factory=chunks.accept,
        accept_roles=frozenset(("coordinator", "node", "user")),
        service_roles={NODE_SERVICE: frozenset(("coordinator",))},
        served=runtime.metrics.served,
    )
    metrics.watch(kept.enrolled.place.member, kept.enrolled.node, kept.store, identity)
    trust = NodeTrust(identity, gate)
    return Serving(
        identity, gate, trust, keys, problems, metrics, storage, client, chunks, listener
    )


def wire_working(
    kept: Kept, serving: Serving, bound: Address, settings: ServeSettings, runtime: Runtime
) -> Working:
    """Make the workers of a node that listens at ``bound``."""
    world, links, clock = runtime.world, runtime.links, runtime.world.clock
    identity, gate = serving.identity, serving.gate
    record = record_path(settings.cert_dir, kept.enrolled.node)
    where = MemberAddresses(settings, kept.enrolled.notes, record, world)
    bootstrap = Bootstrap(identity, where, links, clock)
    channel = CoordinatorChannel(identity, gate, where, bootstrap, links)
    renewal = Renewal(identity, channel, bootstrap, serving.trust, world)
    own = OwnFacts(
        identity.credentials.identity,
        hex_id(world.randomness),
        advertised(settings, bound, platform.node()),
        __version__,
    )
    facts = HeartbeatFacts(own, kept.store, serving.keys, kept.memory, serving.problems, kept.watch)
    inventory = InventoryReport(channel, facts)
    effects = HeartbeatEffects(
        own.identity, serving.keys, kept.memory, serving.trust, renewal, inventory
    )
    heartbeat = Heartbeat(
        channel, facts, effects, serving.metrics, clock, interval_s=settings.heartbeat_interval_s
    )
    scrubber = Scrubber(
        kept.store,
        serving.storage,
        serving.metrics,
        world,
        path=os.path.join(kept.folder, "scrub.json"),
        cycle_s=settings.scrub_cycle_s,
    )
    return Working(
        channel,
        facts,
        heartbeat,
        bound,
        (inventory, renewal, scrubber, compaction(kept.store), kept.watch),
    )
