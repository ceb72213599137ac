from collections.abc import Awaitable
from dataclasses import replace

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import IssuedCertificate, ReadView
from collective.core.clock import ManualClock
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ShutOutError,
    UsageError,
)
from collective.core.ids import SpiffeId
from collective.model.audit import Refusal
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.people import Invite, InviteKind
from collective.model.rights import GrantTerms, Right
from tests.contract.catalog.engines import Bound, Engines
from tests.contract.catalog.world import (
    ANY,
    DOMAIN,
    NODES,
    OPERATOR,
    begin,
    enrol,
    extent,
    grant,
    intent,
    p,
    place_on,
    receipts,
    user,
    write,
)

BOB = user("bob")
KEY = b"k" * 32
"""The key that bob calls with, where it matters."""


def code(clock: ManualClock, kind: InviteKind = InviteKind.USER, uses: int = 1) -> Invite:
    return Invite(
        "c1", kind, b"v" * 32, uses, uses, clock.wall_s() + 60, OPERATOR.principal,
        grants=(GrantTerms(p("/a"), Right.READ),),
    )  # fmt: skip


ISSUED = IssuedCertificate(BOB.principal, "ab12", 10**15, b"der")


async def test_a_code_is_used_once_and_repeats_its_answer_to_the_same_key(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, code(clock))
    first = await catalog.codes.redeem("c1", b"k" * 32, ISSUED)
    assert await catalog.codes.redeem("c1", b"k" * 32, ISSUED) == first
    with pytest.raises(ConflictError, match="used up"):
        await catalog.codes.redeem("c1", b"j" * 32, ISSUED)
    assert [(str(g.path), g.rights) for g in await catalog.grants.list(BOB)] == [("/a", Right.READ)]
    assert (await catalog.codes.get("c1")).uses_left == 0


async def test_expired_revoked_and_unknown_codes_are_refused(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, code(clock, uses=9))
    await catalog.codes.add(OPERATOR, replace(code(clock, uses=9), id="c2"))
    await catalog.codes.revoke(OPERATOR, "c2")
    with pytest.raises(ConflictError, match="revoked"):
        await catalog.codes.redeem("c2", b"k" * 32, ISSUED)
    with pytest.raises(ConflictError):
        await catalog.codes.revoke(OPERATOR, "c2")
    clock.advance(61)
    with pytest.raises(ConflictError, match="expired"):
        await catalog.codes.redeem("c1", b"k" * 32, ISSUED)
    with pytest.raises(NotFoundError):
        await catalog.codes.redeem("none", b"k" * 32, ISSUED)


async def test_looking_whether_a_code_was_redeemed_uses_nothing(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, code(clock))
    assert await catalog.codes.redeemed("c1", b"k" * 32) is None
    assert (await catalog.codes.get("c1")).uses_left == 1
    first = await catalog.codes.redeem("c1", b"k" * 32, ISSUED)
    assert await catalog.codes.redeemed("c1", b"k" * 32) == first
    with pytest.raises(ConflictError, match="used up"):
        await catalog.codes.redeemed("c1", b"j" * 32)
    with pytest.raises(NotFoundError):
        await catalog.codes.redeemed("none", b"k" * 32)


async def test_a_user_may_pass_on_no_more_than_he_has(catalog: Catalog) -> None:
    await grant(catalog, BOB, "/a", 5)
    eve = user("eve").principal
    with pytest.raises(PermissionDeniedError):
        await catalog.grants.add(BOB, p("/a"), Right.WRITE, eve, None)
    await catalog.grants.add(BOB, p("/a/b"), Right.READ, eve, None)
    with pytest.raises(PermissionDeniedError):
        await catalog.grants.add(user("eve"), p("/a/b"), Right.READ, eve, None)


async def test_what_was_passed_on_is_gone_with_its_source_for_good(catalog: Catalog) -> None:
    source = await grant(catalog, BOB, "/a", 5)
    eve = user("eve")
    await catalog.grants.add(BOB, p("/a"), Right.READ, eve.principal, None)
    with pytest.raises(PermissionDeniedError):
        await catalog.grants.remove(eve, source)
    await catalog.grants.remove(OPERATOR, source)
    assert await catalog.grants.list(eve) == []
    await grant(catalog, BOB, "/a", 5)
    assert await catalog.grants.list(eve) == []


