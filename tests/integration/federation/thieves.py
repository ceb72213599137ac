"""Who has a member's keys and means another one harm: certificates, raw calls and raw connections."""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from betterproto2 import Message
from grpclib.const import Cardinality

from collective.core.clock import SystemClock
from collective.core.ids import Domain, GlobalId, MemberId, NodeId, SpiffeId
from collective.core.units import Address
from collective.pki.bundle import Bundle, SignedBundle, sign_bundle
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified, new_private_key
from collective.pki.credentials import Credentials, load_credentials, save_credentials
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.client.channel import RpcChannel
from collective.rpc.gen.collective.v1 import peering as peering_pb
from collective.rpc.headers import PRINCIPAL_KEY
from collective.rpc.tls.contexts import ALPN_CHUNK, client_context
from collective.rpc.tls.gate import PeerGate
from tests import protocol as pb
from tests.integration.cluster import Cluster
from tests.integration.hostile.attacker import TIMEOUT_S, Wire
from tests.worlds import LINKS, REAL

SERVICES: Mapping[str, tuple[type[Any], type[Any]]] = {
    "Files": (pb.FilesBase, pb.FilesStub),
    "Uploads": (pb.UploadsBase, pb.UploadsStub),
    "Reads": (pb.ReadsBase, pb.ReadsStub),
    "Streams": (pb.StreamsBase, pb.StreamsStub),
    "Datastores": (pb.DatastoresBase, pb.DatastoresStub),
    "People": (pb.PeopleBase, pb.PeopleStub),
    "Nodes": (pb.NodesBase, pb.NodesStub),
    "Trust": (pb.TrustBase, pb.TrustStub),
    "Certificates": (pb.CertificatesBase, pb.CertificatesStub),
    "MemberStatus": (pb.MemberStatusBase, pb.MemberStatusStub),
    "Peers": (peering_pb.PeersBase, peering_pb.PeersStub),
    "PeerLink": (peering_pb.PeerLinkBase, peering_pb.PeerLinkStub),
    "NodeRegistry": (pb.NodeRegistryBase, pb.NodeRegistryStub),
    "Bootstrap": (pb.BootstrapBase, pb.BootstrapStub),
}
"""Everything that a coordinator serves to who has a certificate."""


@dataclass(slots=True)
class Keys:
    """Every key of one member, and what can be made with its CA's."""

    member: str
    domain: Domain
    authority: CertificateAuthority
    folder: Path
    operator: Credentials
    """The coordinator's certificate."""

    @classmethod
    def made(cls, member: str, domain: str, folder: Path) -> Self:
        """Return the keys of a member that there was not."""
        authority = CertificateAuthority.create(MemberId(member), Domain(domain), REAL)
        folder.mkdir(parents=True, exist_ok=True)
        operator = _issue(authority, SpiffeId.coordinator(Domain(domain)), folder)
        return cls(member, Domain(domain), authority, folder, operator)

    @classmethod
    def stolen(cls, cluster: Cluster, folder: Path) -> Self:
        """Return the keys of a member that runs."""
        certs = cluster.cert_dir("coordinator")
        ca = certs / "ca" / f"{cluster.member}-ca"
        own = certs / "coordinators" / f"{cluster.member}-coordinator"
        folder.mkdir(parents=True, exist_ok=True)
        return cls(
            cluster.member,
            Domain(cluster.domain),
            CertificateAuthority.load(
                ca.with_suffix(".crt").read_bytes(), ca.with_suffix(".key").read_bytes(), REAL
            ),
            folder,
            load_credentials(f"{own}.crt", f"{own}.key", f"{ca}.crt", disk=REAL.disk),
        )

    @property
    def coordinator(self) -> SpiffeId:
        return SpiffeId.coordinator(self.domain)

    def issue(self, identity: SpiffeId) -> Credentials:
        """Return a certificate of this member's CA, whatever it says."""
        signer = copy.copy(self.authority)
        signer._domain = identity.trust_domain
        return _issue(signer, identity, self.folder)

    def user(self, name: str) -> SpiffeId:
        return SpiffeId.user(self.domain, GlobalId.parse(f"{name}@{self.domain}"))

    def node(self, name: str) -> SpiffeId:
        return SpiffeId.node(self.domain, NodeId(name))

    def bundle(self, sequence: int, *addresses: Address, **changes: Any) -> SignedBundle:
        """Return a bundle of this member, signed by its CA."""
        told: dict[str, Any] = {
            "member": MemberId(self.member),
            "domain": self.domain,
            "authorities": (self.authority.certificate,),
            "addresses": addresses or (Address("127.0.0.1", 1),),
            "sequence": sequence,
        }
        return sign_bundle(Bundle(**(told | changes)), self.authority)


def _issue(authority: CertificateAuthority, identity: SpiffeId, folder: Path) -> Credentials:
    key = new_private_key(REAL.randomness)
    base = str(folder / os.urandom(6).hex())
    return save_credentials(
        f"{base}.crt",
        f"{base}.key",
        f"{base}-ca.crt",
        certificate=authority.issue(identity, key.public_key()),
        private_key=key,
        authority=authority.certificate,
        disk=REAL.disk,
    )


@dataclass(slots=True)
class Way:
    """The way to one listener of a member, from outside."""

    keys: Keys
    port: int

    @property
    def trust(self) -> TrustStore:
        return TrustStore({self.keys.domain: [self.keys.authority.certificate]})

    @asynccontextmanager
    async def channel(self, credentials: Credentials) -> AsyncIterator[RpcChannel]:
        """Lend a gRPC channel, whoever of the member answers."""

        def anybody(_: Certified) -> bool:
            return True

        channel = LINKS.channel(
            [Address("127.0.0.1", self.port)],
            credentials=credentials,
            gate=PeerGate(self.trust, RevocationSet(), SystemClock()),
            expect=anybody,
        )
        async with channel:
            yield channel

    def wire(self, credentials: Credentials, alpn: str = ALPN_CHUNK) -> Wire:
        """Return a raw connection after its handshake."""
        context = client_context(credentials, self.trust, (alpn,))
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
        try:
            return Wire(context.wrap_socket(plain))
        except BaseException:
            plain.close()
            raise

    def is_shut(self, credentials: Credentials, alpn: str = ALPN_CHUNK) -> bool:
        """Whether the listener ends a connection before it answers anything."""
        try:
            with self.wire(credentials, alpn) as wire:
                return wire.sock.recv(1) == b""
        except OSError:
            return True


def named(principal: object) -> dict[str, str]:
    """Return what names for whom a peer's coordinator calls."""
    return {PRINCIPAL_KEY: str(principal)}


async def raw_call(
    channel: RpcChannel,
    service: str,
    method: str,
    message: Message | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Call a method whatever its kind, with an empty request if none is given; return its first answer."""
    handlers = SERVICES[service][0]().__mapping__()
    path, handler = next(
        (path, one) for path, one in handlers.items() if path.rpartition("/")[2] == method
    )
    cardinality: Cardinality = handler.cardinality
    async with channel.request(
        path,
        cardinality,
        handler.request_type,
        handler.reply_type,
        timeout=TIMEOUT_S,
        metadata=dict(metadata or {}),
    ) as stream:
        await stream.send_message(message or handler.request_type(), end=True)
        return await stream.recv_message()


def methods(*services: str) -> list[tuple[str, str]]:
    """Return every method of these services, by the services themselves."""
    return [
        (name, path.rpartition("/")[2])
        for name in services
        for path in SERVICES[name][0]().__mapping__()
    ]
