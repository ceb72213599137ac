"""Peers: who comes by which code, what is left of one that was removed, and the own bundle's number."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.peers import NAMES_MAX
from collective.catalog.interface.values import IssuedCertificate
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    ShutOutError,
)
from collective.core.ids import Domain, GlobalId, MemberId, SpiffeId
from collective.model.calls import Call
from collective.model.peers import Peer, PeerState
from collective.model.people import Invite, InviteKind
from collective.model.rights import GrantTerms, Right
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import ANY, OPERATOR, grant, p, user

BOB, CAROL = Domain("garage.bob"), Domain("home.carol")
CA, OTHER_CA = b"a" * 32, b"o" * 32
ANNA: Final = user("anna")
ALL: Final = Right.READ | Right.WRITE | Right.SHARE


def person(name: str, member: Domain = BOB) -> Call:
    """Return a call that a peer's coordinator makes for one of its people."""
    who = SpiffeId.user(member, GlobalId(name, member))
    return Call(who, is_operator=False, carrier=SpiffeId.coordinator(member), via=member)


EVE, FAY = person("eve"), person("fay")
EVERYBODY: Final = Call(SpiffeId.coordinator(BOB), is_operator=False)


def peer(domain: Domain = BOB, *, sequence: int = 5, ca: bytes = CA, body: bytes = b"body") -> Peer:
    member = MemberId(domain.rsplit(".", 1)[-1])
    return Peer(domain, member, PeerState.ACTIVE, ca, sequence, body, b"signature", 0)


async def invite(
    catalog: Catalog,
    clock: ManualClock,
    name: str = "c1",
    *,
    domain: Domain = BOB,
    kind: InviteKind = InviteKind.PEER,
    confirms: bool = False,
) -> None:
    bound = SpiffeId.coordinator(domain) if kind is InviteKind.PEER else None
    approves = kind is InviteKind.PEER and not confirms
    code = Invite(
        name, kind, b"v" * 32, 1, 1, clock.wall_s() + 60, OPERATOR.principal,
        bound=bound, approves=approves,
    )  # fmt: skip
    await catalog.codes.add(OPERATOR, code)


async def states(catalog: Catalog) -> dict[Domain, PeerState]:
    return {one.domain: one.state for one in await catalog.peers.all()}


async def may_read(catalog: Catalog, who: Call, path: str = "/a") -> bool:
    try:
        await catalog.names.list(who, p(path), recursive=False, page_size=1, token="")
    except PermissionDeniedError:
        return False
    return True


# --- codes -------------------------------------------------------------------------------------------


async def test_a_member_that_was_invited_becomes_a_peer_and_is_kept(
    catalog: Catalog, clock: ManualClock, engines: Engines
) -> None:
    await invite(catalog, clock)
    stored = await catalog.peers.redeem("c1", peer())
    now_ms = int(clock.wall_s() * 1000)
    assert stored == replace(peer(), since_ms=now_ms, came_by="c1", is_seen=False, taken_ms=now_ms)
    await catalog.close()
    assert list(await (await engines.open()).peers.all()) == [stored]


async def test_a_code_that_asks_for_it_makes_a_peer_that_waits_until_it_is_confirmed(
    catalog: Catalog, clock: ManualClock
) -> None:
    await invite(catalog, clock, confirms=True)
    assert (await catalog.peers.redeem("c1", peer())).state is PeerState.WAITING
    with pytest.raises(PermissionDeniedError):
        await catalog.peers.confirm(ANNA, BOB)
    assert await states(catalog) == {BOB: PeerState.WAITING}
    clock.advance(5)
    stored = await catalog.peers.confirm(OPERATOR, BOB)
    assert (stored.state, stored.is_seen) == (PeerState.ACTIVE, True)
    assert stored.since_ms == int(clock.wall_s() * 1000)
    with pytest.raises(ConflictError):
        await catalog.peers.confirm(OPERATOR, BOB)
    with pytest.raises(NotFoundError):
        await catalog.peers.confirm(OPERATOR, CAROL)


