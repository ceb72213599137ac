"""Certificates in the wrong place: other members', other roles', expired, stolen."""

from __future__ import annotations

import pytest

from collective.core.errors import CollectiveError, PermissionDeniedError, UnreachableError
from collective.core.ids import Domain, SpiffeId
from collective.pki.credentials import Credentials
from collective.rpc.tls.contexts import ALPN_CHUNK, ALPN_GRPC
from tests import protocol as pb
from tests.integration.hostile.attacker import Target
from tests.worlds import REAL


def heartbeat(target: Target, port: int = 1) -> pb.HeartbeatRequest:
    return pb.HeartbeatRequest(
        store_uuid="a" * 32,
        instance_id="b" * 32,
        addresses=[pb.Address(host="127.0.0.1", port=port)],
        total_capacity=1,
    )


async def test_a_nodes_certificate_as_a_client(target: Target) -> None:
    async with target.channel(target.node()) as channel:
        files = channel.stub(pb.FileStubs)
        with pytest.raises(PermissionDeniedError):
            await files.list(pb.ListRequest(path="/"))
        with pytest.raises(PermissionDeniedError):
            await files.open_read(pb.OpenReadRequest(path="/private/secret.bin"))
        cluster = channel.stub(pb.MemberStubs)
        with pytest.raises(PermissionDeniedError):
            await cluster.get_status(pb.GetStatusRequest())
        with pytest.raises(PermissionDeniedError):
            await cluster.list_nodes(pb.ListNodesRequest())
        with pytest.raises(PermissionDeniedError):
            await cluster.adopt_nodes(pb.AdoptNodesRequest(all=True))
        with pytest.raises(PermissionDeniedError):
            await cluster.add_grant(
                pb.AddGrantRequest(
                    path="/private", rights=[pb.Right.READ], principal="mallory@home.alice"
                )
            )


async def test_a_nodes_certificate_gets_no_relay(target: Target) -> None:
    assert target.refused(target.node(), target.cluster.coordinator_port)


async def test_a_nodes_certificate_as_another_node(target: Target) -> None:
    """The certificate says which node it is; nothing in the message can."""
    async with target.channel(target.node(1), target.node_port(2)) as channel:
        with pytest.raises(PermissionDeniedError):
            await channel.stub(pb.NodeStub).delete_copies(pb.DeleteCopiesRequest())
    async with target.channel(target.node(1)) as channel:
        with pytest.raises(CollectiveError) as caught:  # a second process with one identity
            await channel.stub(pb.NodeRegistryStub).heartbeat(heartbeat(target))
    assert caught.value.code in {"conflict", "usage", "data_dir", "busy"}, caught.value
    target.cluster.wait_healthy(3)


async def test_a_users_certificate_as_a_node(target: Target) -> None:
    async def pages() -> object:
        yield pb.InventoryPage(instance_id="b" * 32, last=True)

    for who in (target.mallory, target.operator):
        async with target.channel(who) as channel:
            stub = channel.stub(pb.NodeRegistryStub)
            with pytest.raises(PermissionDeniedError):
                await stub.heartbeat(heartbeat(target))
            with pytest.raises(PermissionDeniedError):
                await stub.report_inventory(pages())  # type: ignore[arg-type]
            with pytest.raises(PermissionDeniedError):
                await stub.report_problems(pb.ReportProblemsRequest())


async def test_node_calls_by_everybody_but_the_coordinator(target: Target) -> None:
    copies = [pb.CopyRecord(chunk_id=b"\1" * 32, generation=1, length=1)]
    position = pb.CatalogPosition(catalog_id="c" * 32, epoch=1 << 40, sequence=1 << 40)
    for who in (target.mallory, target.node(2), target.node(1)):
        async with target.channel(who, target.node_port(1)) as channel:
            stub = channel.stub(pb.NodeStub)
            with pytest.raises(PermissionDeniedError):
                await stub.delete_copies(pb.DeleteCopiesRequest(position=position, copies=copies))
            with pytest.raises(PermissionDeniedError):
                await stub.challenge_copies(
                    pb.ChallengeCopiesRequest(nonce=bytes(32), copies=copies)
                )
            with pytest.raises(PermissionDeniedError):
                await stub.copy_chunk(pb.CopyChunkRequest(chunk_id=b"\1" * 32, generation=1))


