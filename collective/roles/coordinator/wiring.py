"""The coordinator's parts, made from what was prepared; no I/O but what they do later."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from collective.catalog.interface import Catalog
from collective.core import limits
from collective.core.settings import ServeSettings
from collective.core.world import World
from collective.member.care.challenger import Challenger
from collective.member.care.collection import Collector
from collective.member.care.complaints import Complaints
from collective.member.care.figures import Figures
from collective.member.care.guarded_deletes import GuardedDeletes
from collective.member.care.repair import Repairer
from collective.member.care.verdict_book import VerdictBook
from collective.member.care.verification import Sampler, Verifier
from collective.member.files.member_files import MemberFiles
from collective.member.files.owners import Owners
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.files.uploads import Policy
from collective.member.metrics import HEALTHY, WAITING, MemberMetrics, NodeFigures
from collective.member.nodes.adoption import AdoptionDesk
from collective.member.nodes.approval import Approvals
from collective.member.nodes.enrolled import Enrolled
from collective.member.nodes.live_nodes import LiveNodes, space_of
from collective.member.nodes.reachability import AddressProver
from collective.member.nodes.registry import NodeRegistry
from collective.member.nodes.removal import Removal
from collective.member.nodes.statement_macs import StatementMacs
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.nodes.words import Words
from collective.member.people.invites import InviteIssuer
from collective.member.people.joining import Joining
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.member.trust.expiry_watch import ExpiryWatch
from collective.member.trust.followers import Followers
from collective.member.trust.own_certificates import OwnCertificates
from collective.member.trust.renewals import CertificateRenewals
from collective.member.trust.revocations import Revocations
from collective.member.trust.revoking import Revoking
from collective.member.trust.rotation import Rotation
from collective.member.wakes import Wakes
from collective.model.nodes import Standing
from collective.pki.certificates import Certified
from collective.placement.node_states import Timers, shown
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.grpc.audit import AuditService
from collective.roles.coordinator.faces.grpc.cluster import ClusterService, Member
from collective.roles.coordinator.faces.grpc.datastores import DatastoresService
from collective.roles.coordinator.faces.grpc.files import FilesService
from collective.roles.coordinator.faces.grpc.identities import IdentitiesService
from collective.roles.coordinator.faces.grpc.invites import InvitesService
from collective.roles.coordinator.faces.grpc.node_registry import RegistryService
from collective.roles.coordinator.faces.grpc.reads import ReadsService
from collective.roles.coordinator.faces.grpc.streams import StreamsService
from collective.roles.coordinator.faces.grpc.uploads import UploadsService
from collective.roles.coordinator.node_calls import NodeCaller
from collective.roles.coordinator.personas import Personas
from collective.roles.coordinator.readiness import Readiness
from collective.roles.coordinator.refusal_log import RefusalLog
from collective.roles.coordinator.upkeep import Upkeep
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.workers import Workers
from collective.rpc.links import Links
from collective.transfer.buffers import BufferPool
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.options import TransferOptions
from collective.transfer.stream.chunk_client import ChunkClient
from collective.transfer.stream.server import ChunkServer
from collective.transfer.tickets.key_ring import KeyRing

RELAY_POOL_BYTES = 40 * limits.MIB
STREAM_POOL_BYTES = 40 * limits.MIB
CARRYING = TransferOptions(patience_s=0.0, may_relay=False)
"""Of whole files that pass through the coordinator, which reaches nodes itself."""


class Renewals:
    """Renewal and CAs, as the cluster service wants them."""

    def __init__(self, desk: CertificateRenewals, own: OwnCertificates) -> None:
        """Renew by ``desk``; ``own`` has the CAs."""
        self._desk = desk
        self._own = own

    def trusted(self) -> list[bytes]:
        """Return every CA that counts (DER), the one that signs first."""
        return self._own.trusted_ders()

    def links(self) -> list[bytes]:
        """Return the old CA's word for the new one (DER), while a rotation is under way."""
        return self._own.link_ders()

    async def renew(self, peer: Certified, csr_der: bytes) -> bytes:
        """Return a new certificate (DER) for the peer's identity."""
        return (await self._desk.renew_live(peer, csr_der)).certificate_der


