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
from collective.catalog.sqlite import CatalogSettings, SqliteCatalog
from collective.core.errors import RejectedError, SettingsError
from collective.core.ids import SpiffeRole
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.core.work import Periodic, Worker
from collective.member.people.invites import InviteIssuer
from collective.member.trust.own_certificates import (
    CertificatePlan,
    Freshness,
    OwnCertificates,
    prepare,
)
from collective.model.calls import Call
from collective.pki.cert_dir import CertDir
from collective.pki.certificates import Certified
from collective.roles.coordinator.catalog_record import keep_catalog, require_catalog
from collective.roles.coordinator.faces.grpc.bootstrap import BootstrapService
from collective.roles.coordinator.personas import Personas
from collective.roles.coordinator.wiring import Parts, build
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.roles.runtime.workers import Workers
from collective.rpc.links import Listener
from collective.rpc.standard import with_standard_services

CATALOG_DIR: Final = "catalog"
_CODE_CHECK_S: Final = 600.0
_GRACE_S: Final = 5.0
_LAST_RECORDS_S: Final = 2.0
"""How long the last heartbeats' figures may wait for the writer at the end; they are told anew."""
_DISK_FLOOR_BYTES: Final = 1 << 20
"""With less free space the catalogue's log cannot be counted on to grow."""
_ANY_HOST: Final = frozenset(("0.0.0.0", "::"))  # noqa: S104 - recognised, not bound
_CLIENTS: Final[frozenset[SpiffeRole]] = frozenset(("user", "coordinator"))
_SERVICE_ROLES: Final[dict[str, frozenset[SpiffeRole]]] = {
    "collective.v1.files.Files": _CLIENTS,
    "collective.v1.uploads.Uploads": _CLIENTS,
    "collective.v1.reads.Reads": _CLIENTS,
    "collective.v1.streams.Streams": _CLIENTS,
    "collective.v1.people.Invites": _CLIENTS,
    "collective.v1.people.Identities": _CLIENTS,
    "collective.v1.people.Datastores": _CLIENTS,
    "collective.v1.people.Audit": _CLIENTS,
    "collective.v1.cluster.Cluster": frozenset(("user", "coordinator", "node", "bootstrap")),
    "collective.v1.node.NodeRegistry": frozenset(("node",)),
    "collective.v1.bootstrap.Bootstrap": frozenset(("bootstrap",)),
}


def advertised(told: tuple[Address, ...], listening: Address) -> tuple[Address, ...]:
    """Return where others find a listener: as the operator said, else where it listens.

    A listener on all interfaces that was told nothing is advertised for this machine only.
    """
    if told:
        return told
    host = "127.0.0.1" if listening.host in _ANY_HOST else listening.host
    return (Address(host, listening.port),)


