"""Enrolment: what a code gives, and every way to get more out of it that must fail."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.x509.oid import NameOID

from collective.access.model import Caller
from collective.catalog.model import CodeKind
from collective.core.clock import ManualClock
from collective.core.disk import OsDisk
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    PermissionDeniedError,
    RejectedError,
    UsageError,
)
from collective.core.ids import Domain, GlobalId, MemberId, NodeId, SpiffeId
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.pki import certificates, join_code, proof
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import Certified
from collective.pki.join_code import JoinCode
from collective.pki.layout import CertDir
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Authorities
from collective.roles.coordinator.bootstrap_service import BootstrapService
from collective.roles.coordinator.codes import JoinCodes
from collective.roles.coordinator.enrolment import Admission, Enrolment, JoinAttempt
from collective.roles.coordinator.guesses import (
    DELAY_S,
    SUBJECTS_MAX,
    WAITING_PER_SOURCE_MAX,
    GuessLimiter,
)
from collective.roles.coordinator.renewal import RenewalDesk
from collective.rpc import context
from collective.rpc.gen.collective import v1 as pb
from tests.unit.roles.coordinator.fake_trust import FakeTrust

ALICE = Domain("home.alice")
LEAF = b"l" * 32
OPERATOR = Caller(SpiffeId.coordinator(ALICE), is_operator=True)


@dataclass
class World:
    path: str
    clock: ManualClock = field(default_factory=ManualClock)
    revoked: RevocationSet = field(default_factory=RevocationSet)

    async def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        await asyncio.sleep(0)

    def __post_init__(self) -> None:
        self.slept: list[float] = []
        randomness = SeededRandomness(3)
        self.trust = FakeTrust(self.clock)
        catalog: Any = self.trust
        self.ca = CertificateAuthority.create(MemberId("alice"), ALICE, self.clock)

        def authorities() -> Authorities:
            return Authorities.lone(self.ca)

        self.enrolment = Enrolment(
            authorities,
            catalog,
            self.clock,
            randomness,
            guesses=GuessLimiter(self.clock, self.sleep),
        )
        self.renewal = RenewalDesk(
            authorities, catalog, self.clock, randomness, revocations=lambda: self.revoked
        )
        self.addresses = [Address("127.0.0.1", 9001)]
        self.codes = JoinCodes(
            catalog,
            self.clock,
            randomness,
            authority_digest=self.ca.digest,
            addresses=lambda: self.addresses,
            place=CertDir(self.path, MemberId("alice")),
            disk=OsDisk(),
        )

    async def code(self, uses: int = 5, kind: CodeKind = CodeKind.NODE) -> JoinCode:
        made = await self.codes.create(OPERATOR, kind, uses=uses, validity_s=3600)
        return made[1]

    async def join(
        self, code: JoinCode, key: ec.EllipticCurvePrivateKey | None = None, wish: str = ""
    ) -> Admission:
        return await self.enrolment.join(self.attempt(code, key, wish))

    def attempt(
        self,
        code: JoinCode,
        key: ec.EllipticCurvePrivateKey | None = None,
        wish: str = "",
        csr: bytes | None = None,
        display_name: str = "",
    ) -> JoinAttempt:
        csr = csr or certificates.make_request(key or certificates.new_private_key())
        nonce = self.enrolment.begin_join(code.code_id)
        transcript = proof.Transcript(code.code_id, nonce, LEAF, csr, wish, display_name)
        signed = proof.sign_join(code.secret, transcript)
        return JoinAttempt(
            code.code_id, nonce, csr, signed, wish, (b"o" * 32, LEAF), display_name=display_name
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(str(tmp_path))


def node(name: str) -> SpiffeId:
    return SpiffeId.node(ALICE, NodeId(name))


async def test_nodes_get_numbers_or_their_wish(world: World) -> None:
    code = await world.code()
    assert (await world.join(code)).identity == node("alice-node-01")
    assert (await world.join(code, wish="attic")).identity == node("attic")
    assert (await world.join(code, wish="alice-node-02")).identity == node("alice-node-02")
    assert (await world.join(code)).identity == node("alice-node-03")
    assert (await world.trust.code(code.code_id)).uses_left == 1
    records = {record.node: record for record in await world.trust.nodes()}
    assert records[NodeId("attic")].certificate_expires_ms > 0


async def test_same_redemption_again_gives_the_same_answer_and_costs_nothing(world: World) -> None:
    code, key = await world.code(uses=1), certificates.new_private_key()
    first = await world.join(code, key)
    again = await world.join(code, key)
    assert again.certificate_der == first.certificate_der
    assert world.trust.numbers == 1
    with pytest.raises(ConflictError, match="used up"):
        raise await failure(world, code)
    same_wish = await world.join(code, key, wish="alice-node-01")
    assert same_wish.certificate_der == first.certificate_der


async def failure(world: World, code: JoinCode, **how: Any) -> CollectiveError:
    with pytest.raises(CollectiveError) as found:
        await world.join(code, **how)
    return found.value


async def test_fifty_at_once_redeem_five_uses(world: World) -> None:
    code = await world.code(uses=5)

    async def one() -> Admission | CollectiveError:
        try:
            return await world.join(code)
        except ConflictError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(50)]
    admitted = [t.result() for t in tasks if isinstance(t.result(), Admission)]
    identities = {one.identity for one in admitted if isinstance(one, Admission)}
    assert len(admitted) == len(identities) == 5
    assert (await world.trust.code(code.code_id)).uses_left == 0


async def test_node_code_cannot_take_over_an_enrolled_node(world: World) -> None:
    code = await world.code()
    await world.join(code, wish="attic")
    error = await failure(world, code, wish="attic")
    assert isinstance(error, ConflictError)
    assert "enrolled already" in error.message
    assert (await world.trust.code(code.code_id)).uses_left == 4


@pytest.mark.parametrize("wish", ["../x", "A", "coordinator/../x", "a/b", "x" * 64, "\0"])
async def test_wish_that_is_no_node_id_is_refused(world: World, wish: str) -> None:
    code = await world.code()
    assert isinstance(await failure(world, code, wish=wish), UsageError)
    assert (await world.trust.code(code.code_id)).uses_left == 5


async def test_request_for_another_identity_and_ca_rights_is_ignored(world: World) -> None:
    key, code = certificates.new_private_key(), await world.code()
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coordinator")]))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://home.alice/coordinator")]
            ),
            critical=True,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=3), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    got = await world.enrolment.join(world.attempt(code, csr=greedy))
    certificate = certificates.load_certificate(got.certificate_der)
    assert certificates.describe(certificate).identity == node("alice-node-01")
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not basic.ca
    assert len(certificate.subject) == 0


async def test_request_that_its_key_did_not_sign_is_refused(world: World) -> None:
    code = await world.code()
    csr = bytearray(certificates.make_request(certificates.new_private_key()))
    csr[-1] ^= 1
    for bad in (bytes(csr), b"junk", b"x" * 20_000):
        with pytest.raises(RejectedError):
            await world.enrolment.join(world.attempt(code, csr=bad))
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(RejectedError, match="P-256"):
        await world.enrolment.join(world.attempt(code, csr=certificates.make_request(other)))
    assert (await world.trust.code(code.code_id)).uses_left == 5


async def test_revoked_and_expired_codes_have_their_own_sentences(world: World) -> None:
    revoked, expired = await world.code(), await world.code()
    await world.trust.revoke_code(OPERATOR, revoked.code_id)
    assert "revoked" in (await failure(world, revoked)).message
    world.clock.advance(3601)
    assert "ran out" in (await failure(world, expired)).message
    assert world.trust.numbers == 0


async def test_without_the_secret_an_unknown_code_looks_like_a_wrong_proof(world: World) -> None:
    code = await world.code()
    wrong = await failure(world, replace(code, secret=bytes(16)))
    unknown = await failure(world, replace(code, code_id="ab" * 8))
    assert isinstance(wrong, PermissionDeniedError)
    assert (type(wrong), wrong.message) == (type(unknown), unknown.message)


async def test_proof_relayed_from_another_connection_is_refused(world: World) -> None:
    code = await world.code()
    attempt = world.attempt(code)
    with pytest.raises(PermissionDeniedError):
        await world.enrolment.join(replace(attempt, leaf_digests=(b"m" * 32,)))
    with pytest.raises(PermissionDeniedError):
        await world.enrolment.join(replace(attempt, wish="attic"))
    mallorys = certificates.make_request(certificates.new_private_key())
    with pytest.raises(PermissionDeniedError):
        await world.enrolment.join(replace(attempt, csr_der=mallorys))
    assert await world.enrolment.join(attempt)


async def test_guessing_is_slowed_and_locks_nobody_out(world: World) -> None:
    """Neither another's code nor the guessed one: whoever knows the secret is answered at once."""
    code, other = await world.code(), await world.code()
    wrong = replace(code, secret=bytes(16))
    for number in range(10):
        assert not isinstance(await failure(world, wrong), BusyError), number
    assert not world.slept
    for _ in range(20):
        assert isinstance(await failure(world, wrong), BusyError)
    assert world.slept == [DELAY_S] * 20
    assert await world.join(other)
    assert await world.join(code)
    assert len(world.slept) == 20


