"""Joining over real TLS on loopback: the honest way, through a forwarder, and the man in the middle."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from collective.client import joining
from collective.core.clock import ManualClock, SystemClock
from collective.core.errors import CollectiveError, PermissionDeniedError, RejectedError
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.randomness import SystemRandomness
from collective.core.units import Address
from collective.member.people.invites import InviteIssuer
from collective.model.calls import Call
from collective.model.people import InviteKind
from collective.model.trust import JoinAnswer, TrustedAuthorities
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.credentials import Credentials, save_credentials
from collective.pki.invite_code import InviteCode
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Authorities
from collective.roles.bootstrap.certificate import OwnCertificate
from collective.roles.bootstrap.service import ForwardingService
from collective.roles.coordinator.faces.grpc.bootstrap import BootstrapService
from collective.rpc.gen.collective.v1 import bootstrap as pb
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import server_context
from collective.rpc.tls.gate import PeerGate
from tests.unit.member.alone import NO_INVITING
from tests.unit.member.fake_catalog import FakeCatalog
from tests.unit.member.own import Shown, joining_over, lone, renewals_over
from tests.worlds import LINKS, REAL, world_of

ALICE = Domain("home.alice")
CLOCK = SystemClock()
WORLD = world_of(CLOCK, SystemRandomness())
ANY_PORT = Address("127.0.0.1", 0)
OPERATOR = Call(SpiffeId.coordinator(ALICE), is_operator=True)


def authority() -> CertificateAuthority:
    return CertificateAuthority.create(MemberId("alice"), ALICE, world_of(CLOCK))


def credentials(
    ca: CertificateAuthority, identity: SpiffeId, folder: Path, key: Any = None
) -> Credentials:
    key = key or certificates.new_private_key(REAL.randomness)
    name = f"{identity.role}-{identity.name or 'x'}".replace("/", "-")
    return save_credentials(
        *(str(folder / f"{name}{suffix}") for suffix in (".crt", ".key", "-ca.crt")),
        certificate=ca.issue(identity, key.public_key()),
        private_key=key,
        authority=ca.certificate,
        disk=REAL.disk,
    )


@asynccontextmanager
async def bootstrap(service: pb.BootstrapBase, shown: Credentials) -> AsyncIterator[Address]:
    tls = server_context(shown, shown.trust(), client_certificates=False, alpn=("h2",))
    listener = TlsListener([service], None, lambda: tls, REAL)
    try:
        yield await listener.listen(ANY_PORT)
    finally:
        await listener.shut(1.0)


def digest(shown: Credentials) -> bytes:
    return hashlib.sha256(certificates.certificate_der(shown.certificate)).digest()


class Member:
    """Alice: a CA, a fake catalogue, and services over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = authority()
        self.shown = credentials(self.ca, SpiffeId.coordinator(ALICE), folder)
        self.catalog = FakeCatalog(CLOCK)
        catalog: Any = self.catalog

        self.own = lone(self.ca)
        self.joining = joining_over(self.own, catalog, WORLD)
        self.renewal = renewals_over(self.own, catalog, WORLD)

    def service(self, *, forwarded: bool = False) -> BootstrapService:
        return BootstrapService(
            self.joining,
            self.renewal,
            NO_INVITING,
            Shown([digest(self.shown)], [Address("127.0.0.1", 8001)]),
            collective_name="alice-homelab",
            forwarded=forwarded,
        )

    async def code(self, *addresses: Address) -> InviteCode:
        catalog: Any = self.catalog
        place = CertDir(str(self.folder), MemberId("alice"))
        codes = InviteIssuer(self.own, catalog.codes, addresses, place, WORLD)
        made = await codes.create(OPERATOR, InviteKind.NODE, uses=5, validity_s=60)
        return made[1]

    async def uses_left(self, code: InviteCode) -> int:
        return (await self.catalog.codes.get(code.code_id)).uses_left


