"""Identities and their keys, invites within one's own rights, and chains that end."""

from dataclasses import replace

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import IssuedCertificate
from collective.core.clock import ManualClock
from collective.core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ShutOutError,
)
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.people import Invite, InviteKind
from collective.model.rights import GrantTerms, Right
from tests.contract.catalog.world import OPERATOR, enrol, grant, p, user, write

BOB, EVE, DAN = user("bob"), user("eve"), user("dan")
READ, WRITE, SHARE = Right.READ, Right.WRITE, Right.SHARE


def invite(
    clock: ManualClock,
    *grants: tuple[str, int],
    code_id: str = "c1",
    by: Call = OPERATOR,
    uses: int = 9,
    kind: InviteKind = InviteKind.USER,
    bound: SpiffeId | None = None,
) -> Invite:
    return Invite(
        code_id, kind, b"v" * 32, uses, uses, clock.wall_s() + 600, by.principal,
        grants=tuple(GrantTerms(p(path), Right(rights)) for path, rights in grants), bound=bound,
    )  # fmt: skip


def as_(who: Call, serial: str = "ab") -> IssuedCertificate:
    return IssuedCertificate(who.principal, serial, 10**15, b"der of " + serial.encode())


async def test_redemption_records_identity_key_certificate_grants_and_audit_together(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 3), ("/b", 1)))
    await catalog.codes.redeem("c1", b"k" * 32, as_(BOB, "01"), display_name="Bob", request_id="r9")
    (bob,) = await catalog.identities.list(OPERATOR)
    assert (bob.principal, bob.display_name, len(bob.devices)) == (BOB.principal, "Bob", 1)
    assert bob.invited_by == OPERATOR.principal
    assert [one.serial for one in bob.certificates] == ["01"]
    assert [(str(g.path), g.rights) for g in await catalog.grants.list(BOB)] == [
        ("/a", READ | WRITE),
        ("/b", READ),
    ]
    (listed,) = await catalog.codes.list(OPERATOR, only_open=True)
    assert [(use.identity, listed.uses_left) for use in listed.uses] == [(BOB.principal, 8)]
    last = (await catalog.audit.list(since_ms=0, limit=100))[-1]
    assert (last.action, last.target, last.request_id) == ("redeem", "c1", "r9")


async def test_a_global_id_that_belongs_to_another_key_is_refused_and_costs_no_use(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1)))
    await catalog.codes.redeem("c1", b"k" * 32, as_(BOB))
    with pytest.raises(ConflictError, match="add-device"):
        await catalog.codes.redeem("c1", b"j" * 32, as_(BOB, "02"))
    assert (await catalog.codes.get("c1")).uses_left == 8
    await catalog.codes.add(OPERATOR, invite(clock, ("/b", 1), code_id="c2"))
    await catalog.codes.redeem("c2", b"k" * 32, as_(BOB, "03"))
    assert len(await catalog.grants.list(BOB)) == 2


async def test_an_invite_takes_over_no_rights_that_were_given_to_a_name_before(
    catalog: Catalog, clock: ManualClock
) -> None:
    await grant(catalog, BOB, "/secret", 7)
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1)))
    with pytest.raises(ConflictError, match="pki issue"):
        await catalog.codes.redeem("c1", b"e" * 32, as_(BOB))
    assert (await catalog.codes.get("c1")).uses_left == 9


async def test_a_further_device_joins_by_the_identitys_own_code_only(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1)))
    await catalog.codes.redeem("c1", b"k" * 32, as_(BOB))
    device = invite(
        clock, code_id="d1", by=BOB, uses=1, kind=InviteKind.DEVICE, bound=BOB.principal
    )
    with pytest.raises(PermissionDeniedError):
        await catalog.codes.add(EVE, replace(device, created_by=EVE.principal))
    await catalog.codes.add(BOB, device)
    assert (await catalog.codes.get("d1")).bound == BOB.principal
    await catalog.codes.redeem("d1", b"j" * 32, as_(BOB, "02"))
    assert len((await catalog.identities.list(BOB))[0].devices) == 2
    assert len(await catalog.grants.list(BOB)) == 1


async def test_a_revoked_identity_redeems_nothing_and_what_it_passed_on_has_ended(
    catalog: Catalog, clock: ManualClock
) -> None:
    await grant(catalog, BOB, "/a", READ | SHARE)
    await catalog.codes.add(BOB, invite(clock, ("/a", 1), by=BOB))
    await catalog.codes.redeem("c1", b"e" * 32, as_(EVE))
    assert (await catalog.grants.list(EVE))[0].granted_by == BOB.principal
    await catalog.revocations.revoke(OPERATOR, str(BOB.principal))
    with pytest.raises(ShutOutError):
        await catalog.grants.list(BOB)
    assert await catalog.grants.list(EVE) == []
    with pytest.raises(PermissionDeniedError):
        await catalog.names.stat(EVE, p("/a"))
    with pytest.raises(ConflictError, match="void"):
        await catalog.codes.redeem("c1", b"d" * 32, as_(DAN))
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1), code_id="c2"))
    with pytest.raises(ConflictError, match="revoked"):
        await catalog.codes.redeem("c2", b"x" * 32, as_(BOB, "09"))
    with pytest.raises(ConflictError, match="revoked"):
        await catalog.grants.add(OPERATOR, p("/a"), READ, BOB.principal, None)