async def test_the_limit_answers_alike_for_a_code_that_exists_and_one_that_does_not(
    world: World,
) -> None:
    code = await world.code()
    known, unknown = replace(code, secret=bytes(16)), replace(code, code_id="ab" * 8)
    for _ in range(15):
        errors = [await failure(world, one) for one in (known, unknown)]
        assert (type(errors[0]), errors[0].message) == (type(errors[1]), errors[1].message)
    assert len(world.slept) == 10


async def test_guesses_of_ever_other_codes_from_one_address_are_slowed(world: World) -> None:
    limiter = GuessLimiter(world.clock, world.sleep)
    refused = 0
    for number in range(100):
        try:
            await limiter.failed(f"{number:016x}", "10.0.0.1")
        except BusyError:
            refused += 1
    assert refused == 90
    await limiter.failed("f" * 16, "10.0.0.2")
    world.clock.advance(61)
    await limiter.failed("f" * 16, "10.0.0.1")


async def test_answers_that_wait_and_what_is_remembered_are_bounded(world: World) -> None:
    gate = asyncio.Event()

    async def sleep(_: float) -> None:
        await gate.wait()

    limiter = GuessLimiter(world.clock, sleep)
    for number in range(5 * SUBJECTS_MAX):
        with suppress(BusyError, TimeoutError):
            async with asyncio.timeout(0):
                await limiter.failed(f"{number:016x}", "")
    assert len(limiter._failures) <= SUBJECTS_MAX + 1
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(refused(limiter, f"10.0.{number % 3}.1")) for number in range(300)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = sum(not task.done() for task in tasks)
        gate.set()
    assert waiting == 3 * WAITING_PER_SOURCE_MAX


