"""Wires a node together: certificate, store, listener, heartbeat, scrubbing.

Starting waits for enrolment; ready means that the coordinator answered and knows the inventory.
"""

from __future__ import annotations

import os.path
import platform
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import structlog

from collective import __version__
from collective.chunking.store import FREE_MARGIN_BYTES, ChunkStore
from collective.client.joining import why_refused
from collective.core.disk import Disk
from collective.core.errors import SettingsError
from collective.core.ids import SpiffeId
from collective.core.limits import CHUNK_SIZE_BYTES, MIB
from collective.core.randomness import hex_id
from collective.core.units import Address
from collective.core.work import Periodic
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.roles.node.addresses import advertised, default_capacity
from collective.roles.node.enrolment import Enrolled, Enrolment, coordinator_addresses
from collective.roles.node.enrolment_notes import record_path, save_notes
from collective.roles.node.heartbeat import Heartbeat, OwnFacts
from collective.roles.node.keys import CoordinatorKeys
from collective.roles.node.memory import MEMORY_NAME, NodeMemory
from collective.roles.node.metrics import NodeMetrics
from collective.roles.node.problems import Problems
from collective.roles.node.renewal import Identity, Renewal
from collective.roles.node.scrub import Scrubber
from collective.roles.node.service import NodeService
from collective.roles.node.storage import NodeStorage
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.roles.runtime.workers import Workers
from collective.rpc.health import HealthService
from collective.rpc.identity import PeerGate
from collective.rpc.links import Channel, Listener
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.chunk_client import ChunkClient
from collective.transfer.stream.server import ChunkServer

POOL_BYTES: Final = 64 * MIB
COMPACT_EVERY_S: Final = 600.0
SHUT_GRACE_S: Final = 1.0
NODE_SERVICE: Final = "collective.v1.node.Node"