async def test_revocations_raise_the_epoch_and_are_learned_back(catalog: Catalog) -> None:
    with pytest.raises(PermissionDeniedError):
        await catalog.revocations.revoke(BOB, "serial:ab")
    with pytest.raises(UsageError):
        await catalog.revocations.revoke(OPERATOR, "serial:'; DROP TABLE")
    first = await catalog.revocations.revoke(OPERATOR, "serial:ab")
    await catalog.revocations.learn([str(BOB.principal), "serial:ab"])
    epoch, revoked = await catalog.revocations.all()
    assert epoch == first + 1
    assert set(revoked) == {"serial:ab", str(BOB.principal)}
    rows = await catalog.audit.list(since_ms=0, limit=100)
    told = [(row.actor, row.target) for row in rows if row.detail == "learned back from a node"]
    assert told == [("coordinator", str(BOB.principal))]


async def test_the_epoch_never_falls_behind_what_a_node_has_seen(catalog: Catalog) -> None:
    first = await catalog.revocations.revoke(OPERATOR, "serial:ab")
    await catalog.revocations.learn(["serial:ab"], epoch=first + 7)
    assert (await catalog.revocations.all())[0] == first + 7
    await catalog.revocations.learn(["serial:cd"], epoch=first + 2)
    assert (await catalog.revocations.all())[0] == first + 8
    assert await catalog.revocations.revoke(OPERATOR, "serial:ef") == first + 9


async def open_read(catalog: Catalog, who: Call) -> ReadView:
    return await catalog.reads.open(who, p("/a/file"), offset=0, length=9, if_version=0, batch=9)


@pytest.mark.parametrize("what", [str(BOB.principal), f"key:{KEY.hex()}"])
async def test_a_revoked_caller_is_shut_out_of_every_call_at_once(
    catalog: Catalog, clock: ManualClock, what: str
) -> None:
    """Before his connections are closed, too: he is not told to ask for a grant."""
    await enrol(catalog)
    bob = BOB._replace(key_digest=KEY)
    mine = await grant(catalog, bob, "/", 7)
    await catalog.names.make_directory(OPERATOR, p("/a"), parents=False)
    await write(catalog, "/a/file", "x")
    upload, wanted = await begin(catalog, "/a/new", "y", who=bob)
    lease = (await open_read(catalog, bob)).lease
    await catalog.revocations.revoke(OPERATOR, what)
    calls: dict[str, Awaitable[object]] = {
        "mkdir": catalog.names.make_directory(bob, p("/d"), parents=False),
        "stat": catalog.names.stat(bob, p("/a/file")),
        "list": catalog.names.list(bob, p("/"), recursive=False, page_size=3, token=""),
        "remove": catalog.names.remove(bob, p("/a/file"), recursive=False, condition=ANY),
        "move": catalog.names.move(bob, p("/a/file"), p("/a/else"), condition=ANY),
        "open_upload": begin(catalog, "/a/newer", "z", who=bob),
        "allocate": catalog.uploads.allocate(bob, upload.id, [intent("z", 10)], place_on(*NODES)),
        "record": catalog.uploads.record_extents(
            bob, upload.id, [extent(wanted[0])], receipts(upload)
        ),
        "commit": catalog.uploads.commit(bob, upload.id, [extent(wanted[0])], receipts(upload), 10),
        "get_upload": catalog.uploads.get(bob, upload.id, from_offset=0, limit=9),
        "check_upload": catalog.uploads.check(bob, upload.id),
        "open_read": open_read(catalog, bob),
        "plan_read": catalog.reads.plan(bob, lease, offset=0, length=9, batch=9),
        "datastores": catalog.datastores.list(bob),
        "create_datastore": catalog.datastores.create(
            bob, p("/store"), copies=1, quota_bytes=0, owner=None
        ),
        "add_code": catalog.codes.add(bob, code(clock)),
        "invites": catalog.codes.list(bob, only_open=False),
        "identities": catalog.identities.list(bob),
        "is_admin": catalog.identities.is_admin(bob),
        "require_admin": catalog.identities.require_admin(bob, "x"),
        "require_revoker": catalog.revocations.require_revoker(bob, "serial:ab"),
        "revoke": catalog.revocations.revoke(bob, "serial:ab"),
        "add_grant": catalog.grants.add(bob, p("/"), Right.READ, user("eve").principal, None),
        "grants": catalog.grants.list(bob),
        "remove_grant": catalog.grants.remove(bob, mine),
        "totals": catalog.figures.totals(bob, frozenset()),
        "drain": catalog.nodes.drain(bob, NODES[0], draining=True),
    }
    if what.startswith("key:"):  # the call that is about the key alone
        calls["see"] = catalog.certificates.see(
            OPERATOR.principal, bob.principal, "cd", 10**15, KEY
        )
    told = dict.fromkeys(calls, "")
    for name, call in calls.items():
        try:
            await call
        except CollectiveError as error:
            told[name] = error.code
    assert told == dict.fromkeys(calls, ShutOutError.code)