async def refused(limiter: GuessLimiter, source: str) -> None:
    with suppress(BusyError):
        await limiter.failed("ab" * 8, source)


async def test_kinds_not_offered_yet_are_refused(world: World) -> None:
    for kind in (CodeKind.PEER,):
        code = await world.code(kind=kind)
        assert isinstance(await failure(world, code, wish="a@home.alice"), ConflictError)


def person(name: str, domain: str = "home.alice") -> SpiffeId:
    return SpiffeId.user(ALICE, GlobalId(name, Domain(domain)))


async def device_code(world: World, who: SpiffeId) -> JoinCode:
    actor = Caller(who, is_operator=False)
    made = await world.codes.create(actor, CodeKind.DEVICE, uses=1, validity_s=900, bound=who)
    return made[1]


async def test_users_get_the_global_id_that_they_wish_whatever_its_domain(world: World) -> None:
    code = await world.code(kind=CodeKind.USER)
    assert (await world.join(code, wish="bob@home.alice")).identity == person("bob")
    elsewhere = await world.join(code, wish="yourname@homelab.collective.local")
    assert elsewhere.identity == person("yourname", "homelab.collective.local")
    guest = (await world.join(code, wish="@")).identity.global_id
    assert guest is not None
    assert guest.name.startswith("guest-")


async def test_a_node_code_redeemed_as_a_user_is_refused_and_costs_no_use(world: World) -> None:
    code = await world.code(uses=1)
    error = await failure(world, code, wish="bob@home.alice")
    assert isinstance(error, ConflictError)
    assert "node" in error.message
    assert isinstance(await failure(world, code, wish="@"), ConflictError)
    assert (await world.join(code)).identity.role == "node"


@pytest.mark.parametrize("kind", [CodeKind.USER, CodeKind.DEVICE])
async def test_a_users_code_redeemed_as_a_node_is_refused(world: World, kind: CodeKind) -> None:
    code = await world.code(kind=kind, uses=1)
    assert isinstance(await failure(world, code), ConflictError)
    assert isinstance(await failure(world, code, wish="alice-node-01"), CollectiveError)
    if kind is CodeKind.USER:
        assert (await world.join(code, wish="bob@home.alice")).identity == person("bob")


