"""The coordinator role: what is opened, in which order, and how it ends.

Start: certificates (made at the first start; a CA of another domain refuses) → catalogue → parts →
listener → bootstrap in the same process, if it has an address → background work.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.errors import CollectiveError, SettingsError
from collective.core.ids import SpiffeRole
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.member.care.records import Records
from collective.member.trust.own_certificates import (
    CertificatePlan,
    OwnCertificates,
    load_authorities,
    prepare,
)
from collective.pki.cert_dir import CertDir
from collective.roles.coordinator.advertised_addresses import advertised, bootstrap_addresses
from collective.roles.coordinator.catalog_record import keep_catalog, require_catalog
from collective.roles.coordinator.handshake_configs import HandshakeConfigs
from collective.roles.coordinator.wiring import Coordinator, wire
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.roles.runtime.workers import Workers
from collective.rpc.links import Listener
from collective.rpc.server.standard_services import with_standard_services

CATALOG_DIR: Final = "catalog"
_GRACE_S: Final = 5.0
_LAST_RECORDS_S: Final = 2.0
"""How long the last heartbeats' figures may wait for the writer at the end; they are told anew."""
_DISK_FLOOR_BYTES: Final = 1 << 20
"""With less free space the catalogue's log cannot be counted on to grow."""
RELOADABLE: Final = frozenset(
    (
        "advertise_addresses",
        "bootstrap_advertise_addresses",
        "certificate_lifetime_s",
        "drain_timeout_s",
        "join_code_uses",
        "join_code_validity_s",
    )
)
"""Settings that need no restart."""
_CLIENTS: Final[frozenset[SpiffeRole]] = frozenset(("user", "coordinator"))
_SERVICE_ROLES: Final[dict[str, frozenset[SpiffeRole]]] = {
    "collective.v1.files.Files": _CLIENTS,
    "collective.v1.uploads.Uploads": _CLIENTS,
    "collective.v1.reads.Reads": _CLIENTS,
    "collective.v1.streams.Streams": _CLIENTS,
    "collective.v1.datastores.Datastores": _CLIENTS,
    "collective.v1.people.People": _CLIENTS,
    "collective.v1.nodes.Nodes": _CLIENTS,
    "collective.v1.status.MemberStatus": _CLIENTS,
    "collective.v1.trust.Trust": _CLIENTS,
    "collective.v1.peering.Peers": _CLIENTS,
    "collective.v1.peering.PeerLink": frozenset(("coordinator",)),
    "collective.v1.trust.Certificates": frozenset(("user", "coordinator", "node", "bootstrap")),
    "collective.v1.node.NodeRegistry": frozenset(("node",)),
    "collective.v1.bootstrap.Bootstrap": frozenset(("bootstrap",)),
}


