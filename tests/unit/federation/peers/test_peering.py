"""A code from invitation to peers on both sides, and everything that may not come of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from collective.core import limits
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    UnreachableError,
    UsageError,
)
from collective.core.ids import Domain, SpiffeId
from collective.federation.peers.managing import Managing
from collective.model.grants import Grant
from collective.model.peers import PeerFacts, PeerFigures, PeeringAttempt, PeerState
from collective.model.people import InviteKind
from collective.pki import invite_code, proof
from collective.pki.bundle import SignedBundle, fingerprint
from collective.pki.certificates import certificate_der
from collective.pki.invite_code import InviteCode
from tests.unit.federation.houses import House, Wires, house
from tests.unit.pki.bundles import BOBS, CAROL, CAROLS, ca_of, forged, signed_of
from tests.unit.pki.forge import ALICE, BOB

LEAF: Final = b"l" * 32


@pytest.fixture
async def carol(tmp_path: Path, wires: Wires) -> AsyncIterator[House]:
    async with house(tmp_path, CAROLS, wires) as here:
        yield here


async def code_for(inviter: House, domain: Domain, **how: Any) -> str:
    return (await inviter.inviting.invite(inviter.operator, domain, **how)).code


async def attempt(
    inviter: House, code: InviteCode, signed: SignedBundle, **other: Any
) -> PeeringAttempt:
    """Return what a member that has the code sends, with some of it changed after it was signed."""
    nonce, _ = await inviter.inviting.begin(code.code_id)
    said = proof.PeeringTranscript(code.code_id, nonce, LEAF, signed.body, signed.signature)
    made = PeeringAttempt(
        code.code_id,
        nonce,
        signed.body,
        signed.signature,
        proof.sign_join(code.secret, said),
        (b"o" * 32, LEAF),
    )
    return replace(made, **other)


# --- both sides --------------------------------------------------------------------------------------


async def test_both_are_peers_after_one_accepted_the_others_code(alice: House, bob: House) -> None:
    text = await code_for(alice, BOB)
    told = await bob.accepting.look_at(bob.operator, text)
    assert (told.member, told.domain, told.addresses) == ("alice", ALICE, alice.own.addresses)
    assert told.fingerprint == alice.bundle.fingerprint
    assert told.own_fingerprint == bob.bundle.fingerprint
    assert alice.bootstrap.served == ["begin"], "nothing was sent before the operator said yes"
    peer, is_waiting = await bob.accepting.accept(bob.operator, text, ALICE)
    assert not is_waiting
    assert (peer.domain, peer.state) == (ALICE, PeerState.ACTIVE)
    assert alice.shown.counting == {BOB}
    assert bob.shown.counting == {ALICE}
    assert not alice.book.all[BOB].peer.is_seen


async def test_an_inviter_that_confirms_lets_nobody_count_before(alice: House, bob: House) -> None:
    text = await code_for(alice, BOB, confirms=True)
    _, is_waiting = await bob.accepting.accept(bob.operator, text, ALICE)
    assert is_waiting, "it is told so, and does not say that all is done"
    assert alice.shown.counting == set()
    await alice.book.confirm(alice.operator, BOB)
    assert alice.shown.counting == {BOB}


async def test_accepting_twice_is_harmless(alice: House, bob: House) -> None:
    text = await code_for(alice, BOB)
    first = await bob.accepting.accept(bob.operator, text, ALICE)
    assert await bob.accepting.accept(bob.operator, text, None) == first
    assert len(await alice.catalog.peers.all()) == 1


async def test_only_admins_invite_look_and_accept(alice: House, bob: House) -> None:
    text = await code_for(alice, BOB)
    anna, eve = alice.person("anna"), bob.person("eve")
    with pytest.raises(PermissionDeniedError):
        await alice.inviting.invite(anna, BOB)
    with pytest.raises(PermissionDeniedError):
        await bob.accepting.look_at(eve, text)
    with pytest.raises(PermissionDeniedError):
        await bob.accepting.accept(eve, text, ALICE)
    assert alice.bootstrap.served == []


# --- the accepter ------------------------------------------------------------------------------------


async def test_nothing_is_sent_to_a_member_that_is_not_the_one_that_was_meant(
    alice: House, bob: House
) -> None:
    text = await code_for(alice, BOB)
    with pytest.raises(RejectedError, match="nothing was sent"):
        await bob.accepting.accept(bob.operator, text, CAROL)
    assert alice.bootstrap.served == ["begin"]
    assert not bob.book.all


async def test_what_would_be_refused_in_the_end_is_refused_before_the_code_is_used(
    alice: House, bob: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same rule: another CA of a known domain, and a peer too many."""
    text = await code_for(alice, BOB)
    stranger = signed_of(ca_of(ALICE), 9)
    await bob.book.accept(bob.operator, stranger, replaces=False)
    with pytest.raises(ConflictError, match="accept its code with --replace"):
        await bob.accepting.accept(bob.operator, text, ALICE)
    await bob.book.remove(bob.operator, ALICE)
    monkeypatch.setattr(limits, "PEERS_MAX", 0)
    with pytest.raises(ConflictError, match="0 already"):
        await bob.accepting.accept(bob.operator, text, ALICE)
    assert alice.bootstrap.served == ["begin", "begin"], "nothing was redeemed"
    monkeypatch.undo()
    await bob.accepting.accept(bob.operator, text, ALICE)
    assert bob.shown.counting == {ALICE}


