"""What a coordinator is made of, subject by subject; nothing is opened here, and nothing is completed later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from collective.catalog.interface import Catalog
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.core.work import Periodic, Worker
from collective.federation.exchange.exchanging import PeerWords
from collective.federation.exchange.own_record import OwnRecord
from collective.federation.files.remote_members import RemoteMembers
from collective.federation.links.peer_call_limits import PeerCallLimits
from collective.federation.links.peer_links import PeerLinks
from collective.federation.links.peer_metrics import PeerMetrics
from collective.federation.links.tallies import PeerTallies
from collective.federation.neighbourhood import Neighbourhood
from collective.federation.peers.accepting import Accepting
from collective.federation.peers.introductions import Introductions
from collective.federation.peers.inviting import Inviting
from collective.federation.peers.managing import Managing
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import PeerBook
from collective.member.care.care import CareSettings, MemberCare, NodeReach
from collective.member.care.expiry import Expiry
from collective.member.care.figures import Figures
from collective.member.care.records import Records
from collective.member.care.tools import CareTools
from collective.member.files.copying import MemberCopying
from collective.member.files.interrupted_copying import InterruptedCopying
from collective.member.files.member_datastores import MemberDatastores
from collective.member.files.member_directory import MemberDirectory
from collective.member.files.member_files import MemberFiles
from collective.member.files.name_directory import NameDirectory
from collective.member.files.whole_files import WholeFiles
from collective.member.metrics import MemberMetrics
from collective.member.nodes.adoption import AdoptionDesk
from collective.member.nodes.approval import Approvals
from collective.member.nodes.bad_copy_reports import BadCopyReports
from collective.member.nodes.drain_and_removal import Removal
from collective.member.nodes.enrolled import Enrolled
from collective.member.nodes.heartbeats import Heartbeats
from collective.member.nodes.inventories import Inventories
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.member_nodes import MemberNodes
from collective.member.nodes.reachability import AddressProver
from collective.member.nodes.statement_macs import StatementMacs
from collective.member.nodes.statements import Statements
from collective.member.nodes.unknown_nodes import UnknownNodes
from collective.member.people.code_secrets import CodeSecrets
from collective.member.people.grant_directory import GrantDirectory
from collective.member.people.guess_limiter import GuessLimiter
from collective.member.people.invites import InviteIssuer
from collective.member.people.joining import Joining
from collective.member.people.member_people import MemberPeople
from collective.member.people.node_code import NodeCode
from collective.member.status import MemberStatus, StatusWatch
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.member.trust.expiry_watch import ExpiryWatch
from collective.member.trust.followers import Followers
from collective.member.trust.member_trust import MemberTrust
from collective.member.trust.own_certificates import Freshness, OwnCertificates
from collective.member.trust.renewals import CertificateRenewals
from collective.member.trust.revocations import Revocations
from collective.member.trust.revoking import Revoking
from collective.member.trust.rotation import Rotation
from collective.member.wakes import Wakes
from collective.placement.node_states import Timers
from collective.placement.shortage import Policy
from collective.roles.coordinator.advertised_addresses import bootstrap_addresses
from collective.roles.coordinator.engines import Engines
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.roles.coordinator.faces.grpc.bootstrap import BootstrapService
from collective.roles.coordinator.faces.grpc.certificates import CertificatesService
from collective.roles.coordinator.faces.grpc.datastores import DatastoresService
from collective.roles.coordinator.faces.grpc.files import FilesService
from collective.roles.coordinator.faces.grpc.node_registry import Contacts, RegistryService
from collective.roles.coordinator.faces.grpc.nodes import NodesService
from collective.roles.coordinator.faces.grpc.peering import PeerLinkService, PeersService
from collective.roles.coordinator.faces.grpc.people import PeopleService
from collective.roles.coordinator.faces.grpc.reads import ReadsService
from collective.roles.coordinator.faces.grpc.status import StatusService
from collective.roles.coordinator.faces.grpc.streams import StreamsService
from collective.roles.coordinator.faces.grpc.trust import TrustService
from collective.roles.coordinator.faces.grpc.uploads import UploadsService
from collective.roles.coordinator.handshake_configs import HandshakeConfigs
from collective.roles.coordinator.node_network import NodeNetwork
from collective.roles.coordinator.readiness import Readiness
from collective.roles.coordinator.refusal_log import RefusalLog
from collective.roles.runtime.diskwatch import DiskWatch
from collective.roles.runtime.lifecycle import Runtime
from collective.roles.runtime.workers import Workers
from collective.transfer.tickets.key_ring import KeyRing

_PRUNE_S: Final = 10.0
"""How often changes are looked through that are kept for too long."""

if TYPE_CHECKING:
    from grpclib._typing import IServable


@dataclass(frozen=True, slots=True)
class Federation:
    """Other members: who is one, what they are told of this one, and what each may ask."""

    book: PeerBook
    bundle: OwnBundle
    tallies: PeerTallies
    call_limits: PeerCallLimits
    introductions: Introductions | None
    """None: there is no such folder."""

    def workers(self) -> Sequence[Worker]:
        """Return what goes on by itself, beside the exchange with peers."""
        folder = [] if self.introductions is None else [self.introductions.worker()]
        return [self.book.worker(), *folder]

    async def close(self) -> None:
        """Leave the folder alone, and let changes of peers end that were begun."""
        if self.introductions is not None:
            self.introductions.close()
        await self.book.close()


@dataclass(frozen=True, slots=True)
class Ground:
    """What every subject stands on."""

    own: OwnCertificates
    catalog: Catalog
    nodes: LiveNodes
    unknown: UnknownNodes
    keys: KeyRing
    macs: StatementMacs
    revocations: Revocations
    followers: Followers
    wakes: Wakes
    metrics: MemberMetrics
    network: NodeNetwork
    engines: Engines
    policy: Policy
    settings: ServeSettings
    federation: Federation

    async def load(self) -> None:
        """Take up what a former process left; before anything is served."""
        await self.revocations.refresh()
        await self.nodes.reload()
        await self.followers.load()
        await self.federation.book.load()


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Everything that the role starts, serves and closes."""

    ground: Ground
    links: PeerLinks
    faces: Sequence[IServable]
    """For callers with a certificate."""
    bootstrap: BootstrapService
    """For those without one."""
    trust: MemberTrust
    removal: Removal
    records: Records
    readiness: Readiness
    refusals: RefusalLog
    node_code: NodeCode
    invites: InviteIssuer
    others: RemoteMembers
    workers: Sequence[Worker]

    async def reload(self, settings: ServeSettings, addresses: tuple[Address, ...]) -> None:
        """Be found at ``addresses`` and where ``settings`` put the bootstrap; take other limits.

        The certificate changes first: whoever comes to a new address meets one that names it.
        """
        ground, bootstraps = self.ground, bootstrap_addresses(settings)
        await ground.own.move(addresses, settings.certificate_lifetime_s)
        ground.network.routes.move(addresses)
        self.others.move(addresses)
        self.invites.move(bootstraps)
        ground.federation.bundle.move(bootstraps)
        self.node_code.limit(uses=settings.join_code_uses, validity_s=settings.join_code_validity_s)
        if bootstraps:
            await self.node_code.ensure()