@pytest.mark.parametrize("wish", ["bob@home.alice", "@"])
async def test_a_device_code_gives_its_makers_identity(world: World, wish: str) -> None:
    code = await device_code(world, person("bob"))
    assert (await world.join(code, wish=wish)).identity == person("bob")


async def test_a_device_code_for_another_identity_is_refused(world: World) -> None:
    code = await device_code(world, person("bob"))
    error = await failure(world, code, wish="eve@home.alice")
    assert isinstance(error, ConflictError)
    assert "bob@home.alice" in error.message
    assert (await world.join(code, wish="bob@home.alice")).identity == person("bob")


async def test_a_users_request_for_another_identity_and_ca_rights_is_ignored(
    world: World,
) -> None:
    key = certificates.new_private_key()
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coordinator")]))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://home.alice/coordinator")]
            ),
            critical=True,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.DER)
    code = await world.code(kind=CodeKind.USER)
    given = await world.enrolment.join(world.attempt(code, wish="bob@home.alice", csr=csr))
    leaf = certificates.load_certificate(given.certificate_der)
    assert certificates.describe(leaf).identity == person("bob")
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert len(leaf.subject) == 0


async def test_a_display_name_that_acts_on_terminals_is_refused(world: World) -> None:
    code = await world.code(kind=CodeKind.USER)
    for name in ("\x1b[2J", "x" * 129, "a\nb"):
        with pytest.raises(UsageError):
            await world.enrolment.join(
                world.attempt(code, wish="bob@home.alice", display_name=name)
            )


# --- renewal -------------------------------------------------------------------------------------


async def renew(
    world: World, old: bytes, key: ec.EllipticCurvePrivateKey, csr: bytes | None = None
) -> Admission:
    nonce = world.renewal.begin_renewal(old)
    csr = csr or certificates.make_request(key)
    return await world.renewal.renew(old, nonce, csr, proof.sign_renewal(key, nonce, csr))


async def test_expired_certificate_renews_by_its_key_alone(world: World) -> None:
    key = certificates.new_private_key()
    old = (await world.join(await world.code(), key)).certificate_der
    world.clock.advance(60 * 86400)
    fresh = await renew(world, old, key)
    leaf = certificates.describe(certificates.load_certificate(fresh.certificate_der))
    assert leaf.identity == node("alice-node-01")
    assert leaf.expires_s > world.clock.wall_s()
    assert world.trust.issued == [leaf.serial]


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def rewrapped(der: bytes) -> bytes:
    """Return a certificate that says the same under another valid signature (r, -s)."""

    def item(tag: int, body: bytes) -> bytes:
        size = len(body).to_bytes(2, "big")
        return (
            bytes((tag, 0x82)) + size + body if size[0] else bytes((tag, *_short(size[1]))) + body
        )

    def _short(size: int) -> bytes:
        return bytes((size,)) if size < 0x80 else bytes((0x81, size))

    known = certificates.load_certificate(der)
    r, s = decode_dss_signature(known.signature)
    signature = encode_dss_signature(r, P256_ORDER - s)
    return item(0x30, known.tbs_certificate_bytes + ECDSA_SHA256 + item(3, b"\0" + signature))


async def test_a_certificate_wrapped_anew_is_still_the_same_to_revocation_and_renewal(
    world: World,
) -> None:
    key = certificates.new_private_key()
    old = (await world.join(await world.code(), key)).certificate_der
    other = rewrapped(old)
    assert other != old
    nonce, csr = world.renewal.begin_renewal(old), certificates.make_request(key)
    with pytest.raises(PermissionDeniedError, match="nonce"):
        await world.renewal.renew(other, nonce, csr, proof.sign_renewal(key, nonce, csr))
    assert (await renew(world, other, key)).identity == node("alice-node-01")
    serial = certificates.describe(certificates.load_certificate(old)).serial
    world.revoked = RevocationSet.of(1, [f"serial:{serial}"])
    for der in (old, other):
        with pytest.raises(RejectedError, match="step 12"):
            await renew(world, der, key)