async def test_somebody_else_at_the_codes_address_hears_nothing(
    alice: House, bob: House, carol: House, wires: Wires
) -> None:
    """An attacker in the middle has no certificate of the CA that the code pins."""
    text = await code_for(alice, BOB)
    wires.at[invite_code.parse(text).addresses[0]] = carol.bootstrap
    for asked in (
        bob.accepting.look_at(bob.operator, text),
        bob.accepting.accept(bob.operator, text, None),
    ):
        with pytest.raises(RejectedError):
            await asked
    assert carol.bootstrap.served == []


async def test_a_bundle_of_another_ca_than_the_codes_is_not_shown_and_nothing_is_sent(
    alice: House, bob: House
) -> None:
    text = await code_for(alice, BOB)
    alice.bundle._own = carols = type(alice.own)(CAROLS, alice.own.addresses)  # type: ignore[assignment]
    assert carols.domain == CAROL
    for asked in (
        bob.accepting.look_at(bob.operator, text),
        bob.accepting.accept(bob.operator, text, None),
    ):
        with pytest.raises(RejectedError, match="another CA than the code"):
            await asked
    assert alice.bootstrap.served == ["begin", "begin"]


@pytest.mark.parametrize("domain", [ALICE, None])
async def test_an_inviter_that_was_shown_as_one_member_does_not_answer_as_another(
    alice: House, bob: House, domain: Domain | None
) -> None:
    """One key may sign for two domains: the second one is nobody's whom the operator looked at."""
    text = await code_for(alice, BOB)
    alice.bootstrap.second = signed_of(ca_of(CAROL, key_of=alice.own.authority))
    with pytest.raises(RejectedError, match="answers as another"):
        await bob.accepting.accept(bob.operator, text, domain)
    assert not bob.book.all
    alice.bootstrap.second = signed_of(CAROLS)
    with pytest.raises(RejectedError, match="another CA than the code"):
        await bob.accepting.accept(bob.operator, text, domain)
    assert not bob.book.all


async def test_a_peer_made_anew_is_refused_before_a_use_of_its_code_is_spent(
    alice: House, bob: House
) -> None:
    former = ca_of(ALICE)
    await bob.book.accept(bob.operator, signed_of(former), replaces=False)
    text = await code_for(alice, BOB)
    with pytest.raises(ConflictError, match="--replace"):
        await bob.accepting.accept(bob.operator, text, ALICE)
    assert alice.bootstrap.served == ["begin"]
    await bob.accepting.accept(bob.operator, text, ALICE, replaces=True)
    assert bob.shown.trusted[ALICE] == (alice.own.authority.certificate,)