def wire(
    own: OwnCertificates,
    configs: HandshakeConfigs,
    catalog: Catalog,
    disk: DiskWatch,
    workers: Workers,
    runtime: Runtime,
) -> Coordinator:
    """Make every part of the coordinator over an open catalogue."""
    refusals, ground = _ground(own, configs, catalog, runtime)
    world, nodes, metrics = runtime.world, ground.nodes, ground.metrics
    approvals = Approvals(catalog.nodes, catalog.identities, nodes, ground.wakes)
    care = _care(ground, approvals, runtime)
    renewals, rotation, trust = _trust(ground, runtime)
    removal, members = _nodes(ground, approvals)
    invites, node_code, people = _people(ground, runtime)
    readiness = Readiness(catalog.upkeep, disk, nodes, ground.policy, workers)
    links = _links(ground, members, configs, runtime)
    neighbours = Neighbourhood(links, ground.federation.introductions)
    status = MemberStatus(catalog, members, trust, readiness, ground.policy, neighbours)
    seen = CertificatesSeen(own.domain, catalog.certificates)
    admission = Admission(
        own.domain,
        metrics,
        world.clock,
        ground.federation.call_limits,
        seen=ground.followers.see,
        certificates_seen=seen,
    )
    secrets = CodeSecrets(catalog.codes, world.clock, world.randomness, GuessLimiter(world.clock))
    joining = Joining(
        own,
        catalog,
        nodes,
        ground.unknown,
        ground.followers,
        secrets,
        ground.federation.book,
        world,
    )
    book, bundle = ground.federation.book, ground.federation.bundle
    inviting = Inviting(catalog.identities, book, bundle, invites, secrets, world.clock)
    accepting = Accepting(catalog.identities, book, bundle, runtime.links, world.clock)
    managing = Managing(catalog.identities, catalog.peers, book, bundle, links)
    others = RemoteMembers(own.identity, own.addresses, ground.keys, links, own.clock)
    interrupted = InterruptedCopying(own.clock)
    name = ground.settings.name or ""
    records = Records(catalog.nodes, nodes)
    return Coordinator(
        ground=ground,
        links=links,
        faces=[
            *_files(ground, care, others, interrupted, admission),
            DatastoresService(
                own.domain, MemberDatastores(own.domain, catalog.datastores), admission
            ),
            PeopleService(people, GrantDirectory(own.domain, people, others), admission),
            NodesService(members, admission),
            TrustService(trust, admission),
            CertificatesService(trust, admission),
            StatusService(status, admission),
            PeersService(inviting, accepting, managing, admission),
            PeerLinkService(links, admission),
            _registry(ground, seen, admission),
            BootstrapService(
                joining, renewals, inviting, own, collective_name=name, forwarded=True
            ),
        ],
        bootstrap=BootstrapService(joining, renewals, inviting, own, collective_name=name),
        trust=trust,
        removal=removal,
        records=records,
        readiness=readiness,
        refusals=refusals,
        node_code=node_code,
        invites=invites,
        others=others,
        workers=[
            records.worker(),
            interrupted.worker(),
            Periodic("changes", _PRUNE_S, catalog.changes.prune),
            Expiry(
                catalog.upkeep,
                nodes,
                ground.keys,
                ground.revocations,
                copies=runtime.settings.copies,
            ).worker(),
            StatusWatch(status, catalog, members, trust, metrics).worker(),
            *care.workers(),
            rotation.worker(),
            links.worker(),
            *ground.federation.workers(),
            AddressProver(
                nodes, ground.network.commands.meet, ground.wakes, world.clock, world.randomness
            ),
            Freshness(own, metrics),
        ],
    )