class Spy(pb.BootstrapBase):
    """The attacker's server: remembers all that it is sent."""

    def __init__(self, onward: pb.BootstrapStub | None = None) -> None:
        self.heard: list[object] = []
        self._onward = onward

    async def begin_join(self, message: pb.BeginJoinRequest) -> pb.BeginJoinResponse:
        self.heard.append(message)
        if self._onward is None:
            return pb.BeginJoinResponse(nonce=b"n" * 40)
        return await self._onward.begin_join(message, timeout=120)

    async def join(self, message: pb.JoinRequest) -> pb.JoinResponse:
        self.heard.append(message)
        if self._onward is None:
            return pb.JoinResponse()
        return await self._onward.join(message, timeout=120)


@pytest.fixture
def alice(tmp_path: Path) -> Member:
    return Member(tmp_path)


def key() -> ec.EllipticCurvePrivateKey:
    return certificates.new_private_key(REAL.randomness)


async def test_join_at_the_coordinators_bootstrap(alice: Member) -> None:
    async with bootstrap(alice.service(), alice.shown) as where:
        code = await alice.code(Address("127.0.0.1", 1), where)
        mine = key()
        joined = await joining.redeem(code, mine, clock=CLOCK, links=LINKS)
        again = await joining.redeem(code, mine, clock=CLOCK, links=LINKS)
    assert joined.identity == SpiffeId.node(ALICE, NodeId("alice-node-01"))
    assert (joined.member, joined.domain, joined.collective_name) == (
        "alice",
        ALICE,
        "alice-homelab",
    )
    assert joined.coordinator_addresses == (Address("127.0.0.1", 8001),)
    assert again.certificate == joined.certificate
    assert await alice.uses_left(code) == 4


async def test_join_through_a_standalone_bootstrap(alice: Member) -> None:
    trust = alice.shown.trust()
    own = credentials(alice.ca, SpiffeId.bootstrap(ALICE, "b1"), alice.folder)
    main = TlsListener(
        [alice.service(forwarded=True)],
        PeerGate(trust, RevocationSet(), CLOCK),
        partial(server_context, alice.shown, trust),
        REAL,
    )
    async with AsyncExitStack() as stack:
        coordinator = await main.listen(ANY_PORT)
        stack.push_async_callback(main.shut, 1.0)
        certificate = OwnCertificate(own, coordinator, LINKS, WORLD)
        stack.push_async_callback(certificate.close)
        service = ForwardingService(certificate)
        where = await stack.enter_async_context(bootstrap(service, own))
        joined = await joining.redeem(
            await alice.code(where), key(), clock=CLOCK, wish="attic", links=LINKS
        )
        assert joined.identity == SpiffeId.node(ALICE, NodeId("attic"))

        node = credentials(alice.ca, joined.identity, alice.folder)
        direct = LINKS.channel(
            [coordinator],
            credentials=node,
            gate=PeerGate(trust, RevocationSet(), CLOCK),
            expect=SpiffeId.coordinator(ALICE),
        )
        stack.push_async_callback(direct.aclose)
        with pytest.raises(PermissionDeniedError):
            await direct.stub(pb.BootstrapStub).begin_join(
                pb.BeginJoinRequest(code_id="ab" * 8), timeout=5
            )


async def test_attacker_with_his_own_ca_of_the_same_name_hears_nothing(
    alice: Member, tmp_path: Path
) -> None:
    spy = Spy()
    fake = tmp_path / "fake"
    async with bootstrap(spy, credentials(authority(), SpiffeId.coordinator(ALICE), fake)) as where:
        code = await alice.code(where)
        with pytest.raises(RejectedError, match="nothing was sent"):
            await joining.redeem(code, key(), clock=CLOCK, links=LINKS)
    assert spy.heard == []
    assert await alice.uses_left(code) == 5


@pytest.mark.parametrize(
    "identity",
    [
        SpiffeId.node(ALICE, NodeId("alice-node-01")),
        SpiffeId.parse("spiffe://home.alice/user/home.alice/mallory"),
    ],
)
async def test_insider_whose_leaf_is_of_the_right_ca_but_another_role_hears_nothing(
    alice: Member, identity: SpiffeId
) -> None:
    spy = Spy()
    async with bootstrap(spy, credentials(alice.ca, identity, alice.folder)) as where:
        code = await alice.code(where)
        with pytest.raises(RejectedError, match="nothing was sent"):
            await joining.redeem(code, key(), clock=CLOCK, links=LINKS)
    assert spy.heard == []