async def test_one_that_was_removed_is_peered_with_again_without_replacing(
    alice: House, bob: House
) -> None:
    await bob.book.accept(bob.operator, signed_of(ca_of(ALICE)), replaces=False)
    await bob.book.remove(bob.operator, ALICE)
    await bob.accepting.accept(bob.operator, await code_for(alice, BOB), ALICE)
    assert bob.shown.counting == {ALICE}


# --- the inviter -------------------------------------------------------------------------------------


async def test_a_member_invites_others_and_not_itself(alice: House) -> None:
    with pytest.raises(ConflictError, match="this member itself"):
        await code_for(alice, ALICE)
    with pytest.raises(UsageError):
        await code_for(alice, BOB, validity_s=-1.0)
    made = await alice.inviting.invite(alice.operator, BOB)
    record = await alice.catalog.codes.get(made.invite.id)
    assert (record.kind, record.uses_total, record.approves) == (InviteKind.PEER, 1, True)
    assert record.bound == SpiffeId.coordinator(BOB)
    assert record.expires_s == alice.clock.wall_s() + 86400.0


async def test_a_code_is_redeemed_by_the_member_that_it_is_for_and_once(
    alice: House, carol: House
) -> None:
    code = invite_code.parse(await code_for(alice, BOB))
    with pytest.raises(ConflictError, match="another member than"):
        await alice.inviting.redeem(await attempt(alice, code, await carol.signed()))
    answer, peer = await alice.inviting.redeem(await attempt(alice, code, signed_of(BOBS)))
    assert (answer, peer.domain) == (await alice.signed(), BOB)
    again = await alice.inviting.redeem(await attempt(alice, code, signed_of(BOBS)))
    assert again == (answer, peer)
    with pytest.raises(ConflictError):
        await alice.inviting.redeem(await attempt(alice, code, signed_of(ca_of(BOB))))
    assert set(alice.book.all) == {BOB}


async def test_a_code_for_a_person_or_a_node_makes_no_peer(alice: House) -> None:
    for kind in (InviteKind.USER, InviteKind.NODE):
        _, code = await alice.inviting._invites.create(
            alice.operator, kind, uses=1, validity_s=60.0
        )
        with pytest.raises(ConflictError, match=f"for a {kind.value}"):
            await alice.inviting.redeem(await attempt(alice, code, signed_of(BOBS)))
        assert (await alice.catalog.codes.get(code.code_id)).uses_left == 1
    assert not alice.book.all


@pytest.mark.parametrize(
    "other",
    [
        {"proof": b"p" * 64},
        {"nonce": b"n" * 32},
        {"body": signed_of(BOBS, 9).body},
        {"signature": b"s"},
        {"leaf_digests": (b"o" * 32,)},
        {"leaf_digests": ()},
        {"code_id": "0" * 16},
    ],
)
async def test_what_does_not_prove_the_secret_on_this_connection_is_refused_in_one_sentence(
    alice: House, other: dict[str, Any]
) -> None:
    code = invite_code.parse(await code_for(alice, BOB))
    with pytest.raises(PermissionDeniedError) as refused:
        await alice.inviting.redeem(await attempt(alice, code, signed_of(BOBS), **other))
    assert "not known here" in refused.value.message or "nonce" in refused.value.message.lower()
    assert not alice.book.all


async def test_no_code_has_such_an_id(alice: House) -> None:
    with pytest.raises(UsageError):
        await alice.inviting.begin("../code")
    code = invite_code.parse(await code_for(alice, BOB))
    with pytest.raises(UsageError):
        await alice.inviting.redeem(await attempt(alice, code, signed_of(BOBS), code_id="x"))


