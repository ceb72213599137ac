"""Who is a peer now, and whose CAs count by it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from collective.core.errors import (
    BusyError,
    ConflictError,
    CorruptionError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    UsageError,
)
from collective.core.ids import Domain
from collective.core.units import Address
from collective.federation.peers.peer_book import PeerBook, peer_of
from collective.model.peers import Peer, PeerState
from collective.pki.bundle import SignedBundle, open_bundle
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import certificate_der
from tests.unit.federation.houses import House
from tests.unit.pki.bundles import ALICES, BOBS, CAROL, CAROLS, ca_of, forged, signed_of
from tests.unit.pki.forge import ALICE, BOB


async def accept(house: House, signed: SignedBundle, *, replaces: bool = False) -> None:
    await house.book.accept(house.operator, signed, replaces=replaces)


async def renew(house: House, signed: SignedBundle) -> None:
    await house.book.renew(signed, open_bundle(signed), house.clock.monotonic_s())


async def test_a_peer_counts_from_its_acceptance_to_its_removal(alice: House) -> None:
    changes: list[bool] = []
    alice.book.watch(lambda: changes.append(alice.book.is_peer(BOB)))
    assert alice.book.digest == b""
    await accept(alice, signed_of(BOBS))
    assert alice.shown.counting == {BOB}
    assert [known.bundle.domain for known in alice.book.active()] == [BOB]
    assert alice.book.require(BOB).peer.state is PeerState.ACTIVE
    assert alice.book.told_to_nodes() == [(BOB, [certificate_der(BOBS.certificate)], ())]
    assert alice.book.digest
    await alice.book.remove(alice.operator, BOB)
    assert alice.shown.counting == set()
    assert alice.shown.shut_out == {BOB}, "its certificate is known, so that it can be told"
    assert BOB in alice.shown.trusted
    assert (alice.book.digest, alice.book.active()) == (b"", [])
    assert BOB in alice.book.all, "as a tombstone"
    with pytest.raises(NotFoundError):
        alice.book.require(BOB)
    assert changes == [True, False]


async def test_one_that_waits_counts_for_nothing(alice: House) -> None:
    made = await alice.inviting.invite(alice.operator, BOB, confirms=True)
    await alice.book.redeem(made.invite.id, signed_of(BOBS), request_id="")
    assert alice.book.all[BOB].peer.state is PeerState.WAITING
    assert not alice.book.is_peer(BOB)
    assert (alice.shown.trusted, alice.shown.shut_out, alice.book.digest) == ({}, frozenset(), b"")
    with pytest.raises(NotFoundError):
        alice.book.require(BOB)
    await alice.book.confirm(alice.operator, BOB)
    assert alice.shown.counting == {BOB}


async def test_peers_are_there_again_after_a_restart(alice: House) -> None:
    await accept(alice, signed_of(BOBS))
    again = PeerBook(ALICE, alice.catalog.peers, alice.shown)
    assert not again.is_peer(BOB)
    await again.load()
    assert again.is_peer(BOB)
    assert again.digest == alice.book.digest


async def test_a_peer_that_cannot_be_read_is_left_out_and_keeps_nobody_else_out(
    alice: House,
) -> None:
    await accept(alice, signed_of(CAROLS))
    bundle = open_bundle(signed_of(BOBS))
    broken = peer_of(SignedBundle(b"{}", b""), bundle, PeerState.ACTIVE)
    await alice.catalog.peers.accept(alice.operator, broken)
    await alice.book.load()
    assert (alice.book.is_peer(BOB), alice.book.is_peer(CAROL)) == (False, True)
    assert alice.shown.counting == {CAROL}


async def test_the_digest_tells_sets_of_peers_and_cas_apart(alice: House) -> None:
    seen = [alice.book.digest]
    await accept(alice, signed_of(BOBS))
    seen.append(alice.book.digest)
    await renew(alice, signed_of(BOBS, 2))
    assert alice.book.digest == seen[-1], "its CAs are the same"
    newest = ca_of(BOB, label="next", after=BOBS)
    await renew(alice, signed_of(BOBS, 3, authorities=(BOBS.certificate, newest.certificate)))
    seen.append(alice.book.digest)
    await accept(alice, signed_of(CAROLS))
    seen.append(alice.book.digest)
    assert len(set(seen)) == len(seen)


async def test_a_bundle_is_compared_with_the_one_that_is_being_kept(
    alice: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third says what the first did, which is not known any more when its turn comes."""
    here, there = (Address("10.0.0.2", 8001),), (Address("10.0.0.3", 8001),)
    await accept(alice, signed_of(BOBS, 1, addresses=here))
    begun, go_on = asyncio.Event(), asyncio.Event()
    keep = alice.catalog.peers.renew

    async def slow(peer: Peer) -> None:
        begun.set()
        await go_on.wait()
        await keep(peer)

    monkeypatch.setattr(alice.catalog.peers, "renew", slow)
    async with asyncio.TaskGroup() as both:
        both.create_task(renew(alice, signed_of(BOBS, 2, addresses=there)))
        await begun.wait()
        both.create_task(renew(alice, signed_of(BOBS, 3, addresses=here)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go_on.set()
    assert alice.book.all[BOB].bundle.addresses == here
    again = PeerBook(ALICE, alice.catalog.peers, alice.shown)
    await again.load()
    assert again.all[BOB].bundle.addresses == here, "it is in the catalogue, too"


async def test_trust_follows_a_change_whose_caller_is_gone(
    alice: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept and not counted, it would be refused until the next start."""
    is_kept, go_on = asyncio.Event(), asyncio.Event()
    keep = alice.catalog.peers.accept

    async def slow(*told: Any, **how: Any) -> Peer:
        kept = await keep(*told, **how)
        is_kept.set()
        await go_on.wait()
        return kept

    monkeypatch.setattr(alice.catalog.peers, "accept", slow)
    asking = asyncio.create_task(accept(alice, signed_of(BOBS)))
    await is_kept.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not alice.book.is_peer(BOB)
    go_on.set()
    await alice.book.close()
    assert alice.book.is_peer(BOB)
    assert alice.shown.counting == {BOB}


async def test_a_change_that_trust_could_not_follow_is_followed_later(
    alice: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change stands, so its caller is not told that it failed, and nodes and trust hear of it soon."""
    await accept(alice, signed_of(BOBS))
    worker = alice.book.worker()
    before = alice.book.digest

    async def fail(*_: Any) -> Any:
        raise BusyError("The catalogue is busy.")

    with monkeypatch.context() as patched:
        patched.setattr(alice.catalog.peers, "all", fail)
        await accept(alice, signed_of(CAROLS))
        assert alice.book.digest == before
        await worker.wait()  # it is woken at once
        for _ in range(2):
            with pytest.raises(BusyError):  # the runner tries again, by its back-off
                await worker.work()
    await worker.work()
    assert alice.shown.counting == {BOB, CAROL}
    assert alice.book.digest != before


async def test_a_removed_peer_counts_no_more_whatever_else_fails(
    alice: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept(alice, signed_of(BOBS))
    await accept(alice, signed_of(CAROLS))
    changes: list[bool] = []
    alice.book.watch(lambda: changes.append(alice.book.is_peer(BOB)))

    async def fail(*_: Any) -> Any:
        raise CorruptionError("An index is damaged.")

    monkeypatch.setattr(alice.catalog.peers, "names_given_out", fail)
    monkeypatch.setattr(alice.catalog.peers, "all", fail)
    await alice.book.remove(alice.operator, BOB)
    assert alice.shown.counting == {CAROL}
    assert alice.shown.shut_out == {BOB}
    assert changes == [False], "connections and nodes hear of it"
    await alice.book.ended(CAROL)
    assert (alice.shown.counting, alice.book.digest) == (set(), b"")


async def test_what_a_peer_has_revoked_counts_as_a_change_only_where_it_is_one(
    alice: House,
) -> None:
    await accept(alice, signed_of(BOBS))
    before = alice.book.digest
    alice.book.revoked_changed(BOB, ["serial:1"])
    changed = alice.book.digest
    assert changed != before
    alice.book.revoked_changed(BOB, ["serial:1"])
    assert alice.book.digest is changed, "not even reckoned anew"


async def test_this_member_is_no_peer_of_itself(alice: House) -> None:
    with pytest.raises(UsageError, match="itself"):
        await accept(alice, signed_of(ALICES))
    with pytest.raises(UsageError, match="itself"):
        await accept(alice, signed_of(ca_of(ALICE)))
    assert not alice.book.all


async def test_a_member_that_nobody_can_reach_or_whose_bundle_is_none_is_no_peer(
    alice: House,
) -> None:
    with pytest.raises(RejectedError, match=r"no address .* COLLECTIVE_ADVERTISE_ADDRESS"):
        await accept(alice, signed_of(BOBS, addresses=()))
    with pytest.raises(RejectedError):
        await accept(alice, forged(BOBS, sequence=0))
    assert not alice.book.all


TAKEN: Final = (ConflictError, RejectedError)


def colliding(other: CertificateAuthority, domain: Domain = BOB) -> list[SignedBundle]:
    """Return bundles of ``domain`` whose CA has the key, or the name, of another member's."""
    named_alike = ca_of(domain)
    named_alike._certificate = _renamed(named_alike, other)
    return [signed_of(ca_of(domain, key_of=other)), signed_of(named_alike)]


def _renamed(authority: CertificateAuthority, like: CertificateAuthority) -> x509.Certificate:
    own = authority.certificate
    name = like.certificate.subject
    builder = x509.CertificateBuilder(
        name,
        name,
        own.public_key(),
        own.serial_number,
        own.not_valid_before_utc,
        own.not_valid_after_utc,
    )
    for extension in own.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(authority._key, hashes.SHA256())


@pytest.mark.parametrize("other", [ALICES, CAROLS])
async def test_a_ca_with_the_key_or_name_of_another_members_is_refused(
    alice: House, other: CertificateAuthority
) -> None:
    """Whoever's it is, and whether or not that one counts: handshakes would take one for the other."""
    made = await alice.inviting.invite(alice.operator, CAROL, confirms=True)
    await alice.book.redeem(made.invite.id, signed_of(CAROLS), request_id="")
    for signed in colliding(other):
        with pytest.raises(TAKEN, match=r"another domain|the name of garage\.bob"):
            await accept(alice, signed)
        with pytest.raises(TAKEN, match=r"another domain|the name of garage\.bob"):
            await accept(alice, signed, replaces=True)
    await alice.book.confirm(alice.operator, CAROL)
    await alice.book.remove(alice.operator, CAROL)
    for signed in colliding(other):
        with pytest.raises(TAKEN, match=r"another domain|the name of garage\.bob"):
            await accept(alice, signed)
    assert not alice.book.is_peer(BOB)


@pytest.mark.parametrize("other", [ALICES, CAROLS])
async def test_a_peer_renews_itself_into_no_ca_with_the_key_or_name_of_another_members(
    alice: House, other: CertificateAuthority
) -> None:
    """As it could with a link of its own CA to one that is named like the victim's."""
    await accept(alice, signed_of(BOBS))
    await accept(alice, signed_of(CAROLS))
    named_alike = ca_of(BOB, label="next", after=BOBS)
    named_alike._certificate = _renamed(named_alike, other)
    for planted in (ca_of(BOB, after=BOBS, key_of=other), named_alike):
        both = (BOBS.certificate, planted.certificate)
        with pytest.raises(TAKEN, match=r"another domain|the name of garage\.bob"):
            await renew(alice, signed_of(BOBS, 9, authorities=both))
    assert alice.book.require(BOB).peer.sequence == 1
    assert alice.shown.trusted[BOB] == (BOBS.certificate,)


async def test_a_peer_made_anew_takes_its_own_place_only_where_the_operator_says_so(
    alice: House,
) -> None:
    await accept(alice, signed_of(BOBS))
    anew = ca_of(BOB)
    with pytest.raises(ConflictError, match="--replace"):
        await accept(alice, signed_of(anew))
    await accept(alice, signed_of(anew), replaces=True)
    assert alice.shown.trusted[BOB] == (anew.certificate,)


async def test_a_removed_peer_is_not_renewed(alice: House) -> None:
    await accept(alice, signed_of(BOBS))
    await alice.book.remove(alice.operator, BOB)
    with pytest.raises(NotFoundError):
        await renew(alice, signed_of(BOBS, 9))
    assert alice.shown.counting == set()


async def test_a_change_that_the_catalogue_refuses_changes_nothing_here(alice: House) -> None:
    await accept(alice, signed_of(BOBS, 5))
    called: list[int] = []
    alice.book.watch(lambda: called.append(1))
    with pytest.raises(PermissionDeniedError):
        await alice.book.remove(alice.person("anna"), BOB)
    with pytest.raises(RejectedError):
        await renew(alice, signed_of(BOBS, 4))
    with pytest.raises(ConflictError):
        await renew(alice, signed_of(BOBS, 5, version="other"))
    assert alice.shown.counting == {BOB}
    assert called == []


async def test_a_higher_number_for_what_is_known_is_not_written_and_outlives_changes_of_others(
    alice: House,
) -> None:
    await accept(alice, signed_of(BOBS, 5))
    before = await alice.catalog.restores.position()
    changes: list[bool] = []
    alice.book.watch(lambda: changes.append(True))
    await renew(alice, newer := signed_of(BOBS, 9))
    assert (await alice.catalog.restores.position(), changes) == (before, [])
    await accept(alice, signed_of(CAROLS))
    known = alice.book.require(BOB)
    assert (known.peer.sequence, known.peer.body, known.bundle.sequence) == (9, newer.body, 9)
    with pytest.raises(RejectedError):
        await renew(alice, signed_of(BOBS, 7, version="other"))
    await renew(alice, signed_of(BOBS, 10, version="other"))
    again = PeerBook(ALICE, alice.catalog.peers, alice.shown)
    await again.load()
    assert again.require(BOB).bundle.version == "other"
    await renew(alice, signed_of(BOBS, 11, version="other"))
    again = PeerBook(ALICE, alice.catalog.peers, alice.shown)
    await again.load()
    assert again.require(BOB).peer.sequence == 10, "what it says is there after a restart"