def _strangers(target: Target) -> dict[str, Credentials]:
    garage = Domain("garage.bob")
    return {
        "another member's coordinator": target.issue(
            SpiffeId.coordinator(garage), authority=target.others
        ),
        "another member's user": target.issue(
            SpiffeId.parse("spiffe://garage.bob/user/garage.bob/bob"), authority=target.others
        ),
        "another member's node": target.issue(
            SpiffeId.parse("spiffe://garage.bob/node/bob-node-01"), authority=target.others
        ),
        "an expired user": target.expired(target.mallory.identity),
        "an expired node": target.expired(target.node_id()),
        "an expired coordinator": target.expired(target.coordinator),
    }


@pytest.mark.parametrize(
    "who",
    [
        "another member's coordinator",
        "another member's user",
        "another member's node",
        "an expired user",
        "an expired node",
        "an expired coordinator",
    ],
)
async def test_certificates_that_do_not_count_anywhere(target: Target, who: str) -> None:
    credentials = _strangers(target)[who]
    for port in (target.cluster.coordinator_port, target.node_port()):
        for alpn in (ALPN_GRPC, ALPN_CHUNK):
            assert target.refused(credentials, port, alpn), (port, alpn)
    async with target.channel(credentials) as channel:
        with pytest.raises(UnreachableError):
            await channel.stub(pb.FileStubs).list(pb.ListRequest(path="/"))


async def test_a_ca_of_the_same_name_and_domain(target: Target) -> None:
    """A CA that calls itself home.alice has another key."""
    from collective.pki.ca import CertificateAuthority  # noqa: PLC0415

    twin = CertificateAuthority.create(target.authority.member, target.domain, REAL)
    forged = target.issue(target.coordinator, authority=twin)
    for port in (target.cluster.coordinator_port, target.node_port()):
        for alpn in (ALPN_GRPC, ALPN_CHUNK):
            assert target.refused(forged, port, alpn)


async def test_no_certificate_at_all(target: Target) -> None:
    for port in (target.cluster.coordinator_port, target.node_port()):
        for alpn in (ALPN_GRPC, ALPN_CHUNK):
            assert target.refused(None, port, alpn)


async def test_a_bootstrap_certificate_elsewhere(target: Target) -> None:
    stolen = target.issue(SpiffeId.bootstrap(target.domain, "front"))
    assert target.refused(stolen, target.node_port(), ALPN_GRPC)
    assert target.refused(stolen, target.node_port(), ALPN_CHUNK)
    assert target.refused(stolen, target.cluster.coordinator_port, ALPN_CHUNK)
    async with target.channel(stolen) as channel:
        with pytest.raises(PermissionDeniedError):
            await channel.stub(pb.FileStubs).list(pb.ListRequest(path="/"))
        with pytest.raises(PermissionDeniedError):
            await channel.stub(pb.MemberStatusStub).get_status(pb.GetStatusRequest())
        with pytest.raises(PermissionDeniedError):
            await channel.stub(pb.NodeRegistryStub).heartbeat(heartbeat(target))


async def test_a_users_certificate_at_the_forwarded_bootstrap(target: Target) -> None:
    for who in (target.mallory, target.node(), target.operator):
        async with target.channel(who) as channel:
            with pytest.raises(PermissionDeniedError):
                await channel.stub(pb.BootstrapStub).begin_join(
                    pb.BeginJoinRequest(code_id="0" * 16)
                )


async def test_renewal_never_gives_another_identity(target: Target) -> None:
    async with target.channel(target.mallory) as channel:
        with pytest.raises(CollectiveError) as caught:
            await channel.stub(pb.CertificatesStub).renew_certificate(
                pb.RenewCertificateRequest(csr_der=b"junk")
            )
    assert caught.value.code in {"rejected", "usage"}
