"""A revoked key comes back by no way: renewal, live or late, a device code, redeeming again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    PermissionDeniedError,
    ShutOutError,
    UsageError,
)
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.core.paths import FilePath
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.member.nodes.live_nodes import LiveNodes
from collective.member.nodes.statement_macs import StatementMacs
from collective.member.people.invites import InviteIssuer
from collective.member.people.joining import Admitted
from collective.member.trust.certificates_seen import CertificatesSeen
from collective.member.trust.revocations import Revocations
from collective.member.trust.revoking import Revoking
from collective.model.calls import Call
from collective.model.people import InviteKind, JoinAttempt
from collective.model.rights import Right
from collective.pki import certificates, proof
from collective.pki.ca import CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.certificates import Certified
from collective.pki.invite_code import InviteCode
from collective.pki.revocation import RevocationSet, key_entry
from collective.pki.trust import TrustStore
from collective.rpc.tls.gate import PeerGate
from tests.unit.member.cluster import record
from tests.unit.member.own import Own, joining_over, lone, own_leaf, renewals_over
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
OWN = SpiffeId.coordinator(ALICE)
OPERATOR = Call(OWN, is_operator=True)
LEAF = b"l" * 32
EVE = SpiffeId.user(ALICE, GlobalId("eve", ALICE))
Key = ec.EllipticCurvePrivateKey


@dataclass
class Rings:
    """Stands for the tickets' keys."""

    epoch: int = 0


@dataclass
class Member:
    """A coordinator's trust over a real catalogue, without its network."""

    catalog: SqliteCatalog
    clock: ManualClock
    path: str
    closed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        randomness = SeededRandomness(5)
        self.ca = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(self.clock))
        self.gate = PeerGate(
            TrustStore({ALICE: (self.ca.certificate,)}), RevocationSet(), self.clock
        )
        rings: Any = Rings()
        self.own = Own(OWN)
        self.nodes = LiveNodes(ALICE, self.catalog.nodes, self.clock, randomness)
        self.revocations = Revocations(
            self.catalog.revocations,
            self.gate,
            rings,
            StatementMacs(rings),
            self.nodes,
            self.own,
        )

        authorities = lone(self.ca)
        world = world_of(self.clock, randomness)
        self.joining = joining_over(authorities, self.catalog, world)
        self.renewal = renewals_over(authorities, self.catalog, world, revoked=self.revocations)
        self.revoking = Revoking(OWN, self.catalog, self.revocations)
        self.certificates_seen = CertificatesSeen(ALICE, self.catalog.certificates)
        self.codes = InviteIssuer(
            authorities,
            self.catalog.codes,
            [Address("127.0.0.1", 9001)],
            CertDir(self.path, MemberId("alice")),
            world,
        )

    async def code(
        self, kind: InviteKind = InviteKind.USER, by: Call = OPERATOR, bound: SpiffeId | None = None
    ) -> InviteCode:
        made = await self.codes.create(by, kind, uses=3, validity_s=86400, bound=bound)
        return made[1]

    async def join(self, code: InviteCode, key: Key, wish: str = "@") -> Admitted:
        csr = certificates.make_request(key)
        nonce = self.joining.begin_join(code.code_id)
        transcript = proof.Transcript(code.code_id, nonce, LEAF, csr, wish)
        signed = proof.sign_join(code.secret, transcript)
        return await self.joining.join(JoinAttempt(code.code_id, nonce, csr, signed, wish, (LEAF,)))

    async def renew(self, old: bytes, key: Key) -> Admitted:
        nonce = self.renewal.begin_renewal(old)
        csr = certificates.make_request(key)
        return await self.renewal.renew(old, nonce, csr, proof.sign_renewal(key, nonce, csr))

    def offline(self, who: SpiffeId, key: Key) -> Certified:
        """Return what a certificate says that 'pki issue' made."""
        return certificates.describe(self.ca.issue(who, key.public_key()))

    async def uses_left(self, code: InviteCode) -> int:
        return (await self.catalog.codes.get(code.code_id)).uses_left