@pytest.mark.parametrize(
    "identity",
    [
        SpiffeId.bootstrap(Domain("garage.bob"), "edge"),
        SpiffeId.node(ALICE, NodeId("n1")),
        SpiffeId.coordinator(ALICE),
    ],
)
async def test_only_a_bootstrap_of_this_member_forwards(world: World, identity: SpiffeId) -> None:
    service = BootstrapService(
        world.enrolment,
        world.renewal,
        collective_name="alice-homelab",
        addresses=list,
        leaf_digests=list,
        forwarded=True,
    )
    message = pb.BeginJoinRequest(code_id="0" * 16)
    peer = Certified(identity, "01", 0.0, 4e9)
    context.enter(context.CallContext(peer, "r1", "/collective.v1.Bootstrap/BeginJoin", {}))
    with pytest.raises(PermissionDeniedError):
        await service.begin_join(message)
    own = Certified(SpiffeId.bootstrap(ALICE, "edge"), "02", 0.0, 4e9)
    context.enter(context.CallContext(own, "r1", "/collective.v1.Bootstrap/BeginJoin", {}))
    assert (await service.begin_join(message)).nonce


async def test_expired_certificate_does_not_renew_for_another_key(world: World) -> None:
    key, thief = certificates.new_private_key(), certificates.new_private_key()
    old = (await world.join(await world.code(), key)).certificate_der
    with pytest.raises(PermissionDeniedError):
        await renew(world, old, thief)
    with pytest.raises(RejectedError, match="same key"):
        await renew(world, old, key, certificates.make_request(thief))


async def test_revoked_removed_too_old_or_foreign_certificates_do_not_renew(world: World) -> None:
    key = certificates.new_private_key()
    old = (await world.join(await world.code(), key)).certificate_der
    record = (await world.trust.nodes())[0]
    await world.trust.add_node(replace(record, removed=True))
    with pytest.raises(PermissionDeniedError, match="removed"):
        await renew(world, old, key)
    world.revoked = RevocationSet.of(1, [str(node("alice-node-01"))])
    with pytest.raises(RejectedError, match="step 12"):
        await renew(world, old, key)
    world.revoked = RevocationSet()
    impostor = CertificateAuthority.create(MemberId("alice"), ALICE, world.clock)
    forged = impostor.issue(node("alice-node-01"), key.public_key())
    with pytest.raises(RejectedError, match="step 4"):
        await renew(world, certificates.certificate_der(forged), key)
    operator = world.ca.issue(SpiffeId.coordinator(ALICE), key.public_key())
    with pytest.raises(RejectedError, match="step 7"):
        await renew(world, certificates.certificate_der(operator), key)
    world.clock.advance(121 * 86400)
    with pytest.raises(PermissionDeniedError, match="too long ago"):
        await renew(world, old, key)


async def test_live_renewal_keeps_the_identity_whatever_the_request_says(world: World) -> None:
    key = certificates.new_private_key()
    got = await world.join(await world.code(), key)
    peer = certificates.describe(certificates.load_certificate(got.certificate_der))
    fresh = await world.renewal.renew_live(peer, certificates.make_request(key))
    assert fresh.identity == peer.identity
    for identity in (SpiffeId.coordinator(ALICE), SpiffeId.node(Domain("b.bob"), NodeId("n"))):
        with pytest.raises(PermissionDeniedError):
            await world.renewal.renew_live(
                replace(peer, identity=identity), certificates.make_request(key)
            )


# --- the unattended node code --------------------------------------------------------------------


async def test_node_code_is_written_0600_kept_while_usable_and_rotated_when_not(
    world: World,
) -> None:
    path = Path(world.path) / "join" / "node.code"
    made = await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)).id == made.id
    assert await world.join(join_code.parse(text))
    rotated, _ = await world.codes.rotate_node_code(OPERATOR, uses=2, validity_s=86400)
    assert (await world.trust.code(made.id)).revoked
    assert join_code.parse(path.read_text()).code_id == rotated.id
    world.addresses = [Address("10.0.0.9", 9001)]
    moved = await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)
    assert moved.id != rotated.id
    world.clock.advance(86400)
    late = await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)
    assert late.id != moved.id
    path.write_text("garbage")
    repaired = await world.codes.ensure_node_code(OPERATOR, uses=2, validity_s=86400)
    assert join_code.parse(path.read_text()).code_id == repaired.id
    assert (await world.codes.node_code()) == repaired


async def test_codes_out_of_range_are_refused(world: World) -> None:
    for uses, validity_s in ((0, 60), (100_001, 60), (1, 0), (1, 500 * 86400)):
        with pytest.raises(UsageError):
            await world.codes.create(OPERATOR, CodeKind.NODE, uses=uses, validity_s=validity_s)