def _ground(
    own: OwnCertificates, configs: HandshakeConfigs, catalog: Catalog, runtime: Runtime
) -> tuple[RefusalLog, Ground]:
    settings, world = runtime.settings, runtime.world
    timers = Timers(
        settings.node_suspect_after_s, settings.node_down_after_s, settings.node_lost_after_s
    )
    nodes = LiveNodes(own.domain, catalog.nodes, world.clock, world.randomness, timers)
    unknown = UnknownNodes(world.clock)
    metrics = MemberMetrics(runtime.metrics.registry, own.member, nodes, unknown)
    catalog.upkeep.watch_writer(metrics.writer)
    federation = _federation(own, configs, catalog, runtime)
    refusals = RefusalLog(catalog.audit, metrics, federation.tallies, own.domain, world)
    keys = KeyRing(own.identity, own, world.clock)
    macs = StatementMacs(keys)
    network = NodeNetwork(own, configs, nodes, keys, refusals, runtime)
    return refusals, Ground(
        own=own,
        catalog=catalog,
        nodes=nodes,
        unknown=unknown,
        keys=keys,
        macs=macs,
        revocations=Revocations(catalog.revocations, configs.gate, keys, macs, nodes, own),
        followers=Followers(own, own.place.ca_rotation, world),
        wakes=Wakes(),
        metrics=metrics,
        network=network,
        engines=Engines(network, federation.book, federation.tallies, world),
        policy=Policy(settings.copies),
        settings=settings,
        federation=federation,
    )


def _federation(
    own: OwnCertificates, configs: HandshakeConfigs, catalog: Catalog, runtime: Runtime
) -> Federation:
    world, folder = runtime.world, runtime.settings.introductions_dir
    book = PeerBook(own.domain, catalog.peers, configs)
    bundle = OwnBundle(own, bootstrap_addresses(runtime.settings), catalog.peers, world)
    introductions = None if folder is None else Introductions(folder, book, bundle, world)
    tallies = PeerTallies(book)
    return Federation(
        book, bundle, tallies, PeerCallLimits(book, tallies, world.clock), introductions
    )


def _links(
    ground: Ground, members: MemberNodes, configs: HandshakeConfigs, runtime: Runtime
) -> PeerLinks:
    federation, world = ground.federation, runtime.world
    record = OwnRecord(members, ground.revocations, world.clock)
    words = PeerWords(federation.bundle, record, federation.book, world.clock)
    links = PeerLinks(federation.book, words, configs, runtime.links, world, federation.tallies)
    metrics = PeerMetrics(ground.own.member, links, federation.tallies)
    runtime.metrics.registry.register(metrics)
    return links