def node_figures(table: LiveNodes, waiting: int = 0) -> NodeFigures:
    """Return what metrics show of the nodes at this moment."""
    states = table.states()
    nodes = table.all()
    words = [shown(states[live.record.node], live.record.standing) for live in nodes]
    healthy = sum(
        1
        for live in nodes
        if states[live.record.node] in HEALTHY and live.record.standing is not Standing.DOUBTED
    )
    by_state = Counter(words)
    if waiting:
        by_state[WAITING] = waiting
    return NodeFigures(by_state, healthy, *space_of(nodes))


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the role starts, serves and closes."""

    table: LiveNodes
    metrics: MemberMetrics
    refusal_log: RefusalLog
    revocations: Revocations
    revoking: Revoking
    removal: Removal
    standing: Approvals
    joining: Joining
    renewal: CertificateRenewals
    relay: ChunkServer
    chunks: ChunkClient
    nodes: NodeCaller
    files: FilesService
    uploads: UploadsService
    reads: ReadsService
    streams: StreamsService
    cluster: ClusterService
    invites: InvitesService
    identities: IdentitiesService
    datastores: DatastoresService
    audit: AuditService
    followers: Followers
    rotation: Rotation
    registry: RegistryService
    repairer: Repairer
    verifier: Verifier
    sampler: Sampler
    guarded_deletes: GuardedDeletes
    collector: Collector
    upkeep: Upkeep
    readiness: Readiness
    prover: AddressProver


def build(
    *,
    settings: ServeSettings,
    own: OwnCertificates,
    personas: Personas,
    catalog: Catalog,
    registry: CollectorRegistry,
    codes: InviteIssuer,
    world: World,
    links: Links,
    workers: Workers,
    watch: DiskWatch,
) -> Parts:
    """Make every part of the coordinator over an open catalogue."""
    clock, randomness = world.clock, world.randomness
    policy = Policy(settings.copies)
    timers = Timers(
        settings.node_suspect_after_s, settings.node_down_after_s, settings.node_lost_after_s
    )
    table = LiveNodes(own.domain, catalog, clock, randomness, timers)
    readiness = Readiness(catalog, watch, table, policy)
    metrics = MemberMetrics(registry, own.member, lambda: node_figures(table, len(waiting.all())))
    catalog.watch_writer(metrics.writer)
    wakes = Wakes()
    waiting = UnknownNodes(clock)
    keys = KeyRing(own.identity, own, clock)
    macs = StatementMacs(keys)
    revocations = Revocations(catalog, personas.gate, keys, macs, table, own)
    followers = Followers(own, own.place.ca_rotation, world)
    joining = Joining(own, catalog, table, waiting, followers, world)
    renewal = CertificateRenewals(
        own,
        catalog,
        revocations,
        followers,
        world,
        expired_renewal_s=settings.expired_renewal_s,
    )
    rotation = Rotation(
        own, catalog, table, revocations, followers, interval_s=settings.heartbeat_interval_s
    )
    dialer = links.dialer(personas.chunk_client, personas.gate)
    stream_pool = BufferPool(STREAM_POOL_BYTES)
    chunks = ChunkClient(dialer, stream_pool, world.threads)
    routes = RouteMaker(own.identity, own.addresses, table, keys, randomness)
    receipts = ReceiptChecker(keys)
    nodes = NodeCaller(table, personas, links)
    prover = AddressProver(table, nodes.meet, wakes, clock, randomness)
    complaints = Complaints(wakes, clock)
    challenger = Challenger(own.identity, nodes, routes, chunks, metrics, clock, randomness)

    verdicts = VerdictBook(catalog, table, metrics, wakes)
    files = MemberFiles(
        own.identity,
        catalog,
        table,
        routes,
        receipts,
        policy,
        complaints,
        Engine.of(chunks, stream_pool, world.threads, world, CARRYING),
    )
    owners = Owners(own.domain, files)
    certificates_seen = CertificatesSeen(own.domain, catalog)
    enrolled = Enrolled(catalog, table, waiting, revocations, certificates_seen)
    words = Words(own, catalog, keys, macs, revocations, interval_s=settings.heartbeat_interval_s)
    calls = Admission(
        own.domain, metrics, clock, seen=followers.see, certificates_seen=certificates_seen
    )
    refusal_log = RefusalLog(catalog, metrics, randomness)
    relay = ChunkServer(
        identity=own.identity,
        store=None,
        keys=keys,
        dialer=dialer,
        pool=BufferPool(RELAY_POOL_BYTES),
        threads=world.threads,
        refusals=refusal_log,
    )

    expiry = ExpiryWatch(own, rotation)
    figures = Figures(catalog, table)
    revoking = Revoking(own.identity, catalog, revocations)
    removal = Removal(catalog, table, revocations, keys, nodes, wakes)
    standing = Approvals(catalog, table, wakes)
    adoption = AdoptionDesk(catalog, table, waiting, wakes, revocations)
    return Parts(
        table=table,
        readiness=readiness,
        prover=prover,
        metrics=metrics,
        refusal_log=refusal_log,
        revocations=revocations,
        revoking=revoking,
        removal=removal,
        standing=standing,
        joining=joining,
        renewal=renewal,
        relay=relay,
        chunks=chunks,
        nodes=nodes,
        files=FilesService(owners, calls),
        uploads=UploadsService(owners, calls),
        reads=ReadsService(owners, calls),
        streams=StreamsService(owners, files.whole, calls),
        cluster=ClusterService(
            member=Member(own.member, own.domain, own.addresses[0]),
            catalog=catalog,
            table=table,
            figures=figures,
            policy=policy,
            certificates=Renewals(renewal, own),
            removal=removal,
            standing=standing,
            adoption=adoption,
            rotation=rotation,
            watch=expiry,
            calls=calls,
            clock=clock,
            workers=workers.reports,
            unwell=readiness.warnings,
        ),
        invites=InvitesService(
            catalog,
            codes,
            calls,
            clock,
            node_uses=settings.join_code_uses,
            node_validity_s=settings.join_code_validity_s,
        ),
        identities=IdentitiesService(catalog, codes, revoking, calls, clock),
        datastores=DatastoresService(own.domain, catalog, calls),
        audit=AuditService(catalog, calls),
        followers=followers,
        rotation=rotation,
        registry=RegistryService(
            NodeRegistry(catalog, table, enrolled, words, wakes, metrics), calls, metrics
        ),
        repairer=Repairer(
            catalog=catalog,
            table=table,
            routes=routes,
            receipts=receipts,
            nodes=nodes,
            metrics=metrics,
            wakes=wakes,
            clock=clock,
            randomness=randomness,
            mute=challenger.mute,
            wait_for=challenger.unsettled.may_settle,
        ),
        verifier=Verifier(
            complaints=complaints,
            catalog=catalog,
            table=table,
            challenger=challenger,
            verdicts=verdicts,
            wakes=wakes,
            clock=clock,
        ),
        sampler=Sampler(
            catalog=catalog,
            table=table,
            challenger=challenger,
            verdicts=verdicts,
            wakes=wakes,
            clock=clock,
            randomness=randomness,
            clear=standing.clear,
        ),
        guarded_deletes=GuardedDeletes(
            catalog=catalog,
            table=table,
            challenger=challenger,
            verdicts=verdicts,
            metrics=metrics,
            clock=clock,
        ),
        collector=Collector(
            catalog=catalog,
            table=table,
            nodes=nodes,
            metrics=metrics,
            macs=macs,
            grace_s=settings.collection_grace_s,
        ),
        upkeep=Upkeep(
            catalog=catalog,
            table=table,
            figures=figures,
            policy=policy,
            keys=keys,
            revocations=revocations,
            metrics=metrics,
            clock=clock,
            snapshot_interval_s=settings.snapshot_interval_s,
            workers=workers.reports,
            unwell=readiness.warnings,
            watch=expiry,
            waiting=adoption.waiting,
        ),
    )