async def test_when_a_link_ends_all_below_it_ends_open_invites_too(
    catalog: Catalog, clock: ManualClock
) -> None:
    source = await grant(catalog, BOB, "/a", READ | SHARE)
    given = await catalog.grants.add(BOB, p("/a/x"), READ | SHARE, EVE.principal, None)
    assert given.sources == (source,)
    below = await catalog.grants.add(EVE, p("/a/x/y"), READ, DAN.principal, None)
    assert below.sources == (given.id,)
    await catalog.codes.add(EVE, invite(clock, ("/a/x", 1), by=EVE))
    # The same rights from elsewhere save nothing: the chain is what was recorded.
    await grant(catalog, BOB, "/a", READ | WRITE | SHARE)
    await catalog.grants.remove(OPERATOR, source)
    assert await catalog.grants.list(EVE) == []
    assert await catalog.grants.list(DAN) == []
    assert (await catalog.codes.get("c1")).state(clock.wall_s()) == "void"
    with pytest.raises(ConflictError, match="void"):
        await catalog.codes.redeem("c1", b"z" * 32, as_(user("zoe")))
    assert await catalog.codes.list(EVE, only_open=True) == []
    assert [one.void for one in await catalog.codes.list(EVE, only_open=False)] == [True]


async def test_what_is_passed_on_ends_no_later_than_ones_own_right(
    catalog: Catalog, clock: ManualClock
) -> None:
    end_s = clock.wall_s() + 60
    await catalog.grants.add(OPERATOR, p("/a"), READ | SHARE, BOB.principal, end_s)
    given = await catalog.grants.add(BOB, p("/a"), READ, EVE.principal, None)
    assert given.expires_s == end_s
    stored = await catalog.codes.add(BOB, invite(clock, ("/a", 1), by=BOB))
    assert (stored.expires_s, stored.grants_expire_s) == (end_s, end_s)
    await catalog.codes.redeem("c1", b"d" * 32, as_(DAN))
    assert [one.expires_s for one in await catalog.grants.list(DAN)] == [end_s]
    clock.advance(61)
    assert await catalog.grants.list(DAN) == []
    with pytest.raises(ConflictError, match="expired"):
        await catalog.codes.redeem("c1", b"z" * 32, as_(user("zoe")))


async def test_nobody_invites_to_more_than_he_may_share(
    catalog: Catalog, clock: ManualClock
) -> None:
    await grant(catalog, BOB, "/a", READ | SHARE)
    await grant(catalog, BOB, "/b", READ | WRITE)
    for asked in (
        (("/a", WRITE),),
        (("/b", READ),),
        (("/", READ),),
        (("/a", READ), ("/b", READ)),
        (),
    ):
        with pytest.raises(PermissionDeniedError):
            await catalog.codes.add(BOB, invite(clock, *asked, by=BOB))
    with pytest.raises(PermissionDeniedError):
        await catalog.codes.add(BOB, invite(clock, by=BOB, kind=InviteKind.NODE))
    assert await catalog.codes.list(OPERATOR, only_open=False) == []


async def test_an_admin_by_grant_invites_nodes_until_he_is_none(
    catalog: Catalog, clock: ManualClock
) -> None:
    admin = await grant(catalog, BOB, "/", 7)
    await catalog.codes.add(BOB, invite(clock, by=BOB, kind=InviteKind.NODE))
    await catalog.grants.remove(OPERATOR, admin)
    node = IssuedCertificate(SpiffeId.parse("spiffe://home.alice/node/n9"), "0a", 1, b"d")
    with pytest.raises(ConflictError, match="void"):
        await catalog.codes.redeem("c1", b"n" * 32, node)


async def test_others_invites_are_neither_seen_nor_revoked(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1)))
    assert await catalog.codes.list(BOB, only_open=False) == []
    for code_id in ("c1", "none"):
        with pytest.raises(PermissionDeniedError):
            await catalog.codes.revoke(BOB, code_id)
    with pytest.raises(NotFoundError):
        await catalog.codes.revoke(OPERATOR, "none")
    assert (await catalog.codes.revoke(OPERATOR, "c1")).revoked


async def test_a_lost_reply_is_repeated_even_after_the_invite_was_revoked(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1), uses=1))
    first = await catalog.codes.redeem("c1", b"k" * 32, as_(BOB))
    await catalog.codes.revoke(OPERATOR, "c1")
    clock.advance(10_000)
    assert await catalog.codes.redeem("c1", b"k" * 32, as_(BOB, "zz")) == first
    assert len(await catalog.grants.list(BOB)) == 1


async def test_grants_taken_away_count_for_open_uploads_and_reads(
    catalog: Catalog, clock: ManualClock
) -> None:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/a"), parents=False)
    await write(catalog, "/a/f", "one")
    given = await grant(catalog, BOB, "/a", READ)
    view = await catalog.reads.open(BOB, p("/a/f"), offset=0, length=0, if_version=0, batch=4)
    await catalog.grants.remove(OPERATOR, given)
    with pytest.raises(PermissionDeniedError):
        await catalog.reads.plan(BOB, view.lease, offset=0, length=0, batch=4)


async def test_grant_list_shows_ones_own_and_what_came_from_it_and_no_others(
    catalog: Catalog,
) -> None:
    own = await grant(catalog, BOB, "/a", READ | SHARE)
    other = await grant(catalog, DAN, "/a", READ)
    given = await catalog.grants.add(BOB, p("/a"), READ | SHARE, EVE.principal, None)
    deep = await catalog.grants.add(EVE, p("/a"), READ, user("zoe").principal, None)
    assert {one.id for one in await catalog.grants.list(BOB)} == {own, given.id, deep.id}
    assert {one.id for one in await catalog.grants.list(DAN)} == {other}
    assert len(await catalog.grants.list(OPERATOR)) == 4


async def test_a_refusal_says_what_it_concerns(catalog: Catalog) -> None:
    with pytest.raises(PermissionDeniedError) as refused:
        await catalog.identities.require_admin(BOB, "read the audit")
    assert refused.value.concerns == ("admin", "read the audit")