@pytest.fixture
async def member(tmp_path: Path) -> AsyncIterator[Member]:
    clock = ManualClock()
    catalog = await SqliteCatalog.open(str(tmp_path / "data"), world_of(clock, SeededRandomness(4)))
    yield Member(catalog, clock, str(tmp_path))
    await catalog.close()


def leaf(admission: Admitted) -> Certified:
    return certificates.describe(certificates.load_certificate(admission.certificate_der))


def digest_of(key: Key) -> bytes:
    return certificates.key_digest(key.public_key())


def acting(admission: Admitted) -> Call:
    return Call(admission.identity, is_operator=False, key_digest=leaf(admission).key_digest)


async def test_the_key_of_a_revoked_certificate_comes_back_by_no_way(member: Member) -> None:
    key, code = certificates.new_private_key(REAL.randomness), await member.code()
    first = await member.join(code, key, str(EVE.global_id))
    second = await member.renewal.renew_live(leaf(first), certificates.make_request(key))
    device = await member.code(InviteKind.DEVICE, acting(second), EVE)
    done = await member.revoking.revoke(OPERATOR, f"serial:{leaf(second).serial}")
    assert done.entries == (f"serial:{leaf(second).serial}", key_entry(digest_of(key)))
    # On open connections, with the certificate that it had before, too.
    assert member.gate.objection(leaf(first)) == "revoked"
    assert member.gate.objection(leaf(second)) == "revoked"
    # An expired renewal, with either certificate.
    for old in (first, second):
        with pytest.raises(ShutOutError, match="revoked"):
            await member.renew(old.certificate_der, key)
    # A live renewal by a connection that is about to be closed.
    with pytest.raises(PermissionDeniedError, match="revoked"):
        await member.renewal.renew_live(leaf(first), certificates.make_request(key))
    # Redeeming the same code, or another one, whatever the name.
    for again, wish in ((code, str(EVE.global_id)), (await member.code(), "mallory@home.alice")):
        with pytest.raises(ConflictError, match="revoked"):
            await member.join(again, key, wish)
    # A device code that it made before, for whichever key.
    with pytest.raises(ConflictError, match="void"):
        await member.join(device, certificates.new_private_key(REAL.randomness))
    with pytest.raises(PermissionDeniedError, match="revoked"):
        await member.code(InviteKind.DEVICE, acting(second), EVE)


async def test_another_device_of_the_identity_goes_on(member: Member) -> None:
    laptop, phone = (
        certificates.new_private_key(REAL.randomness),
        certificates.new_private_key(REAL.randomness),
    )
    first = await member.join(await member.code(), laptop, str(EVE.global_id))
    other = await member.join(await member.code(InviteKind.DEVICE, acting(first), EVE), phone)
    its_own = await member.code(InviteKind.DEVICE, acting(other), EVE)
    await member.revoking.revoke(OPERATOR, f"serial:{leaf(first).serial}")
    assert member.gate.objection(leaf(other)) is None
    await member.renewal.renew_live(leaf(other), certificates.make_request(phone))
    await member.join(its_own, certificates.new_private_key(REAL.randomness))
    (eve,) = await member.catalog.identities.list(OPERATOR)
    assert {(one.key_digest == digest_of(laptop), one.revoked) for one in eve.devices} == {
        (True, True),
        (False, False),
    }
    assert not eve.revoked


async def test_a_renewal_that_was_under_way_when_its_key_was_revoked(member: Member) -> None:
    """The catalogue decides, though the live set was read before."""
    key = certificates.new_private_key(REAL.randomness)
    first = await member.join(await member.code(), key, str(EVE.global_id))
    await member.catalog.revocations.revoke(OPERATOR, key_entry(digest_of(key)))
    assert not member.revocations.present.entries
    with pytest.raises(ConflictError, match="revoked"):
        await member.renewal.renew_live(leaf(first), certificates.make_request(key))
    (eve,) = await member.catalog.identities.list(OPERATOR)
    assert len(eve.certificates) == 1