async def test_a_code_of_another_kind_or_domain_makes_no_peer_and_costs_no_use(
    catalog: Catalog, clock: ManualClock
) -> None:
    await invite(catalog, clock, "user", kind=InviteKind.USER)
    await invite(catalog, clock, "node", kind=InviteKind.NODE)
    await invite(catalog, clock, "carols", domain=CAROL)
    for name in ("user", "node", "carols"):
        with pytest.raises(ConflictError):
            await catalog.peers.redeem(name, peer())
        assert (await catalog.codes.get(name)).uses_left == 1
    with pytest.raises(NotFoundError):
        await catalog.peers.redeem("none", peer())
    assert await states(catalog) == {}


async def test_a_redemption_that_is_repeated_changes_nothing_and_another_ca_gets_nothing(
    catalog: Catalog, clock: ManualClock
) -> None:
    await invite(catalog, clock)
    first = await catalog.peers.redeem("c1", peer())
    clock.advance(1)
    assert await catalog.peers.redeem("c1", peer()) == first
    assert await catalog.peers.redeem("c1", peer(sequence=9, body=b"newer")) == first
    with pytest.raises(ConflictError):
        await catalog.peers.redeem("c1", peer(ca=OTHER_CA))
    assert (await catalog.codes.get("c1")).uses_left == 0
    assert list(await catalog.peers.all()) == [first]
    assert [row.action for row in await catalog.audit.list(since_ms=0, limit=9)] == [
        "invite",
        "peer",
    ]


async def test_a_code_that_ended_makes_no_peer(catalog: Catalog, clock: ManualClock) -> None:
    await invite(catalog, clock, "revoked")
    await invite(catalog, clock, "late")
    await catalog.codes.revoke(OPERATOR, "revoked")
    clock.advance(61)
    for name in ("revoked", "late"):
        with pytest.raises(ConflictError):
            await catalog.peers.redeem(name, peer())
    assert await states(catalog) == {}


async def test_by_a_new_code_another_ca_takes_no_active_peers_place(
    catalog: Catalog, clock: ManualClock
) -> None:
    await invite(catalog, clock, "c1")
    await invite(catalog, clock, "c2")
    await catalog.peers.redeem("c1", peer())
    with pytest.raises(ConflictError, match="another CA"):
        await catalog.peers.redeem("c2", peer(ca=OTHER_CA, sequence=99))
    assert (await catalog.codes.get("c2")).uses_left == 1


async def test_a_removed_peer_does_not_come_back_by_the_code_of_before(
    catalog: Catalog, clock: ManualClock
) -> None:
    await invite(catalog, clock)
    await catalog.peers.redeem("c1", peer())
    await catalog.peers.remove(OPERATOR, BOB)
    for again in (peer(), peer(sequence=99), peer(ca=OTHER_CA)):
        with pytest.raises(ConflictError):
            await catalog.peers.redeem("c1", again)
    assert await states(catalog) == {BOB: PeerState.REMOVED}


# --- names that were given out before ----------------------------------------------------------------


def named(name: str, domain: Domain) -> SpiffeId:
    """Return somebody of this member with a name in the domain of another."""
    return SpiffeId.user(OPERATOR.principal.trust_domain, GlobalId(name, domain))