class CoordinatorRole:
    """Serves one member's catalogue."""

    name = "coordinator"
    reloadable = RELOADABLE

    def __init__(self, runtime: Runtime) -> None:
        """Prepare from settings; nothing is opened before :meth:`start`."""
        self._runtime = runtime
        self._settings: ServeSettings = runtime.settings
        self._world = runtime.world
        self._links = runtime.links
        self._catalog: Catalog | None = None
        self._wired: Coordinator | None = None
        self._listeners: list[Listener] = []
        self._is_ready = False
        self._workers = Workers(
            self.name, runtime.metrics, runtime.world.clock, runtime.world.randomness
        )
        self._log = structlog.get_logger("coordinator")

    async def start(self, supervisor: Supervisor) -> None:
        """Open, listen and begin background work.

        Raises:
            SettingsError: settings do not fit the certificates.
            CannotListenError: an address is taken.
            DataDirError, CorruptionError: the catalogue cannot be used.
        """
        settings = self._settings
        if settings.member_id is None or settings.domain is None:
            raise SettingsError("A coordinator needs COLLECTIVE_MEMBER_ID.")
        if settings.coordinator_address is None:
            raise SettingsError("A coordinator needs COLLECTIVE_COORDINATOR_ADDRESS.")
        world = self._world
        place = CertDir(settings.cert_dir, settings.member_id)
        plan = CertificatePlan(
            place,
            settings.domain,
            advertised(settings.advertise_addresses, settings.coordinator_address),
            settings.certificate_lifetime_s,
        )
        data_dir = os.path.join(settings.data_dir, CATALOG_DIR)
        authorities = await load_authorities(plan, world)
        # This locks the data dir: a start that is refused must not change a running one's certificate.
        catalog = await self._open_catalog(place, data_dir)
        found = await prepare(plan, authorities, world)
        position = await catalog.restores.position()
        await world.threads.run(keep_catalog, place, world.disk, position.catalog_id)
        configs = HandshakeConfigs(found.credentials, found.trust, self._links, world.clock)
        own = OwnCertificates(plan, found, configs, world)
        disk = DiskWatch(
            self.name,
            world,
            data_dir,
            self._runtime.metrics,
            whose="The catalogue's",
            floor_bytes=_DISK_FLOOR_BYTES,
            told=self._trouble,
            proven=catalog.upkeep.prove,
        )
        wired = self._wired = wire(own, configs, catalog, disk, self._workers, self._runtime)
        await wired.ground.load()
        await self._listen(wired, configs, settings.coordinator_address)
        self._workers.start(supervisor.spawn, [disk, *wired.workers])
        bootstraps = bootstrap_addresses(settings)
        if bootstraps:
            await wired.node_code.ensure()
            self._workers.start(supervisor.spawn, [wired.node_code.worker()])
        self._is_ready = True
        self._log.info(
            "coordinator_serves",
            member=settings.member_id,
            domain=settings.domain,
            address=str(settings.coordinator_address),
            advertised=[str(address) for address in own.addresses],
            bootstrap=[str(address) for address in bootstraps],
            copies=settings.copies,
        )

    async def reload(self, settings: ServeSettings) -> None:
        """Take other addresses and limits into use; see :data:`RELOADABLE`."""
        self._settings = settings
        if self._wired is not None and settings.coordinator_address is not None:
            where = advertised(settings.advertise_addresses, settings.coordinator_address)
            await self._wired.reload(settings, where)

    def _trouble(self) -> CollectiveError | None:
        """Return what the catalogue's writer met at its disk, if anything."""
        return self._catalog.upkeep.health().trouble if self._catalog is not None else None

    async def _open_catalog(self, place: CertDir, data_dir: str) -> SqliteCatalog:
        """Open this coordinator's catalogue, and no other."""
        world, run = self._world, self._world.threads.run
        await run(require_catalog, place, world.disk, data_dir)
        await run(world.disk.make_dir, data_dir)
        settings = CatalogSettings(copies=self._settings.copies)
        catalog = self._catalog = await SqliteCatalog.open(data_dir, world, settings)
        for notice in await catalog.upkeep.notices():
            self._log.warning("catalogue_not_as_it_was", text=notice)
        return catalog

    def ready(self) -> bool:
        """Whether the catalogue is open and the listener stands."""
        return self._is_ready

    def why_unready(self) -> str:
        """Why it takes no writes, in words; empty where it does."""
        return self._wired.readiness.why_unready() if self._wired is not None else ""

    async def drain(self) -> None:
        """Take no new calls and let running ones end."""
        self._is_ready = False
        if self._catalog is not None:
            self._catalog.changes.end_waits()
        for listener in self._listeners:
            await listener.shut(min(_GRACE_S, self._settings.drain_timeout_s))
        if self._wired is not None:
            await self._wired.ground.network.drain(_GRACE_S)

    async def stop(self) -> None:
        """Close everything; also after a start that failed.

        The catalogue is closed whatever becomes of the rest: its files are whole only then.
        """
        self._is_ready = False
        try:
            await self._end_service()
        finally:
            if self._catalog is not None:
                self._catalog.interrupt()
                await self._catalog.close()

    async def _end_service(self) -> None:
        for listener in self._listeners:
            await listener.shut(0.0)
        await self._workers.stop()
        wired = self._wired
        if wired is not None:
            await wired.ground.network.drain(0.0)
            await wired.trust.revoking.close()
            await wired.removal.close()
            await wired.links.close()
            await wired.ground.federation.close()
            await wired.ground.engines.close()
            await wired.ground.network.close()
            await self._write_records(wired.records)

    async def _write_records(self, records: Records) -> None:
        try:
            async with asyncio.timeout(_LAST_RECORDS_S):
                await records.finish()
        except TimeoutError:
            self._log.warning("records_not_written", why="the catalogue's writer is busy.")

    async def _listen(
        self, wired: Coordinator, configs: HandshakeConfigs, address: Address
    ) -> None:
        served = self._runtime.metrics.served
        listener = self._links.listener(
            with_standard_services(wired.faces, self.ready),
            configs.gate,
            configs.server,
            chunk_factory=wired.ground.network.relay,
            service_roles=_SERVICE_ROLES,
            served=served,
            refusals=wired.refusals,
            newest_authority=wired.ground.own.to_follow,
        )
        await listener.listen(address)
        self._listeners.append(listener)
        bootstrap = self._settings.bootstrap_address
        if bootstrap is None:
            return
        listener = self._links.listener(
            with_standard_services([wired.bootstrap], self.ready),
            None,
            configs.bootstrap,
            served=served,
            refusals=wired.refusals,
        )
        await listener.listen(bootstrap)
        self._listeners.append(listener)