async def test_a_certificate_issued_offline_is_revoked_with_its_key_once_it_was_seen(
    member: Member,
) -> None:
    key = certificates.new_private_key(REAL.randomness)
    peer, other = member.offline(EVE, key), member.offline(EVE, key)
    await member.certificates_seen.note(peer)
    done = await member.revoking.revoke(OPERATOR, f"serial:{peer.serial}")
    assert key_entry(digest_of(key)) in done.entries
    assert member.gate.objection(other) == "revoked"


async def test_a_serial_that_was_never_seen_is_revoked_alone_and_its_key_by_its_digest(
    member: Member,
) -> None:
    key = certificates.new_private_key(REAL.randomness)
    peer, other = member.offline(EVE, key), member.offline(EVE, key)
    assert (await member.revoking.revoke(OPERATOR, f"serial:{peer.serial}")).entries == (
        f"serial:{peer.serial}",
    )
    assert member.gate.objection(peer) == "revoked"
    assert member.gate.objection(other) is None
    await member.revoking.revoke(OPERATOR, "key:" + digest_of(key).hex().upper())
    assert member.gate.objection(other) == "revoked"


async def test_the_coordinators_own_key_is_not_revoked(member: Member) -> None:
    key = certificates.new_private_key(REAL.randomness)
    own = member.offline(OWN, key)
    member.own.certified = own_leaf(OWN, key_digest=own.key_digest)
    with pytest.raises(UsageError, match="rotate-ca"):
        await member.revoking.revoke(OPERATOR, key_entry(own.key_digest))
    # Nor by a user's certificate that was made for the same key.
    await member.certificates_seen.note(peer := member.offline(EVE, key))
    with pytest.raises(UsageError, match="rotate-ca"):
        await member.revoking.revoke(OPERATOR, f"serial:{peer.serial}")


async def test_a_node_whose_certificate_is_revoked_is_refused_at_once(member: Member) -> None:
    for name in ("one", "two"):
        member.nodes.add(replace(record(name), certificate_serial=f"{name}{name}".encode().hex()))
    await member.revoking.revoke(OPERATOR, f"serial:{b'oneone'.hex()}")
    assert [live.refused for live in member.nodes.all()] == ["its certificate was revoked.", ""]


@pytest.mark.parametrize("who", ["key:", "key:12", "key:" + "g" * 64, "key:" + "0" * 66])
async def test_keys_that_name_nothing_are_refused(member: Member, who: str) -> None:
    with pytest.raises(UsageError):
        await member.revoking.revoke(OPERATOR, who)


# --- whose identity it is ------------------------------------------------------------------------


async def test_an_identity_issued_offline_is_not_claimed_once_it_was_seen(member: Member) -> None:
    await member.certificates_seen.note(
        member.offline(EVE, certificates.new_private_key(REAL.randomness))
    )
    code = await member.code()
    with pytest.raises(ConflictError, match="add-device"):
        await member.join(code, certificates.new_private_key(REAL.randomness), str(EVE.global_id))
    assert await member.uses_left(code) == 3


async def test_an_identity_claimed_by_an_invite_is_not_shared_with_the_offline_certificate(
    member: Member,
) -> None:
    """Neither has it silently: the second is refused, and the operator decides."""
    thief, owner = (
        certificates.new_private_key(REAL.randomness),
        certificates.new_private_key(REAL.randomness),
    )
    claimed = await member.join(await member.code(), thief, str(EVE.global_id))
    accomplice = certificates.new_private_key(REAL.randomness)
    device = await member.code(InviteKind.DEVICE, acting(claimed), EVE)
    second = await member.join(device, accomplice)
    issued = member.ca.issue(EVE, owner.public_key())
    peer = certificates.describe(issued)
    with pytest.raises(PermissionDeniedError, match="claimed by an invite"):
        await member.certificates_seen.note(peer)
    with pytest.raises(CollectiveError, match="claimed by an invite"):
        await member.renewal.renew_live(peer, certificates.make_request(owner))
    with pytest.raises(CollectiveError, match="claimed by an invite"):
        await member.renew(certificates.certificate_der(issued), owner)
    await member.revoking.revoke(OPERATOR, key_entry(leaf(claimed).key_digest))
    with pytest.raises(PermissionDeniedError):  # the device that the thief added stands in the way
        await member.certificates_seen.note(peer)
    await member.revoking.revoke(OPERATOR, key_entry(leaf(second).key_digest))
    await member.certificates_seen.note(peer)
    (eve,) = await member.catalog.identities.list(OPERATOR)
    assert [one.key_digest for one in eve.devices if not one.revoked] == [peer.key_digest]


