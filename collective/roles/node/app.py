"""The node role: what is opened, in which order, and how it ends.

Starting waits for enrolment; ready means that the coordinator answered and knows the inventory.
"""

from __future__ import annotations

import os.path
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import structlog

from collective.chunking.store import FREE_MARGIN_BYTES, ChunkStore
from collective.core.disk import Disk
from collective.core.errors import SettingsError
from collective.core.limits import CHUNK_SIZE_BYTES
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.roles.node.advertised_addresses import default_capacity
from collective.roles.node.durable_memory import MEMORY_NAME, DurableMemory
from collective.roles.node.enrolment import Enrolled, Enrolment
from collective.roles.node.enrolment_notes import record_path, save_notes
from collective.roles.node.heartbeat import Heartbeat
from collective.roles.node.slots import take_slot
from collective.roles.node.wiring import Kept, Serving, Working, wire_serving, wire_working
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.roles.runtime.workers import Workers

SHUT_GRACE_S: Final = 1.0
RELOADABLE: Final = frozenset(
    ("advertise_addresses", "coordinator_address", "drain_timeout_s", "storage_capacity_bytes")
)
"""Settings that need no restart."""


class NodeRole:
    """The node of one process; see :class:`collective.roles.runtime.lifecycle.Role`."""

    def __init__(self, runtime: Runtime) -> None:
        """Take what the process has; nothing is opened before :meth:`start`."""
        settings = runtime.settings
        if settings.node_address is None:
            raise SettingsError("A node needs COLLECTIVE_NODE_ADDRESS.")
        self._settings = settings
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
        self._serving: Serving | None = None
        self._working: Working | None = None
        self._store: ChunkStore | None = None
        self._log = structlog.get_logger("collective.node")

    @property
    def name(self) -> str:
        """``node``."""
        return "node"

    @property
    def reloadable(self) -> frozenset[str]:
        """What needs no restart; where the coordinator of this very process is found, does."""
        is_alone = "coordinator" not in self._settings.roles
        return RELOADABLE if is_alone else RELOADABLE - {"coordinator_address"}

    async def reload(self, settings: ServeSettings) -> None:
        """Take other addresses, another capacity and another drain time into use."""
        self._settings = replace(
            settings, data_dir=self._settings.data_dir, cert_dir=self._settings.cert_dir
        )
        if self._working is not None and self._store is not None:
            self._store.resize(await self._capacity())
            self._working.move(self._settings)

    def ready(self) -> bool:
        """Whether the coordinator answered and knows our inventory."""
        return self._heartbeat is not None and self._heartbeat.is_accepted

    def why_unready(self) -> str:
        """Why it takes no writes, in a sentence: refused by the coordinator, or its disk; else empty."""
        refusal = self._heartbeat.refusal if self._heartbeat is not None else ""
        return refusal or (self._watch.sentence if self._watch is not None else "")

    async def start(self, supervisor: Supervisor) -> None:
        """Take a slot, enrol if need be, open the store, listen, and begin to beat."""
        self._settings = _below(self._settings, await self._base())
        enrolled = await Enrolment(self._settings, self._world, self._links).enrol()
        store = self._store = await self._open_store(enrolled)
        enrolled = replace(enrolled, notes=replace(enrolled.notes, store_uuid=store.uuid))
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
        memory = DurableMemory(path, self._world, not_kept=watch.saw)
        self._closing.push_async_callback(memory.close)
        await memory.load()
        kept = Kept(enrolled, self._folder, store, memory, watch)
        serving = self._serving = wire_serving(kept, self._runtime, self.ready)
        self._closing.push_async_callback(serving.client.close)
        bound = await serving.listener.listen(self._address)
        working = self._working = wire_working(kept, serving, bound, self._settings, self._runtime)
        self._heartbeat = working.heartbeat
        self._closing.push_async_callback(working.channel.drop)
        self._workers.start(supervisor.spawn, [working.heartbeat], share=1.0)
        self._workers.start(supervisor.spawn, working.others)
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
        if self._serving is not None:
            await self._serving.chunks.close(self._settings.drain_timeout_s)
            await self._serving.listener.shut(self._settings.drain_timeout_s)

    async def stop(self) -> None:
        """Close everything that was opened."""
        await self._workers.stop()
        if self._serving is not None:
            await self._serving.chunks.close(0)
            await self._serving.listener.shut(SHUT_GRACE_S)
        await self._closing.aclose()

    async def _base(self) -> str:
        """Return the folder that relative dirs are in: a slot, locked until the end, or where we are."""
        slots = self._settings.node_slots_dir
        if slots is None:
            return os.getcwd()
        slot = await self._world.threads.run_to_end(take_slot, slots, self._disk)
        self._closing.callback(slot.lock.release)
        self._log.info("slot taken", slot=slot.path)
        return slot.path

    @property
    def _folder(self) -> str:
        return os.path.join(self._settings.data_dir, "node")

    async def _open_store(self, enrolled: Enrolled) -> ChunkStore:
        notes = enrolled.notes
        store = await ChunkStore.open(
            self._folder,
            self._world,
            capacity_bytes=await self._capacity(),
            expected_uuid=notes.store_uuid,
        )
        if notes.store_uuid is None:
            path = record_path(self._settings.cert_dir, enrolled.node)
            kept = replace(notes, store_uuid=store.uuid)
            await self._world.threads.run(save_notes, path, kept, self._disk)
        return store

    async def _capacity(self) -> int:
        told = self._settings.storage_capacity_bytes
        return await self._world.threads.run(self._default_capacity) if told is None else told

    def _default_capacity(self) -> int:
        folder = self._folder
        if not self._disk.exists(folder):
            return self._disk.space(_existing(self._disk, folder)).free_bytes
        return default_capacity(self._disk, folder)


def _below(settings: ServeSettings, base: str) -> ServeSettings:
    """Return ``settings`` with absolute dirs, as the disk's calls take them; relative ones are in ``base``."""
    return replace(
        settings,
        data_dir=os.path.normpath(os.path.join(base, settings.data_dir)),
        cert_dir=os.path.normpath(os.path.join(base, settings.cert_dir)),
    )


def _existing(disk: Disk, folder: str) -> str:
    """Return ``folder`` or the nearest folder above it that exists."""
    while not disk.exists(folder):
        folder = os.path.dirname(folder)
    return folder