async def test_a_bundle_that_cannot_be_used_costs_no_use(alice: House) -> None:
    code = invite_code.parse(await code_for(alice, BOB))
    for signed in (forged(BOBS, sequence=0), signed_of(BOBS, addresses=()), SignedBundle(b"", b"")):
        with pytest.raises(CollectiveError):
            await alice.inviting.redeem(await attempt(alice, code, signed))
    collides = signed_of(ca_of(BOB, key_of=alice.own.authority))
    with pytest.raises(ConflictError, match="another domain"):
        await alice.inviting.redeem(await attempt(alice, code, collides))
    assert (await alice.catalog.codes.get(code.code_id)).uses_left == 1


async def test_a_code_that_is_asked_about_looks_the_same_whether_or_not_it_exists(
    alice: House,
) -> None:
    code = invite_code.parse(await code_for(alice, BOB))
    for code_id in (code.code_id, "0" * 16):
        nonce, signed = await alice.inviting.begin(code_id)
        assert (len(nonce) > 0, signed) == (True, await alice.signed())


# --- what admins see and do --------------------------------------------------------------------------


class Conditions:
    """Describes a peer by what is known of it alone."""

    async def grants_there(self, domain: Domain) -> Sequence[Grant]:
        raise UnreachableError(f"{domain} is away.")

    def describe(self, known: Any, granted: Mapping[Domain, int]) -> PeerFacts:
        peer, bundle = known.peer, known.bundle
        return PeerFacts(
            member=peer.member,
            domain=peer.domain,
            state=peer.state,
            addresses=bundle.addresses,
            fingerprint=fingerprint(peer.authority_digest),
            sequence=peer.sequence,
            version=bundle.version,
            since_ms=peer.since_ms,
            is_seen=peer.is_seen,
            is_healthy=False,
            last_seen_ms=0,
            latency_ms=0.0,
            why_away="",
            taken_ms=peer.taken_ms,
            figures=PeerFigures(granted.get(peer.domain, 0)),
        )


def managing(house: House) -> Managing:
    return Managing(
        house.catalog.identities, house.catalog.peers, house.book, house.bundle, Conditions()
    )


async def test_who_came_is_new_to_the_first_admin_who_looks_and_to_nobody_after(
    alice: House,
) -> None:
    code = invite_code.parse(await code_for(alice, BOB))
    await alice.inviting.redeem(await attempt(alice, code, signed_of(BOBS)))
    managed = managing(alice)
    with pytest.raises(PermissionDeniedError):
        await managed.all(alice.person("anna"), shown=True)
    [asked] = await managed.all(alice.operator)
    for is_seen in (False, True):
        [told] = await managed.all(alice.operator, shown=True)
        assert (told.domain, told.is_seen) == (BOB, is_seen)
    assert not asked.is_seen, "whoever makes an invitation is shown nobody"
    await alice.book.ended(BOB)
    assert await managed.all(alice.operator, with_removed=False, shown=True) == []
    [ended] = await managed.all(alice.operator)
    assert not ended.is_seen, "it was not on the list"
    assert managed.own_fingerprint == alice.bundle.fingerprint


async def test_the_cas_of_a_peer_are_told_while_it_counts(alice: House) -> None:
    code = invite_code.parse(await code_for(alice, BOB, confirms=True))
    await alice.inviting.redeem(await attempt(alice, code, signed_of(BOBS)))
    managed = managing(alice)
    with pytest.raises(NotFoundError):
        managed.authorities(BOB)
    with pytest.raises(PermissionDeniedError):
        await managed.confirm(alice.person("anna"), BOB)
    assert (await managed.confirm(alice.operator, BOB)).state is PeerState.ACTIVE
    assert managed.authorities(BOB) == [certificate_der(BOBS.certificate)]
    with pytest.raises(PermissionDeniedError):
        await managed.remove(alice.person("anna"), BOB)
    assert (await managed.remove(alice.operator, BOB)).state is PeerState.REMOVED
    for domain in (BOB, CAROL):
        with pytest.raises(NotFoundError):
            managed.authorities(domain)
    assert [one.state for one in await managed.all(alice.operator)] == [PeerState.REMOVED]
