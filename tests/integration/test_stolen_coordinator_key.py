"""Whoever copied the coordinator's key and certificate can do nothing once the CA was replaced."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from collective.chunking.chunk_ids import chunk_id
from collective.core.clock import SystemClock
from collective.core.errors import CollectiveError
from collective.core.ids import NodeId, SpiffeId
from collective.core.units import Address
from collective.member.trust.own_certificates import root_of
from collective.pki.credentials import Credentials, load_credentials
from collective.pki.revocation import RevocationSet
from collective.rpc.client.channel import RpcChannel
from collective.rpc.conversions.transfers import ticket_messages
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import ALPN_CHUNK, client_context, server_context
from collective.rpc.tls.gate import PeerGate
from collective.transfer.stream.frames import FrameType
from collective.transfer.tickets.key_ring import KeyRing
from collective.transfer.tickets.making import sign_ticket
from tests import protocol as pb
from tests.integration.cluster import Cluster, running_cluster
from tests.integration.hostile.attacker import Wire, stored
from tests.integration.processes import wait_for
from tests.integration.test_ca_rotation import nodes_have_followed, wait_until_over
from tests.integration.test_revocation import make_user
from tests.roots import Roots
from tests.worlds import LINKS, REAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SETTINGS = {"COLLECTIVE_COPIES": "1", "COLLECTIVE_HEARTBEAT_INTERVAL": "1"}


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path / "robbed", node_count=2, extra=SETTINGS) as cluster:
        cluster.cli("mkdir", "/shared")
        yield cluster


def operators(cluster: Cluster) -> Credentials:
    ca, certificate, key = (cluster.operator[index] for index in (3, 5, 7))
    return load_credentials(certificate, key, ca, disk=REAL.disk)


def steal(cluster: Cluster, folder: Path) -> Credentials:
    """Copy key, certificate and CA certificate, as they are now."""
    folder.mkdir()
    own = operators(cluster)
    paths = []
    for path in (own.certificate_path, own.key_path, own.ca_path):
        copy = folder / Path(path).name
        copy.write_bytes(Path(path).read_bytes())
        paths.append(str(copy))
    return load_credentials(*paths, disk=REAL.disk)


def rotate(cluster: Cluster) -> None:
    cluster.cli("pki", "rotate-ca", "--yes")
    wait_for(lambda: nodes_have_followed(cluster), "nodes with the new CA")
    cluster.cli("pki", "rotate-ca", "--finish", "--force", "--yes")
    wait_until_over(cluster)
    own = Path(operators(cluster).ca_path).read_bytes()
    kept = [
        cluster.cert_dir(node.name) / "ca" / f"{cluster.member}-ca.crt" for node in cluster.nodes
    ]
    # Nodes hear of the end with their next heartbeat, and with the one after it come the keys.
    wait_for(lambda: all(ca.read_bytes() == own for ca in kept), "the new CA alone at the nodes")
    cluster.wait_heartbeats(2)
    cluster.wait_healthy(2)


def knowing(thief: Credentials, cluster: Cluster) -> Credentials:
    """Return the thief's credentials with the CAs of now: he is not the one who refuses."""
    return thief._replace(authorities=(*thief.trusted, *operators(cluster).trusted))


def channel_as(who: Credentials, cluster: Cluster) -> RpcChannel:
    """Return a channel on which ``who`` takes the coordinator for what his CAs say."""
    return LINKS.channel(
        [Address("127.0.0.1", cluster.coordinator_port)],
        credentials=who,
        gate=PeerGate(who.trust(), RevocationSet(), SystemClock()),
        expect=SpiffeId.coordinator(who.domain),
    )


async def status_as(who: Credentials, cluster: Cluster) -> pb.Status:
    async with channel_as(who, cluster) as channel:
        return await channel.stub(pb.MemberStatusStub).get_status(
            pb.GetStatusRequest(), timeout=120
        )


@asynccontextmanager
async def posing(thief: Credentials, port: int = 0) -> AsyncIterator[Address]:
    """Serve as the coordinator with the stolen key, believing everybody."""
    tls = server_context(thief, thief.trust(), alpn=("h2",))
    gate = PeerGate(thief.trust(), RevocationSet(), SystemClock())
    listener = TlsListener([], gate, lambda: tls, REAL)
    try:
        yield await listener.listen(Address("127.0.0.1", port))
    finally:
        await listener.shut(1.0)


def put_with(
    root: bytes, holder: Credentials, cluster: Cluster, key_id: int, name: str
) -> pb.ErrorDetail | None:
    """Put a chunk at node ``name`` by a ticket made under ``root``; return the node's error."""
    domain = holder.domain
    node = SpiffeId.node(domain, NodeId(name))
    ring = KeyRing(SpiffeId.coordinator(domain), Roots(root), SystemClock())
    raw = stored(b"forged" * 100 + str(time.time_ns()).encode())
    ticket = pb.Ticket(
        operation=pb.ChunkOperation.PUT,
        chunk_id=chunk_id(raw),
        length_limit=len(raw),
        transfer_id="f" * 32,
        node=str(node),
        holder=str(holder.identity),
        generation=9,
        revocation_epoch=1 << 40,
        expires_ms=int(time.time() * 1000) + 30_000,
    )
    key = ring.source(node).key(key_id)
    assert key is not None
    context = client_context(holder, holder.trust(), (ALPN_CHUNK,))
    plain = socket.create_connection(("127.0.0.1", cluster.node_ports[name]), timeout=120)
    with Wire(context.wrap_socket(plain)) as wire:
        answer = wire.put(ticket_messages([sign_ticket(key, ticket)]), chunk_id(raw), raw)
    return answer.error() if answer.type is FrameType.ERROR else answer.result().error