class CoordinatorRole:
    """Serves one member's catalogue."""

    name = "coordinator"

    def __init__(self, runtime: Runtime) -> None:
        """Prepare from settings; nothing is opened before :meth:`start`."""
        self._runtime = runtime
        self._settings: ServeSettings = runtime.settings
        self._world = runtime.world
        self._links = runtime.links
        self._catalog: Catalog | None = None
        self._parts: Parts | None = None
        self._listeners: list[Listener] = []
        self._is_ready = False
        self._workers = Workers(
            self.name, runtime.metrics, runtime.world.clock, runtime.world.randomness
        )
        self._log = structlog.get_logger("coordinator")

    async def start(self, supervisor: Supervisor) -> None:
        """Open, listen and begin background work.

        Raises:
            SettingsError: settings do not fit the certificates, or an address is taken.
            DataDirError, CorruptionError: the catalogue cannot be used.
        """
        settings = self._settings
        if settings.member_id is None or settings.domain is None:
            raise SettingsError("A coordinator needs COLLECTIVE_MEMBER_ID.")
        if settings.coordinator_address is None:
            raise SettingsError("A coordinator needs COLLECTIVE_COORDINATOR_ADDRESS.")
        world, run = self._world, self._world.threads.run
        place = CertDir(settings.cert_dir, settings.member_id)
        plan = CertificatePlan(
            place,
            settings.domain,
            advertised(settings.advertise_addresses, settings.coordinator_address),
            settings.certificate_lifetime_s,
        )
        found = await prepare(plan, world)
        personas = Personas(found.credentials, found.trust, self._links, world.clock)
        own = OwnCertificates(plan, found, personas, world)
        data_dir = os.path.join(settings.data_dir, CATALOG_DIR)
        await run(require_catalog, place, world.disk, data_dir)
        await run(world.disk.make_dir, data_dir)
        catalog = self._catalog = await SqliteCatalog.open(
            data_dir, world, CatalogSettings(copies=settings.copies)
        )
        for notice in await catalog.notices():
            self._log.warning("catalogue_not_as_it_was", text=notice)
        position = await catalog.position()
        await run(keep_catalog, place, world.disk, position.catalog_id)
        bootstraps = self._bootstrap_addresses()
        codes = InviteIssuer(own, catalog, bootstraps, place, world)
        watch = DiskWatch(
            self.name,
            self._world,
            data_dir,
            self._runtime.metrics,
            whose="The catalogue's",
            floor_bytes=_DISK_FLOOR_BYTES,
            told=lambda: catalog.health().trouble,
            proven=catalog.prove,
        )
        parts = self._parts = build(
            settings=settings,
            own=own,
            personas=personas,
            catalog=catalog,
            registry=self._runtime.metrics.registry,
            codes=codes,
            world=world,
            links=self._links,
            workers=self._workers,
            watch=watch,
        )
        await parts.revocations.refresh()
        await parts.table.reload()
        await parts.followers.load()
        await self._listen(own, personas, parts, settings.coordinator_address)
        await self._serve_bootstrap(own, personas, parts)
        self._workers.start(supervisor.spawn, [watch])
        self._spawn(supervisor, own, parts)
        if bootstraps:
            operator = Call.own(settings.domain)
            await self._ensure_code(codes, operator)
            self._workers.start(supervisor.spawn, [self._keep_code(codes, operator, own)])
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

    def ready(self) -> bool:
        """Whether the catalogue is open and the listener stands."""
        return self._is_ready

    def why_unready(self) -> str:
        """Why it takes no writes, in words; empty where it does."""
        return self._parts.readiness.why_unready() if self._parts is not None else ""

    async def drain(self) -> None:
        """Take no new calls and let running ones end."""
        self._is_ready = False
        for listener in self._listeners:
            await listener.shut(min(_GRACE_S, self._settings.drain_timeout_s))
        if self._parts is not None:
            await self._parts.relay.close(_GRACE_S)

    async def stop(self) -> None:
        """Close everything; also after a start that failed."""
        self._is_ready = False
        for listener in self._listeners:
            await listener.shut(0.0)
        await self._workers.stop()
        if self._parts is not None:
            await self._parts.relay.close(0.0)
            await self._parts.revoking.close()
            await self._parts.removal.close()
            await self._parts.chunks.close()
            await self._parts.nodes.close()
            if self._catalog is not None:
                await self._write_records(self._parts)
        if self._catalog is not None:
            self._catalog.interrupt()
            await self._catalog.close()

    async def _write_records(self, parts: Parts) -> None:
        try:
            async with asyncio.timeout(_LAST_RECORDS_S):
                await parts.upkeep.finish()
        except TimeoutError:
            self._log.warning("records_not_written", why="the catalogue's writer is busy.")

    # --- listening -------------------------------------------------------------------------------

    async def _listen(
        self, own: OwnCertificates, personas: Personas, parts: Parts, address: Address
    ) -> None:
        def chunk_stream(peer: Certified) -> asyncio.BaseProtocol:
            if peer.identity.role not in _CLIENTS:
                raise RejectedError(f"A {peer.identity.role} needs no relay; it dials nodes.")
            return parts.relay.protocol(peer.identity)

        forwarded = BootstrapService(
            parts.joining,
            parts.renewal,
            collective_name=self._settings.name or "",
            addresses=lambda: own.addresses,
            leaf_digests=tuple,
            forwarded=True,
        )
        listener = self._links.listener(
            with_standard_services(
                [
                    parts.files,
                    parts.uploads,
                    parts.reads,
                    parts.streams,
                    parts.cluster,
                    parts.invites,
                    parts.identities,
                    parts.datastores,
                    parts.audit,
                    parts.registry,
                    forwarded,
                ],
                self.ready,
            ),
            personas.gate,
            personas.server,
            chunk_factory=chunk_stream,
            service_roles=_SERVICE_ROLES,
            served=self._runtime.metrics.served,
            refusals=parts.refusal_log,
            newest_authority=own.to_follow,
        )
        await listener.listen(address)
        self._listeners.append(listener)

    async def _serve_bootstrap(
        self, own: OwnCertificates, personas: Personas, parts: Parts
    ) -> None:
        address = self._settings.bootstrap_address
        if address is None:
            return
        service = BootstrapService(
            parts.joining,
            parts.renewal,
            collective_name=self._settings.name or "",
            addresses=lambda: own.addresses,
            leaf_digests=own.leaf_digests,
        )
        listener = self._links.listener(
            with_standard_services([service], self.ready),
            None,
            personas.bootstrap,
            served=self._runtime.metrics.served,
            refusals=parts.refusal_log,
        )
        await listener.listen(address)
        self._listeners.append(listener)

    def _bootstrap_addresses(self) -> tuple[Address, ...]:
        settings = self._settings
        if settings.bootstrap_address is None:
            return settings.bootstrap_advertise_addresses
        return advertised(settings.bootstrap_advertise_addresses, settings.bootstrap_address)

    # --- background ------------------------------------------------------------------------------

    def _spawn(self, supervisor: Supervisor, own: OwnCertificates, parts: Parts) -> None:
        self._workers.start(
            supervisor.spawn,
            [
                *parts.upkeep.workers(),
                parts.repairer,
                parts.verifier,
                parts.guarded_deletes,
                parts.sampler.worker(),
                parts.collector,
                parts.rotation.worker(),
                parts.prover,
                Freshness(own, parts.metrics),
            ],
        )

    async def _ensure_code(self, codes: InviteIssuer, operator: Call) -> None:
        await codes.ensure_node_code(
            operator,
            uses=self._settings.join_code_uses,
            validity_s=self._settings.join_code_validity_s,
        )

    def _keep_code(self, codes: InviteIssuer, operator: Call, own: OwnCertificates) -> Worker:
        """Return the worker that has a node code that can be used and pins the CA that signs."""

        async def renew() -> None:
            await self._ensure_code(codes, operator)

        return Periodic("node join code", _CODE_CHECK_S, renew, wake=own.changed, sleeps_first=True)