class NodeRole:
    """The node of one process; see :class:`collective.roles.runtime.lifecycle.Role`."""

    def __init__(self, runtime: Runtime) -> None:
        """Take what the process has; nothing is opened before :meth:`start`."""
        settings = runtime.settings
        if settings.node_address is None:
            raise SettingsError("A node needs COLLECTIVE_NODE_ADDRESS.")
        # The disk's calls take absolute paths, and both dirs may be given relative to where we are.
        self._settings = replace(
            settings,
            data_dir=os.path.abspath(settings.data_dir),
            cert_dir=os.path.abspath(settings.cert_dir),
        )
        self._address: Address = settings.node_address
        self._runtime = runtime
        self._world = runtime.world
        self._links = runtime.links
        self._disk = runtime.world.disk
        self._closing = AsyncExitStack()
        self._workers = Workers(
            "node", runtime.metrics, runtime.world.clock, runtime.world.randomness
        )
        self._heartbeat: Heartbeat | None = None
        self._watch: DiskWatch | None = None
        self._chunks: ChunkServer | None = None
        self._listener: Listener | None = None
        self._log = structlog.get_logger("collective.node")

    @property
    def name(self) -> str:
        """``node``."""
        return "node"

    def ready(self) -> bool:
        """Whether the coordinator answered and knows our inventory."""
        return self._heartbeat is not None and self._heartbeat.is_accepted

    def why_unready(self) -> str:
        """Why it takes no writes, in a sentence: refused by the coordinator, or its disk; else empty."""
        refusal = self._heartbeat.refusal if self._heartbeat is not None else ""
        return refusal or (self._watch.sentence if self._watch is not None else "")

    async def start(self, supervisor: Supervisor) -> None:
        """Enrol if need be, open the store, listen, and begin to beat."""
        enrolled = await Enrolment(self._settings, self._world, self._links).enrol()
        store = await self._open_store(enrolled)
        self._closing.push_async_callback(store.close)
        watch = self._watch = DiskWatch(
            self.name,
            self._world,
            self._folder,
            self._runtime.metrics,
            whose="The node's",
            floor_bytes=FREE_MARGIN_BYTES + CHUNK_SIZE_BYTES,
        )
        await watch.work()  # what is wrong already is told with the first heartbeat
        path = os.path.join(self._folder, MEMORY_NAME)
        memory = NodeMemory(path, self._world, not_kept=watch.saw)
        self._closing.push_async_callback(memory.close)
        await memory.load()
        await self._wire(supervisor, enrolled, store, memory, watch)

    async def _wire(
        self,
        supervisor: Supervisor,
        enrolled: Enrolled,
        store: ChunkStore,
        memory: NodeMemory,
        watch: DiskWatch,
    ) -> None:
        runtime = self._runtime
        world, links, clock = self._world, self._links, self._world.clock
        identity = Identity(enrolled.credentials, links)
        own = enrolled.credentials.identity
        coordinator = SpiffeId.coordinator(own.trust_domain)
        gate = PeerGate(enrolled.credentials.trust(), memory.revocations, clock)
        metrics = NodeMetrics(runtime.metrics)
        problems = Problems()
        storage = NodeStorage(store, problems, metrics, clock, watch.saw)
        keys = CoordinatorKeys(clock, memory)
        pool = BufferPool(POOL_BYTES)
        dialer = links.dialer(identity.chunk_client, gate)
        client = ChunkClient(dialer, pool, world.threads)
        self._closing.push_async_callback(client.close)
        self._chunks = chunks = ChunkServer(
            identity=own,
            store=storage,
            keys=keys,
            dialer=dialer,
            pool=pool,
            threads=world.threads,
        )
        listener = links.listener(
            [
                NodeService(coordinator, store, storage, memory, client, pool),
                HealthService(frozenset((NODE_SERVICE,)), self.ready),
            ],
            gate,
            identity.server,
            chunk_factory=lambda peer: chunks.protocol(peer.identity),
            accept_roles=frozenset(("coordinator", "node", "user")),
            service_roles={NODE_SERVICE: frozenset(("coordinator",))},
            served=runtime.metrics.served,
        )
        self._listener = listener
        bound = await listener.listen(self._address)
        addresses = coordinator_addresses(self._settings, enrolled.notes)

        def open_to_coordinator() -> Channel:
            return links.channel(
                addresses, credentials=identity.credentials, gate=gate, expect=coordinator
            )

        def revoked(revocations: RevocationSet) -> None:
            closed = gate.replace(revocations=revocations)
            self._log.info("revocations changed", count=len(revocations.entries), closed=closed)

        async def ask_why() -> str:
            where = enrolled.notes.bootstrap_addresses
            if not where:
                return ""
            return await why_refused(identity.credentials, where, links=links, clock=clock)

        self._heartbeat = heartbeat = Heartbeat(
            open_to_coordinator,
            OwnFacts(
                own,
                hex_id(world.randomness),
                advertised(self._settings, bound, platform.node()),
                __version__,
            ),
            store,
            keys,
            memory,
            problems,
            metrics,
            clock,
            interval_s=self._settings.heartbeat_interval_s,
            revoked=revoked,
            why_refused=ask_why,
            trusted=lambda told: renewal.hear(told),  # noqa: PLW0108 - made below
            disk_state=lambda: watch.state,
        )
        self._closing.push_async_callback(heartbeat.reconnect)
        metrics.watch(
            enrolled.place.member,
            enrolled.node,
            capacity_bytes=lambda: store.capacity_bytes,
            used_bytes=lambda: store.used_bytes,
            copies=lambda: store.chunk_count,
            certificate_expires_s=lambda: identity.credentials.certified.expires_s,
        )

        async def renewed() -> None:
            await heartbeat.renew_channel()

        def trusted(trust: TrustStore) -> None:
            gate.replace(trust=trust)

        renewal = Renewal(
            identity,
            lambda: heartbeat.channel,
            renewed,
            trusted,
            enrolled.notes.bootstrap_addresses,
            world,
            links,
        )
        scrubber = Scrubber(
            store,
            storage,
            metrics,
            world,
            path=os.path.join(self._folder, "scrub.json"),
            cycle_s=self._settings.scrub_cycle_s,
        )

        async def compact() -> None:
            freed = await store.compact()
            self._log.debug("packs compacted", freed_bytes=freed)

        compaction = Periodic("compaction", COMPACT_EVERY_S, compact, sleeps_first=True)
        self._workers.start(supervisor.spawn, [heartbeat], share=1.0)
        self._workers.start(supervisor.spawn, [renewal, scrubber, compaction, watch])
        self._log.info(
            "node serves",
            node=enrolled.node,
            address=str(bound),
            capacity_bytes=store.capacity_bytes,
            copies=store.chunk_count,
        )

    async def drain(self) -> None:
        """Say that we stop, refuse new transfers, let those under way finish."""
        if self._heartbeat is not None:
            await self._heartbeat.announce_drain()
        if self._chunks is not None:
            await self._chunks.close(self._settings.drain_timeout_s)
        if self._listener is not None:
            await self._listener.shut(self._settings.drain_timeout_s)

    async def stop(self) -> None:
        """Close everything that was opened."""
        await self._workers.stop()
        if self._chunks is not None:
            await self._chunks.close(0)
        if self._listener is not None:
            await self._listener.shut(SHUT_GRACE_S)
        await self._closing.aclose()

    @property
    def _folder(self) -> str:
        return os.path.join(self._settings.data_dir, "node")

    async def _open_store(self, enrolled: Enrolled) -> ChunkStore:
        notes = enrolled.notes
        capacity = self._settings.storage_capacity_bytes
        if capacity is None:
            capacity = await self._world.threads.run(self._default_capacity)
        store = await ChunkStore.open(
            self._folder,
            self._world,
            capacity_bytes=capacity,
            expected_uuid=notes.store_uuid,
        )
        if notes.store_uuid is None:
            path = record_path(self._settings.cert_dir, enrolled.node)
            kept = replace(notes, store_uuid=store.uuid)
            await self._world.threads.run(save_notes, path, kept, self._disk)
        return store

    def _default_capacity(self) -> int:
        folder = self._folder
        if not self._disk.exists(folder):
            return self._disk.space(_existing(self._disk, folder)).free_bytes
        return default_capacity(self._disk, folder)


def _existing(disk: Disk, folder: str) -> str:
    """Return ``folder`` or the nearest folder above it that exists."""
    while not disk.exists(folder):
        folder = os.path.dirname(folder)
    return folder
