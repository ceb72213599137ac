"""Joining while the CA is being replaced: a person's certificate is of the new CA at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from collective.client.joining import Joined, check_answer
from collective.core.disk import OsDisk
from collective.core.errors import RejectedError
from collective.core.ids import GlobalId, MemberId, SpiffeId
from collective.member.people.joining import Admitted
from collective.model.people import InviteKind
from collective.model.trust import Phase
from collective.pki import certificates, rotation
from collective.pki.ca import CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.certificates import is_signed_by
from collective.roles.coordinator.faces.grpc.bootstrap import BootstrapService
from collective.rpc.conversions.joining import join_answer_from
from collective.rpc.gen.collective.v1 import bootstrap as pb
from tests.unit.member.alone import NO_INVITING
from tests.unit.member.joiners import ALICE, LEAF, World
from tests.unit.member.own import Shown
from tests.worlds import REAL, world_of

ANN = "ann@home.ann"


@pytest.fixture
def rotating(world: World) -> World:
    """In the overlap, with a code that was made before it."""
    place = CertDir(world.path, MemberId("alice"))
    disk = OsDisk()
    world.ca = rotation.load(place, ALICE, world_of(world.clock, disk=disk)).signing
    world.clock.advance(60.0)
    world.own.authorities = rotation.begin(place, ALICE, world_of(world.clock, disk=disk))
    return world


def service(world: World) -> BootstrapService:
    return BootstrapService(
        world.joining,
        world.renewal,
        NO_INVITING,
        Shown([LEAF]),
        collective_name="alice-homelab",
    )


def answer(world: World, given: Admitted) -> pb.JoinResponse:
    return service(world)._answer(given)


def believed(world: World, message: pb.JoinResponse, key: ec.EllipticCurvePrivateKey) -> Joined:
    now_s = world.clock.wall_s()
    roles = frozenset(("user", "node"))
    told = join_answer_from(message)
    return check_answer(told, world.ca.digest, key, roles=roles, now_s=now_s)  # type: ignore[arg-type]


async def joined(
    world: World, kind: InviteKind, *, follows_links: bool, wish: str = ANN
) -> tuple[pb.JoinResponse, ec.EllipticCurvePrivateKey]:
    code, key = await world.code(kind=kind), certificates.new_private_key(REAL.randomness)
    attempt = replace(world.attempt(code, key, wish), follows_links=follows_links)
    return answer(world, await world.joining.join(attempt)), key


async def test_a_person_gets_the_new_ca_with_the_word_of_the_one_that_the_code_pins(
    rotating: World,
) -> None:
    message, key = await joined(rotating, InviteKind.USER, follows_links=True)
    done = believed(rotating, message, key)
    newest = rotating.own.authorities.newest.certificate
    assert is_signed_by(done.certificate, newest)
    assert done.authority == rotating.ca.certificate
    assert done.trusted == (rotating.ca.certificate, newest)
    assert rotating.followers.noted == [SpiffeId.user(ALICE, GlobalId.parse(ANN))]


async def test_an_older_program_gets_what_it_can_verify(rotating: World) -> None:
    message, key = await joined(rotating, InviteKind.USER, follows_links=False)
    message.trusted_ca_ders, message.ca_link_ders = [], []
    assert is_signed_by(believed(rotating, message, key).certificate, rotating.ca.certificate)
    assert rotating.followers.noted == []


async def test_a_node_gets_the_ca_that_signs_servers(rotating: World) -> None:
    message, key = await joined(rotating, InviteKind.NODE, follows_links=True, wish="attic")
    assert is_signed_by(believed(rotating, message, key).certificate, rotating.ca.certificate)
    assert rotating.followers.noted == []


async def test_a_ca_that_the_pinned_one_never_signed_is_not_taken_from_an_answer(
    rotating: World,
) -> None:
    message, key = await joined(rotating, InviteKind.USER, follows_links=True)
    with pytest.raises(RejectedError):
        believed(rotating, replace(message, ca_link_ders=[]), key)
    thief = CertificateAuthority.create(
        MemberId("alice"), ALICE, world_of(rotating.clock), label="x"
    )
    planted = [message.ca_certificate_der, certificates.certificate_der(thief.certificate)]
    with pytest.raises(RejectedError):
        believed(rotating, replace(message, trusted_ca_ders=planted), key)


async def test_when_the_new_ca_signs_all_an_answer_names_it_alone(rotating: World) -> None:
    place = CertDir(rotating.path, MemberId("alice"))
    rotating.own.authorities = rotation.switch(place, ALICE, world_of(rotating.clock))
    assert rotating.own.authorities.phase is Phase.CLOSING
    rotating.ca = rotating.own.authorities.signing
    message, key = await joined(rotating, InviteKind.USER, follows_links=True)
    done = believed(rotating, message, key)
    assert done.trusted == (rotating.ca.certificate,)