def key_ids(who: Credentials, cluster: Cluster) -> dict[str, int]:
    """Return the key under which tickets are signed now, by node."""

    async def ask() -> dict[str, int]:
        found: dict[str, int] = {}
        async with channel_as(who, cluster) as channel:
            stub = channel.stub(pb.FileStubs)
            for number in range(40):
                raw = stored(f"{number} {time.time_ns()}".encode())
                chunk = pb.Extent(
                    chunk_id=chunk_id(raw), stored_length=len(raw), length=len(raw) - 32
                )
                opened = await stub.open_upload(
                    pb.OpenUploadRequest(path=f"/shared/probe-{number}", chunks=[chunk]), timeout=5
                )
                hop = opened.plans[0].routes[0].hops[0]
                found[pb.Ticket.parse(hop.body).node.rpartition("/")[2]] = hop.key_id
                if len(found) == 2:
                    break
        return found

    return asyncio.run(ask())


def test_a_stolen_coordinator_key_opens_nothing_after_the_ca_was_replaced(
    member: Cluster, tmp_path: Path
) -> None:
    thief = steal(member, tmp_path / "loot")
    old_root = root_of(thief)
    anna = make_user(member, "anna")
    ids = key_ids(anna.credentials, member)
    assert ids
    for name, key_id in ids.items():
        error = put_with(old_root, anna.credentials, member, key_id, name)
        assert error is None, "before, a self-made ticket is as good as any: the test can fail"
    assert asyncio.run(status_as(thief, member)).member_id == "alice"
    assert not is_shut_out(thief, next(iter(member.node_ports.values())))

    rotate(member)

    now = operators(member)
    assert now.private_key.private_numbers() != thief.private_key.private_numbers()
    assert root_of(now) != old_root
    # as the operator
    with pytest.raises(CollectiveError):
        asyncio.run(status_as(knowing(thief, member), member))
    # as the coordinator at a node
    for name, port in member.node_ports.items():
        assert is_shut_out(knowing(thief, member), port), name
    # as a server towards a client and a node that have followed
    asyncio.run(nobody_believes(thief, member))
    # by a ticket of his own making, brought to a node by a user who is in league with him
    eve = make_user(member, "eve")
    fresh = key_ids(eve.credentials, member)
    for name, key_id in (*ids.items(), *fresh.items()):
        error = put_with(old_root, eve.credentials, member, key_id, name)
        assert error is not None, (name, key_id)
        assert error.code in {"ticket_refused", "unknown_key"}
    # and again after every process was started anew
    member.coordinator.restart()
    member.wait_healthy(2)
    for name, key_id in (*ids.items(), *key_ids(eve.credentials, member).items()):
        error = put_with(old_root, eve.credentials, member, key_id, name)
        assert error is not None, (name, key_id)
    assert operators(member).certificate == now.certificate
    member.write("/shared/after", b"works")
    assert member.read("/shared/after") == b"works"


def is_shut_out(who: Credentials, port: int) -> bool:
    """Whether a node ends our connection before it answers a call of its coordinator."""

    async def ask() -> bool:
        channel = LINKS.channel(
            [Address("127.0.0.1", port)],
            credentials=who,
            gate=PeerGate(who.trust(), RevocationSet(), SystemClock()),
            expect=lambda peer: peer.identity.role == "node",
        )
        async with channel:
            stub = channel.stub(pb.NodeStub)
            try:
                await stub.challenge_copies(pb.ChallengeCopiesRequest(nonce=bytes(32)), timeout=120)
            except CollectiveError:
                return True
        return False

    return asyncio.run(ask())


async def nobody_believes(thief: Credentials, cluster: Cluster) -> None:
    """A client with the operator's files of now, and a node with its own, talk to the thief."""
    node = cluster.nodes[0].name
    folder = cluster.cert_dir(node)
    certificate, key = (str(folder / "nodes" / f"{node}{end}") for end in (".crt", ".key"))
    ca = str(folder / "ca" / f"{cluster.member}-ca.crt")
    async with posing(thief) as address:
        for victim in (operators(cluster), load_credentials(certificate, key, ca, disk=REAL.disk)):
            channel = LINKS.channel(
                [address],
                credentials=victim,
                gate=PeerGate(victim.trust(), RevocationSet(), SystemClock()),
                expect=SpiffeId.coordinator(victim.domain),
            )
            with pytest.raises(CollectiveError):
                async with channel:
                    await channel.connect()