async def test_names_given_out_before_are_told_of_and_leave_a_peer_unseen(
    catalog: Catalog, clock: ManualClock
) -> None:
    own = OPERATOR.principal.trust_domain
    assert (await catalog.peers.accept(OPERATOR, peer(CAROL))).is_seen
    await invite(catalog, clock, "ann", kind=InviteKind.USER)
    joined, granted, out = (named(name, BOB) for name in ("ann", "ben", "cat"))
    await catalog.codes.redeem("ann", b"k" * 32, IssuedCertificate(joined, "01", 10**15, b"der"))
    for who in (granted, out):
        await grant(catalog, Call(who, is_operator=False), "/a", 1)
    await grant(catalog, Call(named("dan", Domain("garage.bobby")), is_operator=False), "/a", 1)
    await catalog.revocations.revoke(OPERATOR, str(out))
    stored = await catalog.peers.accept(OPERATOR, peer())
    assert not stored.is_seen
    told = await catalog.peers.names_given_out(own, [BOB, CAROL])
    assert {domain: list(names) for domain, names in told.items()} == {
        BOB: [joined, granted],
        CAROL: [],
    }
    await catalog.peers.note_seen(OPERATOR, [BOB])
    assert all(one.is_seen for one in await catalog.peers.all())
    await catalog.revocations.revoke(OPERATOR, str(joined))
    told = await catalog.peers.names_given_out(own, [BOB])
    assert list(told[BOB]) == [granted], "asked anew, so the remedy is seen to work"


async def test_names_that_are_shut_out_hide_no_other(catalog: Catalog, clock: ManualClock) -> None:
    names = [named(f"n{number:03}", BOB) for number in range(NAMES_MAX + 1)]
    for number, who in enumerate(names):
        await invite(catalog, clock, f"code{number}", kind=InviteKind.USER)
        leaf = IssuedCertificate(who, f"{number + 1:02x}", 10**15, b"der")
        await catalog.codes.redeem(f"code{number}", number.to_bytes(32, "big"), leaf)
        if who != names[-1]:
            await catalog.revocations.revoke(OPERATOR, str(who))
    told = await catalog.peers.names_given_out(OPERATOR.principal.trust_domain, [BOB])
    assert list(told[BOB]) == [names[-1]]


async def test_grants_to_a_peer_and_its_people_are_listed(catalog: Catalog) -> None:
    await catalog.peers.accept(OPERATOR, peer())
    for who, path in ((EVE, "/b"), (EVERYBODY, "/a"), (ANNA, "/c")):
        await grant(catalog, who, path, 1)
    found = await catalog.peers.grants_to(BOB, 9)
    assert [(str(one.path), one.principal) for one in found] == [
        ("/a", EVERYBODY.principal),
        ("/b", EVE.principal),
    ]
    assert list(await catalog.peers.grants_to(BOB, 1)) == list(found[:1])


# --- accepting, renewing, removing -------------------------------------------------------------------


async def test_only_admins_change_who_is_a_peer(catalog: Catalog) -> None:
    await catalog.peers.accept(OPERATOR, peer())
    for who in (ANNA, EVE):
        for refused in (
            catalog.peers.accept(who, peer(CAROL)),
            catalog.peers.remove(who, BOB),
            catalog.peers.note_seen(who, [BOB]),
        ):
            with pytest.raises(PermissionDeniedError):
                await refused
    assert await states(catalog) == {BOB: PeerState.ACTIVE}
    admin = user("admin")
    await grant(catalog, admin, "/", 7)
    await catalog.peers.remove(admin, BOB)
    assert await states(catalog) == {BOB: PeerState.REMOVED}


async def test_a_newer_bundle_takes_the_place_of_the_known_one_and_no_other_does(
    catalog: Catalog, clock: ManualClock
) -> None:
    known = await catalog.peers.accept(OPERATOR, peer())
    assert await catalog.peers.renew(peer()) is None
    clock.advance(60)
    with pytest.raises(RejectedError):
        await catalog.peers.renew(peer(sequence=4))
    with pytest.raises(ConflictError):
        await catalog.peers.renew(peer(body=b"other"))
    with pytest.raises(NotFoundError):
        await catalog.peers.renew(peer(CAROL))
    assert list(await catalog.peers.all()) == [known]
    newer = peer(sequence=1 << 52, ca=OTHER_CA, body=b"newer")
    stored = await catalog.peers.renew(newer)
    now_ms = int(clock.wall_s() * 1000)
    assert stored == replace(newer, since_ms=known.since_ms, taken_ms=now_ms)
    assert now_ms > known.taken_ms == known.since_ms
    assert list(await catalog.peers.all()) == [stored]