async def test_stolen_old_bootstrap_cannot_relay_a_proof_to_the_real_one(alice: Member) -> None:
    """Even with a leaf that passes, what it hears is worthless at any other listener."""
    stolen = credentials(alice.ca, SpiffeId.bootstrap(ALICE, "stolen"), alice.folder)
    async with AsyncExitStack() as stack:
        real = await stack.enter_async_context(bootstrap(alice.service(), alice.shown))
        gate = PeerGate(alice.shown.trust(), RevocationSet(), CLOCK)
        onward = LINKS.channel(
            [real], credentials=None, gate=gate, expect=SpiffeId.coordinator(ALICE)
        )
        stack.push_async_callback(onward.aclose)
        spy = Spy(onward.stub(pb.BootstrapStub))
        where = await stack.enter_async_context(bootstrap(spy, stolen))
        code = await alice.code(where)
        with pytest.raises(PermissionDeniedError):
            await joining.redeem(code, key(), clock=CLOCK, links=LINKS)
        heard = [message for message in spy.heard if isinstance(message, pb.JoinRequest)]
        assert len(heard) == 1
        assert code.secret not in bytes(heard[0])
    assert await alice.uses_left(code) == 5


async def test_answers_with_another_ca_key_or_role_are_not_believed(alice: Member) -> None:
    mine = key()
    good = JoinAnswer(
        certificate_der=certificates.certificate_der(
            alice.ca.issue(SpiffeId.node(ALICE, NodeId("n")), mine.public_key())
        ),
        authority_der=certificates.certificate_der(alice.ca.certificate),
        trusted=TrustedAuthorities((), ()),
        member="alice",
        domain="home.alice",
        collective_name="home",
        addresses=(),
    )

    def check(**changes: Any) -> joining.Joined:
        return joining.check_answer(
            replace(good, **changes),
            alice.ca.digest,
            mine,
            roles=frozenset(("node", "user")),
            now_s=CLOCK.wall_s(),
        )

    assert check().identity == SpiffeId.node(ALICE, NodeId("n"))

    def leaf(ca: CertificateAuthority, identity: SpiffeId, public: Any) -> bytes:
        return certificates.certificate_der(ca.issue(identity, public))

    node = SpiffeId.node(ALICE, NodeId("n"))
    other = authority()
    for changes in (
        {"authority_der": certificates.certificate_der(other.certificate)},
        {"authority_der": b""},
        {"certificate_der": b"junk"},
        {"certificate_der": leaf(other, node, mine.public_key())},
        {"certificate_der": leaf(alice.ca, node, key().public_key())},
        {"certificate_der": leaf(alice.ca, SpiffeId.coordinator(ALICE), mine.public_key())},
        {"member": "bob"},
        {"domain": "garage.bob"},
    ):
        with pytest.raises(RejectedError):
            check(**changes)


async def test_certificate_that_ran_out_renews_at_the_bootstrap(
    alice: Member, tmp_path: Path
) -> None:
    past = ManualClock(CLOCK.wall_s() - 40 * 86400)
    node = SpiffeId.node(ALICE, NodeId("n"))
    alice.ca = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(past))
    old = credentials(alice.ca, node, tmp_path / "old")
    alice.ca = CertificateAuthority(alice.ca.certificate, alice.ca._key, world_of(CLOCK))
    alice.own.authorities = Authorities.lone(alice.ca)
    alice.shown = credentials(alice.ca, SpiffeId.coordinator(ALICE), tmp_path / "new")
    async with bootstrap(alice.service(), alice.shown) as where:
        renewed = await joining.renew_expired(old, [where], links=LINKS, clock=CLOCK)
    assert renewed.identity == node
    assert renewed.certified.expires_s > CLOCK.wall_s()
    assert old.certified.expires_s < CLOCK.wall_s()


async def test_nobody_home_is_said_so(alice: Member) -> None:
    code = await alice.code(Address("127.0.0.1", 1))
    with pytest.raises(CollectiveError, match="No connection"):
        await joining.redeem(code, key(), clock=CLOCK, links=LINKS)