async def test_a_second_offline_certificate_is_another_device_as_is_one_by_a_device_code(
    member: Member,
) -> None:
    """The operator signed both, so both count, and 'identity list' shows them."""
    first = member.offline(EVE, certificates.new_private_key(REAL.randomness))
    await member.certificates_seen.note(first)
    caller = Call(EVE, is_operator=False, key_digest=first.key_digest)
    phone = certificates.new_private_key(REAL.randomness)
    await member.join(await member.code(InviteKind.DEVICE, caller, EVE), phone)
    await member.certificates_seen.note(
        member.offline(EVE, certificates.new_private_key(REAL.randomness))
    )
    (eve,) = await member.catalog.identities.list(OPERATOR)
    assert [one.vouched for one in eve.devices] == [True] * 3


# --- applied whatever becomes of the caller ------------------------------------------------------


async def test_a_caller_who_hangs_up_after_the_commit_leaves_nothing_unapplied(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = member.offline(EVE, certificates.new_private_key(REAL.randomness))
    await member.certificates_seen.note(peer)
    committed, go_on = asyncio.Event(), asyncio.Event()
    durable = member.catalog.revocations.revoke

    async def slow(actor: Call, what: str) -> int:
        epoch = await durable(actor, what)
        committed.set()
        await go_on.wait()
        return epoch

    monkeypatch.setattr(member.catalog.revocations, "revoke", slow)
    call = asyncio.create_task(member.revoking.revoke(OPERATOR, f"serial:{peer.serial}"))
    await committed.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()
    await member.revoking.close()
    assert member.gate.objection(peer) == "revoked"


async def test_a_caller_who_hangs_up_before_the_commit(member: Member) -> None:
    """What was handed to the catalogue is done, and applied."""
    peer = member.offline(EVE, certificates.new_private_key(REAL.randomness))
    call = asyncio.create_task(member.revoking.revoke(OPERATOR, key_entry(peer.key_digest)))
    while not len(member.revoking._acts):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await member.revoking.close()
    assert member.gate.objection(peer) == "revoked"


# --- codes and nodes -----------------------------------------------------------------------------


async def test_a_coordinator_that_dies_after_a_nodes_redemption_has_the_nodes_record(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def died(*_: object) -> None:
        raise KeyboardInterrupt

    code, key = await member.code(InviteKind.NODE), certificates.new_private_key(REAL.randomness)
    with monkeypatch.context() as patched:
        patched.setattr(member.joining, "_record_node", died)
        with pytest.raises(KeyboardInterrupt):
            await member.join(code, key, "attic")
    (record,) = await member.catalog.nodes.list()
    assert record.node == "attic"
    again = await member.join(code, key, "attic")
    assert leaf(again).serial == record.certificate_serial
    assert await member.uses_left(code) == 2


async def test_a_node_code_of_a_maker_who_may_no_more_is_replaced(member: Member) -> None:
    key = certificates.new_private_key(REAL.randomness)
    joined = await member.join(await member.code(), key, str(EVE.global_id))
    every = Right.READ | Right.WRITE | Right.SHARE
    await member.catalog.grants.add(OPERATOR, FilePath(), every, EVE, None)
    made, _ = await member.codes.rotate_node_code(acting(joined), uses=5, validity_s=86400)
    kept = await member.codes.ensure_node_code(OPERATOR, uses=5, validity_s=86400)
    assert kept.id == made.id
    await member.revoking.revoke(OPERATOR, str(EVE))
    assert (await member.catalog.codes.get(made.id)).void
    fresh = await member.codes.ensure_node_code(OPERATOR, uses=5, validity_s=86400)
    assert fresh.id != made.id
    assert not fresh.void
