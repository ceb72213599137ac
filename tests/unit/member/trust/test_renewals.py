"""Renewals: the same identity and key, and only for what still counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from collective.core.errors import PermissionDeniedError, RejectedError, ShutOutError
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.member.people.joining import Admitted
from collective.pki import certificates, proof
from collective.pki.ca import CertificateAuthority
from collective.pki.revocation import RevocationSet
from collective.pki.rotation import Authorities, Phase
from tests.unit.member.joiners import ALICE, World, node
from tests.worlds import REAL, world_of


async def renew(
    world: World, old: bytes, key: ec.EllipticCurvePrivateKey, csr: bytes | None = None
) -> Admitted:
    nonce = world.renewal.begin_renewal(old)
    csr = csr or certificates.make_request(key)
    return await world.renewal.renew(old, nonce, csr, proof.sign_renewal(key, nonce, csr))


async def test_expired_certificate_renews_by_its_key_alone(world: World) -> None:
    key = certificates.new_private_key(REAL.randomness)
    old = (await world.join(await world.code(), key)).certificate_der
    world.clock.advance(60 * 86400)
    fresh = await renew(world, old, key)
    leaf = certificates.describe(certificates.load_certificate(fresh.certificate_der))
    assert leaf.identity == node("alice-node-01")
    assert leaf.expires_s > world.clock.wall_s()
    assert world.catalog.certificates.issued == [leaf.serial]


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
    key = certificates.new_private_key(REAL.randomness)
    old = (await world.join(await world.code(), key)).certificate_der
    other = rewrapped(old)
    assert other != old
    nonce, csr = world.renewal.begin_renewal(old), certificates.make_request(key)
    with pytest.raises(PermissionDeniedError, match="nonce"):
        await world.renewal.renew(other, nonce, csr, proof.sign_renewal(key, nonce, csr))
    assert (await renew(world, other, key)).identity == node("alice-node-01")
    serial = certificates.describe(certificates.load_certificate(old)).serial
    world.revoked.present = RevocationSet.of(1, [f"serial:{serial}"])
    for der in (old, other):
        with pytest.raises(ShutOutError, match="revoked"):
            await renew(world, der, key)


async def test_expired_certificate_does_not_renew_for_another_key(world: World) -> None:
    key, thief = (
        certificates.new_private_key(REAL.randomness),
        certificates.new_private_key(REAL.randomness),
    )
    old = (await world.join(await world.code(), key)).certificate_der
    with pytest.raises(PermissionDeniedError):
        await renew(world, old, thief)
    with pytest.raises(RejectedError, match="same key"):
        await renew(world, old, key, certificates.make_request(thief))


async def test_revoked_removed_too_old_or_foreign_certificates_do_not_renew(world: World) -> None:
    key = certificates.new_private_key(REAL.randomness)
    old = (await world.join(await world.code(), key)).certificate_der
    record = (await world.catalog.nodes.list())[0]
    await world.catalog.nodes.add(replace(record, removed=True))
    with pytest.raises(PermissionDeniedError, match="removed"):
        await renew(world, old, key)
    world.revoked.present = RevocationSet.of(1, [str(node("alice-node-01"))])
    with pytest.raises(ShutOutError, match="revoked"):
        await renew(world, old, key)
    world.revoked.present = RevocationSet()
    impostor = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(world.clock))
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
    key = certificates.new_private_key(REAL.randomness)
    got = await world.join(await world.code(), key)
    peer = certificates.describe(certificates.load_certificate(got.certificate_der))
    fresh = await world.renewal.renew_live(peer, certificates.make_request(key))
    assert fresh.identity == peer.identity
    for identity in (SpiffeId.coordinator(ALICE), SpiffeId.node(Domain("b.bob"), NodeId("n"))):
        with pytest.raises(PermissionDeniedError):
            await world.renewal.renew_live(
                peer._replace(identity=identity), certificates.make_request(key)
            )


async def test_whoever_renews_over_and_over_gets_one_certificate_and_leaves_one_row(
    world: World,
) -> None:
    key = certificates.new_private_key(REAL.randomness)
    old = (await world.join(await world.code(), key)).certificate_der
    first = (await renew(world, old, key)).certificate_der
    for _ in range(20):
        assert (await renew(world, old, key)).certificate_der == first
        assert (await renew(world, first, key)).certificate_der == first
    assert len(world.catalog.certificates.issued) == 1
    leaf = certificates.describe(certificates.load_certificate(first))
    world.clock.advance((leaf.expires_s - world.clock.wall_s()) / 3 + 60)
    later = (await renew(world, first, key)).certificate_der
    assert later != first
    assert len(world.catalog.certificates.issued) == 2


async def test_a_renewal_is_new_when_the_ca_changed_or_the_last_one_was_revoked(
    world: World,
) -> None:
    key = certificates.new_private_key(REAL.randomness)
    old = (await world.join(await world.code(), key)).certificate_der
    first = (await renew(world, old, key)).certificate_der
    serial = certificates.describe(certificates.load_certificate(first)).serial
    world.revoked.present = RevocationSet.of(1, (f"serial:{serial}",))
    second = (await renew(world, old, key)).certificate_der
    assert second != first
    next_ca = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(world.clock))
    both = (next_ca.certificate, world.ca.certificate)
    world.own.authorities = Authorities(next_ca, next_ca, both, Phase.CLOSING)
    third = (await renew(world, old, key)).certificate_der
    assert third != second