async def test_node_numbers_never_repeat(catalog: Catalog, engines: Engines) -> None:
    assert [await catalog.nodes.next_number() for _ in range(3)] == [1, 2, 3]
    await engines.close()
    assert await (await engines.open()).nodes.next_number() == 4


async def test_every_change_and_every_refusal_leaves_an_audit_row(catalog: Catalog) -> None:
    await catalog.names.make_directory(OPERATOR, p("/d"), parents=False)
    with pytest.raises(PermissionDeniedError) as refused:
        await catalog.names.make_directory(BOB, p("/x"), parents=False)
    assert refused.value.concerns == ("mkdir", "/x")
    catalog.audit.note_denial(Refusal(str(BOB.principal), "mkdir", "/x"))
    catalog.audit.note_denial(Refusal(str(BOB.principal), "call", "/y", "why", "10.1.2.3"))
    rows = [
        (row.action, row.target, row.detail)
        for row in await catalog.audit.list(since_ms=0, limit=9)
    ]
    assert rows == [
        ("mkdir", "/d", ""),
        ("mkdir", "/x", "denied"),
        ("call", "/y", "denied: why [from 10.1.2.3]"),
    ]


async def test_what_is_done_to_nodes_is_in_the_audit_in_words(catalog: Catalog) -> None:
    await enrol(catalog, 1)
    for draining in (True, False):
        await catalog.nodes.drain(OPERATOR, NODES[0], draining=draining)
    with pytest.raises(PermissionDeniedError) as refused:
        await catalog.nodes.drain(BOB, NODES[0], draining=True)
    assert refused.value.concerns == ("node-drain", NODES[0])
    identity = SpiffeId.node(DOMAIN, NODES[0])
    with pytest.raises(PermissionDeniedError) as refused:
        await catalog.nodes.remove(BOB, NODES[0], identity, force=True)
    assert refused.value.concerns == ("node-remove", NODES[0])
    await catalog.nodes.remove(OPERATOR, NODES[0], identity, force=False)
    assert (await catalog.revocations.all())[1] == [str(identity)]
    rows = [row for row in await catalog.audit.list(since_ms=0, limit=99) if "node-" in row.action]
    assert [(row.action, row.target, row.detail) for row in rows] == [
        ("node-drain", NODES[0], ""),
        ("node-use", NODES[0], ""),
        ("node-remove", NODES[0], ""),
    ]


async def test_an_enrolment_is_in_the_audit_once(catalog: Catalog, clock: ManualClock) -> None:
    await catalog.codes.add(OPERATOR, code(clock, InviteKind.NODE))
    node = SpiffeId.node(DOMAIN, NODES[0])
    await catalog.codes.redeem("c1", b"k" * 32, IssuedCertificate(node, "ab", 10**15, b""))
    rows = await catalog.audit.list(since_ms=0, limit=99)
    assert [row.action for row in rows] == ["invite", "redeem"]


async def test_a_catalogue_that_is_obeyed_has_nothing_to_adopt(catalog: Catalog) -> None:
    with pytest.raises(ConflictError, match="nothing to adopt"):
        await catalog.restores.adopt(OPERATOR, None, obeyed={}, claims=())
    assert await catalog.audit.list(since_ms=0, limit=9) == []


async def test_a_denied_invite_is_audited_by_the_paths_it_was_for(
    catalog: Catalog, clock: ManualClock
) -> None:
    with pytest.raises(PermissionDeniedError) as refused:
        await catalog.codes.add(BOB, code(clock))
    assert refused.value.concerns == ("invite", "/a")


async def test_what_many_have_from_one_grant_ends_with_it_though_it_is_deleted_in_steps(
    engines: Engines, clock: ManualClock
) -> None:
    engines.bound(Bound.DROPPED_GRANTS, 2)
    catalog = await engines.open()
    given = await grant(catalog, BOB, "/d", Right.READ | Right.SHARE)
    takers = [user(f"u{number}") for number in range(5)]
    for taker in takers:
        await catalog.grants.add(BOB, p("/d"), Right.READ, taker.principal, None)
    await catalog.grants.remove(OPERATOR, given)
    for _ in range(2):
        assert not await all_grants(catalog)
        for taker in takers:
            assert not await catalog.grants.own(taker)
        await catalog.close()
        catalog = await engines.open()
    await catalog.upkeep.expire()
    assert not await all_grants(catalog)


async def all_grants(catalog: Catalog) -> list[Grant]:
    return list(await catalog.grants.list(OPERATOR))
