"""A thief of the coordinator's key names a CA of his own to clients, bootstraps and nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from collective.client.joining import current_trust, renew_trusting, teller_of
from collective.core.clock import SystemClock
from collective.core.errors import RejectedError
from collective.core.ids import Domain, GlobalId, MemberId, NodeId, SpiffeId
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import certificate_der
from collective.pki.credentials import Credentials
from collective.pki.revocation import RevocationSet
from collective.pki.succession import Told
from collective.roles.node.coordinator_channel import Bootstrap, CoordinatorChannel
from collective.roles.node.enrolment_notes import NodeNotes
from collective.roles.node.identity import Identity
from collective.roles.node.member_addresses import MemberAddresses
from collective.roles.node.renewal import Renewal
from collective.rpc.client.channel import RpcChannel
from collective.rpc.gen.collective.v1 import trust as pb
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import server_context
from collective.rpc.tls.gate import PeerGate
from tests.integration.test_join_mitm import credentials
from tests.worlds import LINKS, REAL, world_of

ALICE = Domain("home.alice")
CLOCK = SystemClock()


class Thief(pb.CertificatesBase):
    """Answers as a coordinator would, with whatever CAs and links he likes."""

    def __init__(self) -> None:
        self.authorities: list[bytes] = []
        self.links: list[bytes] = []
        self.certificate = b""

    async def get_trust(self, message: pb.GetTrustRequest) -> pb.GetTrustResponse:
        del message
        return pb.GetTrustResponse(trusted_ca_ders=self.authorities, ca_link_ders=self.links)

    async def renew_certificate(
        self, message: pb.RenewCertificateRequest
    ) -> pb.RenewCertificateResponse:
        del message
        return pb.RenewCertificateResponse(
            certificate_der=self.certificate,
            trusted_ca_ders=self.authorities,
            ca_link_ders=self.links,
        )


def channel_to(address: Address, victim: Credentials) -> RpcChannel:
    return LINKS.channel(
        [address],
        credentials=victim,
        gate=PeerGate(victim.trust(), RevocationSet(), CLOCK),
        expect=SpiffeId.coordinator(ALICE),
    )


async def test_a_ca_that_the_trusted_one_did_not_sign_is_taken_by_nobody(tmp_path: Path) -> None:
    ca = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(CLOCK))
    planted = CertificateAuthority.create(
        MemberId("alice"), ALICE, world_of(CLOCK), label="thief", after=ca.certificate
    )
    stolen = credentials(ca, SpiffeId.coordinator(ALICE), tmp_path)
    user = SpiffeId.user(ALICE, GlobalId.parse("anna@home.alice"))
    anna = credentials(ca, user, tmp_path)
    node = credentials(ca, SpiffeId.node(ALICE, NodeId("n1")), tmp_path)
    thief = Thief()
    tls = server_context(stolen, stolen.trust(), alpn=("h2",))
    listener = TlsListener(
        [thief], PeerGate(stolen.trust(), RevocationSet(), CLOCK), lambda: tls, REAL
    )
    try:
        address = await listener.listen(Address("127.0.0.1", 0))
        thief.authorities = [certificate_der(one.certificate) for one in (ca, planted)]
        thief.certificate = certificate_der(planted.issue(user, anna.private_key.public_key()))
        for links in ([], [certificate_der(planted.link(planted.certificate))]):
            thief.links = links
            async with channel_to(address, anna) as channel:
                with pytest.raises(RejectedError, match="no CA which is trusted"):
                    await current_trust(channel, anna, clock=CLOCK)
                with pytest.raises(RejectedError, match="no CA which is trusted"):
                    await renew_trusting(channel, anna, clock=CLOCK)
                told = Told(thief.authorities, links, teller_of(channel))
            identity = Identity(node, LINKS)
            gate = PeerGate(node.trust(), RevocationSet(), CLOCK)
            settings = ServeSettings(roles=frozenset({"node"}), coordinator_address=address)
            nobody = MemberAddresses(settings, NodeNotes(), "", REAL)
            bootstrap = Bootstrap(identity, nobody, LINKS, CLOCK)
            nowhere = CoordinatorChannel(identity, gate, nobody, bootstrap, LINKS)
            renewal = Renewal(identity, nowhere, bootstrap, gate, REAL)
            renewal.hear(told)
            await renewal.look()
            assert identity.credentials is node, "nothing was learnt"
        # with the word of the CA that is trusted, the same answer is taken: the test can fail
        thief.links = [certificate_der(ca.link(planted.certificate))]
        async with channel_to(address, anna) as channel:
            assert (await renew_trusting(channel, anna, clock=CLOCK)).trusted == (
                ca.certificate,
                planted.certificate,
            )
    finally:
        await listener.shut(1.0)
