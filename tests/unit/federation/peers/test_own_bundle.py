"""The own bundle: one number for one content, which no peer can drive up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from collective.core.errors import RejectedError
from collective.core.units import Address
from collective.federation.peers.own_bundle import OVERTAKEN_MOST, OVERTAKEN_S, OwnBundle
from collective.member.trust.own_certificates import OwnCertificates
from collective.pki.bundle import (
    ADDRESSES_MAX,
    SEQUENCE_MAX,
    SignedBundle,
    fingerprint,
    open_bundle,
    sign_bundle,
)
from tests.unit.federation.houses import House
from tests.unit.pki.bundles import ALICES, BOBS, ca_of, signed_of
from tests.unit.pki.forge import ALICE


async def test_a_bundle_says_what_this_member_is_and_stays_while_that_does(alice: House) -> None:
    signed, sequence = await alice.bundle.current()
    bundle = open_bundle(signed)
    assert (bundle.domain, bundle.member, bundle.sequence) == (ALICE, "alice", sequence)
    assert (bundle.addresses, bundle.authorities) == (alice.own.addresses, (ALICES.certificate,))
    assert (await alice.bundle.current())[0] is signed
    assert alice.bundle.fingerprint == fingerprint(bundle.authority_digest)


async def test_another_address_or_ca_makes_another_bundle_with_a_higher_number(
    alice: House,
) -> None:
    _, first = await alice.bundle.current()
    alice.own.addresses = (Address("192.0.2.9", 1),)
    moved, second = await alice.bundle.current()
    assert open_bundle(moved).addresses == alice.own.addresses
    newest = ca_of(ALICE, label="next", after=ALICES)
    alice.own.overlap(newest)
    signed, third = await alice.bundle.current()
    bundle = open_bundle(signed)
    assert bundle.authorities == (ALICES.certificate, newest.certificate)
    assert bundle.links == alice.own.authorities.links
    assert first < second < third


async def test_a_restart_tells_the_same_under_the_same_number(alice: House) -> None:
    signed, sequence = await alice.bundle.current()
    again = OwnBundle(_own(alice), alice.bundle._bootstraps, alice.catalog.peers, alice.world)
    told, number = await again.current()
    assert (told.body, number) == (signed.body, sequence)


async def test_what_is_asked_at_once_is_signed_once(alice: House) -> None:
    told = await asyncio.gather(*(alice.bundle.current() for _ in range(9)))
    assert len({id(signed) for signed, _ in told}) == 1


async def earlier(alice: House, sequence: int) -> SignedBundle:
    """Return what this member gave out under a number, before it was restored."""
    bundle = open_bundle((await alice.bundle.current())[0])
    return sign_bundle(replace(bundle, sequence=sequence), ALICES)


async def test_a_restored_member_resumes_above_what_a_peer_has_seen(alice: House) -> None:
    _, sequence = await alice.bundle.current()
    await alice.bundle.shown(await earlier(alice, sequence + 40))
    signed, raised = await alice.bundle.current()
    assert raised == open_bundle(signed).sequence
    assert raised > sequence + 40


async def test_a_second_coordinator_with_the_same_keys_is_told_of_at_its_own_member(
    alice: House,
) -> None:
    """Each goes above what the other gave out; after a restore that ends."""
    for _ in range(OVERTAKEN_MOST):
        _, sequence = await alice.bundle.current()
        await alice.bundle.shown(await earlier(alice, sequence + 1))
        await alice.bundle.shown(await earlier(alice, sequence + 1))
    assert list(alice.bundle.warnings()) == []
    _, sequence = await alice.bundle.current()
    await alice.bundle.shown(await earlier(alice, sequence + 1))
    [warning] = alice.bundle.warnings()
    assert "another coordinator" in warning
    alice.clock.advance(OVERTAKEN_S + 1)
    assert list(alice.bundle.warnings()) == []


async def test_what_a_peer_has_seen_up_to_the_own_number_changes_nothing(alice: House) -> None:
    signed, sequence = await alice.bundle.current()
    await alice.bundle.shown(await earlier(alice, sequence))
    assert (await alice.bundle.current())[0] is signed


async def test_a_peer_that_lies_uses_up_no_numbers(alice: House) -> None:
    """Beyond the last number no peer would take a bundle of this member any more, for good."""
    signed, _ = await alice.bundle.current()
    forged = SignedBundle((await earlier(alice, SEQUENCE_MAX)).body, signed.signature)
    for told in (forged, signed_of(BOBS, sequence=SEQUENCE_MAX)):
        with pytest.raises(RejectedError):
            await alice.bundle.shown(told)
    assert (await alice.bundle.current())[0] is signed


async def test_a_member_of_many_addresses_tells_of_as_many_as_a_peer_reads(alice: House) -> None:
    alice.own.addresses = tuple(Address("h", port) for port in range(1, ADDRESSES_MAX + 9))
    assert open_bundle(await alice.signed()).addresses == alice.own.addresses[:ADDRESSES_MAX]


async def test_one_who_gives_up_waiting_leaves_a_bundle_that_can_be_made(alice: House) -> None:
    for turns in range(6):
        _, known = await alice.bundle.current()
        asking = asyncio.create_task(alice.bundle.shown(await earlier(alice, known + 1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        signed, sequence = await alice.bundle.current()
        assert open_bundle(signed).sequence == sequence


def _own(house: House) -> OwnCertificates:
    return house.bundle._own