async def test_peers_are_listed_by_domain_and_seen_once_an_admin_was_told(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.peers.accept(OPERATOR, peer(CAROL))
    await invite(catalog, clock)
    await catalog.peers.redeem("c1", peer())
    told = await catalog.peers.all()
    assert [(one.domain, one.is_seen) for one in told] == [(BOB, False), (CAROL, True)]
    await catalog.peers.note_seen(OPERATOR, [CAROL])
    assert [one.is_seen for one in await catalog.peers.all()] == [False, True]
    await catalog.peers.note_seen(OPERATOR, [BOB, Domain("no.peer")])
    assert all(one.is_seen for one in await catalog.peers.all())


async def test_there_are_no_more_peers_than_there_may_be(catalog: Catalog) -> None:
    for number in range(limits.PEERS_MAX):
        await catalog.peers.accept(OPERATOR, peer(Domain(f"m{number}.x")))
    with pytest.raises(ConflictError, match="already"):
        await catalog.peers.accept(OPERATOR, peer())
    await catalog.peers.accept(OPERATOR, peer(Domain("m0.x"), sequence=6))
    await catalog.peers.remove(OPERATOR, Domain("m1.x"))
    await catalog.peers.accept(OPERATOR, peer())
    with pytest.raises(ConflictError, match="already"):
        await catalog.peers.accept(OPERATOR, peer(Domain("m1.x")))


async def test_what_is_done_to_peers_is_in_the_audit(catalog: Catalog, clock: ManualClock) -> None:
    await invite(catalog, clock, confirms=True)
    await catalog.peers.redeem("c1", peer(), request_id="r9")
    await catalog.peers.confirm(OPERATOR, BOB)
    await catalog.peers.remove(OPERATOR, BOB)
    rows = await catalog.audit.list(since_ms=0, limit=9)
    assert [(row.actor, row.action, row.target, row.detail) for row in rows][1:] == [
        (str(EVERYBODY.principal), "peer", "c1", f"peer invite of {OPERATOR.principal}, waiting"),
        (str(OPERATOR.principal), "peer-confirm", BOB, ""),
        (str(OPERATOR.principal), "peer-remove", BOB, "0 grants ended"),
    ]


# --- grants of peers' people --------------------------------------------------------------------------


async def test_a_grant_to_a_member_is_everybodys_of_that_member_at_each_call(
    catalog: Catalog,
) -> None:
    await catalog.names.make_directory(OPERATOR, p("/a"), parents=False)
    await catalog.peers.accept(OPERATOR, peer())
    await grant(catalog, EVERYBODY, "/a", Right.READ)
    assert await may_read(catalog, EVE)
    assert await may_read(catalog, FAY)
    assert not await may_read(catalog, person("dan", CAROL))
    assert not await may_read(catalog, ANNA)
    with pytest.raises(PermissionDeniedError):
        await catalog.names.make_directory(EVE, p("/a/b"), parents=False)


async def test_a_revoked_person_of_a_peer_has_no_part_in_a_grant_to_their_member(
    catalog: Catalog,
) -> None:
    await catalog.names.make_directory(OPERATOR, p("/a"), parents=False)
    await catalog.peers.accept(OPERATOR, peer())
    await grant(catalog, EVERYBODY, "/a", ALL)
    await catalog.grants.add(EVE, p("/a"), Right.READ, ANNA.principal, None)
    await catalog.revocations.revoke(OPERATOR, str(EVE.principal))
    with pytest.raises(ShutOutError):
        await catalog.names.stat(EVE, p("/a"))
    assert not await may_read(catalog, ANNA)
    assert await may_read(catalog, FAY)


async def grants_of_all_kinds(catalog: Catalog) -> None:
    """Give to and by people of bob, directly and as a member, pass on, and give beside it."""
    await catalog.names.make_directory(OPERATOR, p("/a"), parents=False)
    await catalog.peers.accept(OPERATOR, peer())
    await catalog.peers.accept(OPERATOR, peer(CAROL))
    await grant(catalog, EVERYBODY, "/a", ALL)
    await grant(catalog, EVE, "/a", ALL)
    await catalog.grants.add(EVE, p("/a"), ALL, ANNA.principal, None)
    await catalog.grants.add(FAY, p("/a"), Right.READ, person("dan", CAROL).principal, None)
    await catalog.grants.add(ANNA, p("/a"), Right.READ, user("zoe").principal, None)
    await grant(catalog, person("gus", CAROL), "/a", Right.READ)
    await grant(catalog, user("own"), "/a", ALL)
    await catalog.grants.add(user("own"), p("/a"), Right.READ, EVE.principal, None)


GONE: Final = (EVE, FAY, ANNA, person("dan", CAROL), user("zoe"))
STAYING: Final = (person("gus", CAROL), user("own"))


async def test_with_a_peer_end_all_grants_to_its_people_by_them_and_passed_on_from_them(
    catalog: Catalog,
) -> None:
    await grants_of_all_kinds(catalog)
    for who in (*GONE, *STAYING):
        assert await may_read(catalog, who), who
    await catalog.peers.remove(OPERATOR, BOB)
    assert [who for who in GONE if await may_read(catalog, who)] == []
    assert [who for who in STAYING if not await may_read(catalog, who)] == []
    left = [one.principal for one in await catalog.grants.list(OPERATOR)]
    assert sorted(map(str, left)) == sorted(str(one.principal) for one in STAYING)


async def test_a_grant_that_comes_just_after_the_end_of_a_peering_is_refused(
    catalog: Catalog,
) -> None:
    """Whom it is for was decided before: it would revive with the next peering."""
    await catalog.peers.accept(OPERATOR, peer())
    await grant(catalog, EVE, "/a", Right.READ)
    await catalog.peers.remove(OPERATOR, BOB)
    with pytest.raises(NotFoundError):
        await grant(catalog, EVE, "/b", Right.READ)
    assert not await may_read(catalog, EVE, "/b")


async def test_grants_that_ended_with_a_peer_do_not_revive_when_it_peers_again(
    catalog: Catalog, engines: Engines
) -> None:
    """Not though most of them are deleted later, nor after a restart."""
    engines.bound(Bound.DROPPED_GRANTS, 0)
    await grants_of_all_kinds(catalog)
    await catalog.peers.remove(OPERATOR, BOB)
    await catalog.peers.accept(OPERATOR, peer(sequence=6))
    for _ in range(2):
        assert [who for who in GONE if await may_read(catalog, who)] == []
        assert [who for who in STAYING if not await may_read(catalog, who)] == []
        await catalog.close()
        catalog = await engines.open()
    await catalog.upkeep.expire()
    assert len(list(await catalog.grants.list(OPERATOR))) == len(STAYING)
    await grant(catalog, EVERYBODY, "/a", Right.READ)
    assert await may_read(catalog, EVE)
    assert not await may_read(catalog, ANNA)


async def test_another_ca_that_replaces_a_peers_gets_none_of_its_grants(catalog: Catalog) -> None:
    await grants_of_all_kinds(catalog)
    with pytest.raises(ConflictError, match="--replace"):
        await catalog.peers.accept(OPERATOR, peer(ca=OTHER_CA))
    assert await may_read(catalog, EVE)
    await catalog.peers.accept(OPERATOR, peer(sequence=9), replaces=True)
    assert await may_read(catalog, EVE), "it is the same CA: nothing was replaced"
    stored = await catalog.peers.accept(OPERATOR, peer(ca=OTHER_CA), replaces=True)
    assert (stored.authority_digest, stored.state) == (OTHER_CA, PeerState.ACTIVE)
    assert [who for who in GONE if await may_read(catalog, who)] == []


async def test_a_ca_that_followed_by_succession_keeps_its_grants(catalog: Catalog) -> None:
    await grants_of_all_kinds(catalog)
    await catalog.peers.renew(peer(sequence=6, ca=OTHER_CA))
    assert await may_read(catalog, EVE)


async def test_what_a_person_of_a_peer_may_share_they_give_by_grants_and_never_by_invites(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.names.make_directory(OPERATOR, p("/a"), parents=False)
    await catalog.peers.accept(OPERATOR, peer())
    await grant(catalog, EVE, "/a", ALL)
    terms = (GrantTerms(p("/a"), Right.READ),)
    code = Invite(
        "c1", InviteKind.USER, b"v" * 32, 1, 1, clock.wall_s() + 60, EVE.principal, grants=terms
    )
    with pytest.raises(PermissionDeniedError, match="no invites"):
        await catalog.codes.add(EVE, code)
    await catalog.grants.add(EVE, p("/a"), Right.READ, FAY.principal, None)
    assert await may_read(catalog, FAY)


async def test_what_a_person_of_a_peer_does_is_judged_by_their_own_grants(catalog: Catalog) -> None:
    """Not by those of their coordinator's certificate, nor of a namesake of this member."""
    await catalog.peers.accept(OPERATOR, peer())
    await grant(catalog, user("eve"), "/", 7)
    with pytest.raises(PermissionDeniedError):
        await catalog.names.make_directory(EVE, p("/a"), parents=False)
    with pytest.raises(PermissionDeniedError):
        await catalog.names.remove(EVE, p("/a"), recursive=False, condition=ANY)


# --- the own bundle ------------------------------------------------------------------------------------


async def test_the_own_bundles_number_rises_with_what_it_says_and_outlives_a_restart(
    catalog: Catalog, engines: Engines
) -> None:
    own = catalog.peers
    told = [await own.own_sequence(text) for text in (b"a", b"a", b"b", b"a", b"a")]
    first, second, third = told[0], told[2], told[3]
    assert told == [first, first, second, third, third]
    assert 0 < first < second < third
    await catalog.close()
    again = (await engines.open()).peers
    kept, next_one = [await again.own_sequence(text) for text in (b"a", b"b")]
    assert kept == third
    assert next_one > third


async def test_a_restored_member_resumes_above_the_number_that_a_peer_has_seen(
    catalog: Catalog, engines: Engines
) -> None:
    first = await catalog.peers.own_sequence(b"a")
    kept = await engines.keep()
    for text in (b"b", b"c", b"d"):
        seen = await catalog.peers.own_sequence(text)
    catalog = await engines.put_back(kept)
    own = catalog.peers
    assert await own.own_sequence(b"a") == first
    resumed = await own.own_sequence(b"a", echoed=seen)
    assert resumed > seen
    assert await own.own_sequence(b"a", echoed=seen) == resumed, "heard from another, too"
    assert await own.own_sequence(b"b") > resumed


async def test_futures_of_one_backup_have_no_number_in_common(
    catalog: Catalog, engines: Engines
) -> None:
    """Else peers that hold the one future's bundle never take the other's, which has the same number."""
    await catalog.peers.own_sequence(b"a")
    kept = await engines.keep()
    given = [await catalog.peers.own_sequence(text) for text in (b"b", b"c")]
    for _ in range(3):
        catalog = await engines.put_back(kept)
        given += [await catalog.peers.own_sequence(text) for text in (b"d", b"e")]
    seen = given[0]
    for _ in range(2):  # two that are shown the same by different peers
        catalog = await engines.put_back(kept)
        given += [await catalog.peers.own_sequence(b"a", echoed=seen)]
    assert len(set(given)) == len(given)