def _trust(ground: Ground, runtime: Runtime) -> tuple[CertificateRenewals, Rotation, MemberTrust]:
    own, catalog, settings = ground.own, ground.catalog, ground.settings
    renewals = CertificateRenewals(
        own,
        catalog,
        ground.revocations,
        ground.followers,
        runtime.world,
        expired_renewal_s=settings.expired_renewal_s,
    )
    rotation = Rotation(
        own,
        catalog,
        ground.nodes,
        ground.revocations,
        ground.followers,
        interval_s=settings.heartbeat_interval_s,
    )
    revoking = Revoking(own.identity, catalog, ground.revocations)
    expiry = ExpiryWatch(own, rotation)
    return renewals, rotation, MemberTrust(own, catalog, renewals, rotation, revoking, expiry)


def _nodes(ground: Ground, approvals: Approvals) -> tuple[Removal, MemberNodes]:
    catalog, nodes, revocations = ground.catalog, ground.nodes, ground.revocations
    removal = Removal(
        catalog, nodes, revocations, ground.keys, ground.network.commands, ground.wakes
    )
    adoption = AdoptionDesk(catalog, nodes, ground.unknown, ground.wakes, revocations)
    figures = Figures(catalog, nodes)
    return removal, MemberNodes(catalog.identities, nodes, figures, approvals, adoption, removal)


def _people(ground: Ground, runtime: Runtime) -> tuple[InviteIssuer, NodeCode, MemberPeople]:
    own, catalog, settings = ground.own, ground.catalog, ground.settings
    addresses = bootstrap_addresses(settings)
    invites = InviteIssuer(own, catalog.codes, addresses, own.place, runtime.world)
    node_code = NodeCode(
        own, invites, uses=settings.join_code_uses, validity_s=settings.join_code_validity_s
    )
    people = MemberPeople(
        own.domain,
        catalog,
        invites,
        node_code,
        ground.federation.book,
        runtime.world.clock,
    )
    return invites, node_code, people


def _care(ground: Ground, approvals: Approvals, runtime: Runtime) -> MemberCare:
    network, settings, world = ground.network, runtime.settings, runtime.world
    reach = NodeReach(
        ground.own.identity,
        network.commands,
        network.chunks,
        network.routes,
        network.receipts,
        ground.macs,
    )
    tools = CareTools(ground.metrics, ground.wakes, world.clock, world.randomness)
    limits = CareSettings(settings.collection_grace_s, settings.snapshot_interval_s)
    return MemberCare(ground.catalog, ground.nodes, reach, approvals, tools, limits)


def _files(
    ground: Ground,
    care: MemberCare,
    others: RemoteMembers,
    interrupted: InterruptedCopying,
    admission: Admission,
) -> list[IServable]:
    network = ground.network
    files = MemberFiles(
        ground.own.identity,
        ground.catalog,
        ground.nodes,
        network.routes,
        network.receipts,
        ground.policy,
        care.complaints,
    )
    own = ground.own
    owners = MemberDirectory(own.domain, files, others)
    return [
        FilesService(NameDirectory(owners), admission),
        UploadsService(owners, admission),
        ReadsService(owners, admission),
        StreamsService(
            WholeFiles(own.identity, ground.engines, owners),
            MemberCopying(own.identity, ground.engines, owners, interrupted),
            admission,
        ),
    ]


def _registry(
    ground: Ground, certificates_seen: CertificatesSeen, admission: Admission
) -> RegistryService:
    catalog, nodes, revocations = ground.catalog, ground.nodes, ground.revocations
    enrolled = Enrolled(catalog.nodes, nodes, ground.unknown, revocations, certificates_seen)
    statements = Statements(
        ground.own,
        catalog.restores,
        ground.keys,
        ground.macs,
        revocations,
        interval_s=ground.settings.heartbeat_interval_s,
    )
    federation = ground.federation
    return RegistryService(
        Heartbeats(catalog.nodes, nodes, enrolled, statements, ground.wakes),
        Inventories(catalog.copies, nodes, enrolled, ground.wakes),
        BadCopyReports(catalog.copies, enrolled, ground.wakes, ground.metrics),
        Contacts(federation.bundle, federation.book),
        admission,
        ground.metrics,
    )
