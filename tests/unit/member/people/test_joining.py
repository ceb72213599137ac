"""Enrolment: what a code gives, and every way to get more out of it that must fail."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from collective.core.errors import (
    CollectiveError,
    ConflictError,
    PermissionDeniedError,
    RejectedError,
    UsageError,
)
from collective.core.ids import Domain, GlobalId, NodeId, SpiffeId
from collective.member.people.joining import Admitted
from collective.model.calls import Call
from collective.model.people import InviteKind
from collective.pki import certificates
from collective.pki.certificates import Certified
from collective.pki.invite_code import InviteCode
from collective.roles.coordinator.faces.grpc.bootstrap import BootstrapService
from collective.rpc.gen.collective.v1 import bootstrap as pb
from collective.rpc.server import context
from tests.unit.member.alone import NO_INVITING
from tests.unit.member.joiners import ALICE, OPERATOR, World, failure, node
from tests.unit.member.own import Shown
from tests.worlds import REAL


async def test_nodes_get_numbers_or_their_wish(world: World) -> None:
    code = await world.code()
    assert (await world.join(code)).identity == node("alice-node-01")
    assert (await world.join(code, wish="attic")).identity == node("attic")
    assert (await world.join(code, wish="alice-node-02")).identity == node("alice-node-02")
    assert (await world.join(code)).identity == node("alice-node-03")
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 1
    records = {record.node: record for record in await world.catalog.nodes.list()}
    assert records[NodeId("attic")].certificate_expires_ms > 0


async def test_same_redemption_again_gives_the_same_answer_and_costs_nothing(world: World) -> None:
    code, key = await world.code(uses=1), certificates.new_private_key(REAL.randomness)
    first = await world.join(code, key)
    again = await world.join(code, key)
    assert again.certificate_der == first.certificate_der
    assert world.catalog.nodes.numbers == 1
    with pytest.raises(ConflictError, match="used up"):
        raise await failure(world, code)
    same_wish = await world.join(code, key, wish="alice-node-01")
    assert same_wish.certificate_der == first.certificate_der


async def test_fifty_at_once_redeem_five_uses(world: World) -> None:
    code = await world.code(uses=5)

    async def one() -> Admitted | CollectiveError:
        try:
            return await world.join(code)
        except ConflictError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(50)]
    admitted = [t.result() for t in tasks if isinstance(t.result(), Admitted)]
    identities = {one.identity for one in admitted if isinstance(one, Admitted)}
    assert len(admitted) == len(identities) == 5
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 0


async def test_node_code_cannot_take_over_an_enrolled_node(world: World) -> None:
    code = await world.code()
    await world.join(code, wish="attic")
    error = await failure(world, code, wish="attic")
    assert isinstance(error, ConflictError)
    assert "enrolled already" in error.message
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 4


@pytest.mark.parametrize("wish", ["../x", "A", "coordinator/../x", "a/b", "x" * 64, "\0"])
async def test_wish_that_is_no_node_id_is_refused(world: World, wish: str) -> None:
    code = await world.code()
    assert isinstance(await failure(world, code, wish=wish), UsageError)
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 5


async def test_request_for_another_identity_and_ca_rights_is_ignored(world: World) -> None:
    key, code = certificates.new_private_key(REAL.randomness), await world.code()
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
    got = await world.joining.join(world.attempt(code, csr=greedy))
    certificate = certificates.load_certificate(got.certificate_der)
    assert certificates.describe(certificate).identity == node("alice-node-01")
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not basic.ca
    assert len(certificate.subject) == 0


async def test_request_that_its_key_did_not_sign_is_refused(world: World) -> None:
    code = await world.code()
    csr = bytearray(certificates.make_request(certificates.new_private_key(REAL.randomness)))
    csr[-1] ^= 1
    for bad in (bytes(csr), b"junk", b"x" * 20_000):
        with pytest.raises(RejectedError):
            await world.joining.join(world.attempt(code, csr=bad))
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(RejectedError, match="P-256"):
        await world.joining.join(world.attempt(code, csr=certificates.make_request(other)))
    assert (await world.catalog.codes.get(code.code_id)).uses_left == 5


async def test_revoked_and_expired_codes_have_their_own_sentences(world: World) -> None:
    revoked, expired = await world.code(), await world.code()
    await world.catalog.codes.revoke(OPERATOR, revoked.code_id)
    assert "revoked" in (await failure(world, revoked)).message
    world.clock.advance(3601)
    assert "ran out" in (await failure(world, expired)).message
    assert world.catalog.nodes.numbers == 0


async def test_proof_relayed_from_another_connection_is_refused(world: World) -> None:
    code = await world.code()
    attempt = world.attempt(code)
    with pytest.raises(PermissionDeniedError):
        await world.joining.join(replace(attempt, leaf_digests=(b"m" * 32,)))
    with pytest.raises(PermissionDeniedError):
        await world.joining.join(replace(attempt, wish="attic"))
    mallorys = certificates.make_request(certificates.new_private_key(REAL.randomness))
    with pytest.raises(PermissionDeniedError):
        await world.joining.join(replace(attempt, csr_der=mallorys))
    assert await world.joining.join(attempt)


async def test_kinds_not_offered_yet_are_refused(world: World) -> None:
    for kind in (InviteKind.PEER,):
        code = await world.code(kind=kind)
        assert isinstance(await failure(world, code, wish="a@home.alice"), ConflictError)


def person(name: str, domain: str = "home.alice") -> SpiffeId:
    return SpiffeId.user(ALICE, GlobalId(name, Domain(domain)))


async def device_code(world: World, who: SpiffeId) -> InviteCode:
    actor = Call(who, is_operator=False)
    made = await world.codes.create(actor, InviteKind.DEVICE, uses=1, validity_s=900, bound=who)
    return made[1]


async def test_users_get_the_global_id_that_they_wish_whatever_its_domain(world: World) -> None:
    code = await world.code(kind=InviteKind.USER)
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


@pytest.mark.parametrize("kind", [InviteKind.USER, InviteKind.DEVICE])
async def test_a_users_code_redeemed_as_a_node_is_refused(world: World, kind: InviteKind) -> None:
    code = await world.code(kind=kind, uses=1)
    assert isinstance(await failure(world, code), ConflictError)
    assert isinstance(await failure(world, code, wish="alice-node-01"), CollectiveError)
    if kind is InviteKind.USER:
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
    key = certificates.new_private_key(REAL.randomness)
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
    code = await world.code(kind=InviteKind.USER)
    given = await world.joining.join(world.attempt(code, wish="bob@home.alice", csr=csr))
    leaf = certificates.load_certificate(given.certificate_der)
    assert certificates.describe(leaf).identity == person("bob")
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert len(leaf.subject) == 0


async def test_a_display_name_that_acts_on_terminals_is_refused(world: World) -> None:
    code = await world.code(kind=InviteKind.USER)
    for name in ("\x1b[2J", "x" * 129, "a\nb"):
        with pytest.raises(UsageError):
            await world.joining.join(world.attempt(code, wish="bob@home.alice", display_name=name))


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
        world.joining,
        world.renewal,
        NO_INVITING,
        Shown(),
        collective_name="alice-homelab",
        forwarded=True,
    )
    message = pb.BeginJoinRequest(code_id="0" * 16)
    peer = Certified(identity, "01", 0.0, 4e9)
    context.enter(
        context.CallContext(peer, "r1", "/collective.v1.bootstrap.Bootstrap/BeginJoin", {})
    )
    with pytest.raises(PermissionDeniedError):
        await service.begin_join(message)
    own = Certified(SpiffeId.bootstrap(ALICE, "edge"), "02", 0.0, 4e9)
    context.enter(
        context.CallContext(own, "r1", "/collective.v1.bootstrap.Bootstrap/BeginJoin", {})
    )
    assert (await service.begin_join(message)).nonce
