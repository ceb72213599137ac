"""What one user can pile up is bounded, and harms nobody else: grants, invites, long listings."""

from dataclasses import replace

import pytest

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import IssuedCertificate
from collective.core import limits
from collective.core.clock import ManualClock
from collective.core.errors import (
    ConflictError,
    NameTakenError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.people import InviteKind
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition
from tests.contract.catalog.engines import Engines
from tests.contract.catalog.test_people import as_, invite
from tests.contract.catalog.world import OPERATOR, grant, p, place_on, user

BOB, EVE, DAN = user("bob"), user("eve"), user("dan")
READ, SHARE = Right.READ, Right.SHARE
ALL = Right.READ | Right.WRITE | Right.SHARE
LONG = "/s/" + "/".join(["d" * 250] * 15)


async def give(catalog: Catalog, giver: Call, taker: Call, count: int) -> None:
    for number in range(count):
        await catalog.grants.add(giver, p(f"/s/{number}"), READ, taker.principal, None)


async def test_grants_without_end_are_refused_by_giver_and_to_one_receiver(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRANTS_PER_GIVER_MAX", 8)
    monkeypatch.setattr(limits, "GRANTS_PER_PAIR_MAX", 5)
    await grant(catalog, BOB, "/s", ALL)
    await give(catalog, BOB, EVE, 5)
    with pytest.raises(ConflictError, match=r"given eve@home\.alice 5 grants"):
        await give(catalog, BOB, EVE, 1)
    await give(catalog, BOB, DAN, 3)
    with pytest.raises(ConflictError, match="has given 8 grants"):
        await give(catalog, BOB, user("zoe"), 1)
    await catalog.grants.add(OPERATOR, p("/s"), READ, EVE.principal, None)
    (mine, *_) = [one for one in await catalog.grants.list(BOB) if one.granted_by == BOB.principal]
    await catalog.grants.remove(BOB, mine.id)
    await give(catalog, BOB, user("zoe"), 1)


async def test_a_receivers_places_and_the_places_in_all_are_never_lost_to_admins(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRANTS_PER_RECEIVER_MAX", 4)
    for one in (BOB, DAN):
        await grant(catalog, one, "/s", ALL)
    await give(catalog, BOB, EVE, 4)
    with pytest.raises(ConflictError, match=r"eve@home\.alice has 4 grants"):
        await give(catalog, DAN, EVE, 1)
    await give(catalog, OPERATOR, EVE, 1)
    monkeypatch.setattr(limits, "GRANTS_PASSED_ON_MAX", 7)
    with pytest.raises(ConflictError, match="too many grants"):
        await give(catalog, DAN, user("zoe"), 1)
    await give(catalog, OPERATOR, user("zoe"), 1)


async def test_grants_that_ended_make_place_and_are_deleted_after_a_day(
    catalog: Catalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRANTS_PER_GIVER_MAX", 3)
    await grant(catalog, BOB, "/s", ALL)
    soon_s = clock.wall_s() + 1
    ended = [
        (await catalog.grants.add(BOB, p(f"/s/{number}"), READ, EVE.principal, soon_s)).id
        for number in range(3)
    ]
    clock.advance(2)
    await give(catalog, BOB, EVE, 3)
    clock.advance(limits.GRANT_KEPT_S)
    await catalog.grants.remove(OPERATOR, ended[0])
    await catalog.upkeep.expire()
    with pytest.raises(NotFoundError):
        await catalog.grants.remove(OPERATOR, ended[1])
    assert len(await catalog.grants.list(OPERATOR)) == 4


async def test_redemptions_of_one_invite_count_as_its_makers_grants(
    catalog: Catalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRANTS_PER_GIVER_MAX", 2)
    await grant(catalog, BOB, "/s", ALL)
    await catalog.codes.add(BOB, invite(clock, ("/s", 1), by=BOB))
    await catalog.codes.redeem("c1", b"1" * 32, as_(EVE, "01"))
    await catalog.codes.redeem("c1", b"2" * 32, as_(DAN, "02"))
    with pytest.raises(ConflictError, match="has given 2 grants"):
        await catalog.codes.redeem("c1", b"3" * 32, as_(user("zoe"), "03"))
    assert (await catalog.codes.get("c1")).uses_left == 7


async def test_a_receiver_removes_what_was_put_upon_him_and_nobody_else_does(
    catalog: Catalog,
) -> None:
    await grant(catalog, BOB, "/s", ALL)
    given = await catalog.grants.add(BOB, p("/s"), READ | SHARE, EVE.principal, None)
    below = await catalog.grants.add(EVE, p("/s"), READ, DAN.principal, None)
    for other in (DAN, user("zoe")):
        with pytest.raises(PermissionDeniedError):
            await catalog.grants.remove(other, given.id)
    await catalog.grants.remove(EVE, given.id)
    assert await catalog.grants.list(EVE) == []
    assert await catalog.grants.list(DAN) == []
    with pytest.raises(PermissionDeniedError):
        await catalog.grants.remove(EVE, below.id)


async def make(catalog: Catalog, clock: ManualClock, number: int, size: int = 1) -> None:
    code = invite(clock, *[(LONG, 1)] * size, code_id=f"c{number}", by=BOB)
    await catalog.codes.add(BOB, replace(code, created_s=clock.wall_s()))


async def test_invites_made_and_revoked_without_end_are_refused_until_tomorrow(
    catalog: Catalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CODES_PER_DAY_MAX", 5)
    await grant(catalog, BOB, "/s", ALL)
    for number in range(5):
        await make(catalog, clock, number)
        await catalog.codes.revoke(BOB, f"c{number}")
    with pytest.raises(ConflictError, match="24 hours"):
        await make(catalog, clock, 5)
    await catalog.codes.add(OPERATOR, invite(clock, ("/s", 1), code_id="op"))
    clock.advance(86401)
    await make(catalog, clock, 6)


async def test_the_bytes_of_invites_are_bounded_by_maker_and_in_all(
    catalog: Catalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CODE_BYTES_PER_DAY_MAX", 600_000)
    await grant(catalog, BOB, "/s", ALL)
    await make(catalog, clock, 0, 64)
    await make(catalog, clock, 1, 64)
    with pytest.raises(ConflictError, match="24 hours"):
        await make(catalog, clock, 2, 64)
    monkeypatch.setattr(limits, "CODE_BYTES_MAX", 400_000)
    clock.advance(86401)
    with pytest.raises(ConflictError, match="too many invites here"):
        await make(catalog, clock, 3)
    await catalog.codes.add(OPERATOR, invite(clock, ("/s", 1), code_id="op"))


async def test_ended_invites_are_deleted_and_repeat_their_answer_until_then(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1), uses=1))
    first = await catalog.codes.redeem("c1", b"k" * 32, as_(BOB))
    await catalog.upkeep.expire()
    clock.advance(limits.CODE_KEPT_S - 10)
    await catalog.upkeep.expire()
    assert await catalog.codes.redeem("c1", b"k" * 32, as_(BOB)) == first
    clock.advance(20)
    await catalog.upkeep.expire()
    assert await catalog.codes.list(OPERATOR, only_open=False) == []
    assert len(await catalog.grants.list(BOB)) == 1
    (bob,) = await catalog.identities.list(OPERATOR)
    assert (len(bob.devices), bob.invited_by) == (1, OPERATOR.principal)
    assert [one.action for one in await catalog.audit.list(since_ms=0, limit=9)][:2] == [
        "invite",
        "redeem",
    ]


async def test_a_node_that_comes_back_is_known_after_its_code_was_swept(
    catalog: Catalog, clock: ManualClock
) -> None:
    node = SpiffeId.parse("spiffe://home.alice/node/n9")
    for code_id in ("c1", "c2"):
        await catalog.codes.add(OPERATOR, invite(clock, code_id=code_id, kind=InviteKind.NODE))
    await catalog.codes.redeem("c1", b"n" * 32, IssuedCertificate(node, "0a", 1, b"d"))
    clock.advance(700)
    await catalog.upkeep.expire()
    clock.advance(limits.CODE_KEPT_S + 1)
    await catalog.upkeep.expire()
    assert [one.id for one in await catalog.codes.list(OPERATOR, only_open=False)] == ["c1"]
    assert await catalog.codes.has_redeemed(node, b"n" * 32)


async def test_long_lists_come_in_pages_that_miss_nothing(
    catalog: Catalog, clock: ManualClock
) -> None:
    await grant(catalog, BOB, "/s", ALL)
    for number in range(7):
        await catalog.grants.add(BOB, p(f"{LONG}/{number}"), READ, EVE.principal, None)
        await make(catalog, clock, number)
        await catalog.codes.redeem(
            "c0", bytes([number]) * 32, as_(user(f"u{number}"), f"0{number}")
        )
    for caller in (OPERATOR, BOB, EVE):
        seen, token, pages = list[str](), "", 0
        while pages == 0 or token:
            page = await catalog.grants.list(caller, token=token, max_bytes=10_000)
            seen, token, pages = [*seen, *(one.id for one in page)], page.next_token, pages + 1
        assert seen == [one.id for one in await catalog.grants.list(caller)]
        assert pages > 1
    for caller in (OPERATOR, BOB):
        seen, token = [], ""
        while not seen or token:
            codes = await catalog.codes.list(caller, only_open=False, token=token, max_bytes=9_000)
            seen, token = [*seen, *(one.id for one in codes)], codes.next_token
            assert len(codes) <= 2
        assert seen == [f"c{number}" for number in reversed(range(7))]
    seen, token = [], ""
    while not seen or token:
        people = await catalog.identities.list(OPERATOR, token=token, max_bytes=600)
        seen, token = [*seen, *(str(one.principal)[-2:] for one in people)], people.next_token
        assert len(people) < 7
    assert seen == [f"u{number}" for number in range(7)]
    for bad in ("!", "bnVsbA==", "WzEsMl0=", "x" * 20_000):
        with pytest.raises(UsageError):
            await catalog.grants.list(BOB, token=bad)
        with pytest.raises(UsageError):
            await catalog.identities.list(BOB, token=bad)


async def test_files_with_much_metadata_make_no_page_that_does_not_fit(
    catalog: Catalog,
) -> None:
    await catalog.names.make_directory(OPERATOR, p("/s"), parents=False)
    metadata = {f"{number:04}": "v" * 1000 for number in range(16)}
    for number in range(300):
        upload = await catalog.uploads.open(
            OPERATOR,
            p(f"/s/{number:03}"),
            Attributes(metadata=metadata),
            Precondition(),
            [],
            place_on(),
        )
        await catalog.uploads.commit(OPERATOR, upload.id, [], [], 0)
    seen, token, pages = 0, "", 0
    while not pages or token:
        page = await catalog.names.list(
            OPERATOR, p("/s"), recursive=False, page_size=0, token=token
        )
        size = sum(
            len(key) + len(value) for one in page.entries for key, value in one.metadata.items()
        )
        assert size < limits.RPC_MESSAGE_MAX_BYTES - 500_000
        seen, token, pages = seen + len(page.entries), page.next_token, pages + 1
    assert seen == 300
    assert pages > 1


async def test_a_name_that_a_stranger_was_granted_can_still_be_claimed(
    catalog: Catalog, clock: ManualClock
) -> None:
    await grant(catalog, BOB, "/s", ALL)
    await catalog.grants.add(BOB, p("/s"), READ, EVE.principal, None)
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1)))
    await catalog.codes.redeem("c1", b"e" * 32, as_(EVE))
    assert [str(one.path) for one in await catalog.grants.list(EVE)] == ["/a"]
    assert "ungrant" in [one.action for one in await catalog.audit.list(since_ms=0, limit=9)]


async def test_an_invite_does_not_tell_who_is_known_here(
    catalog: Catalog, clock: ManualClock
) -> None:
    await grant(catalog, DAN, "/secret", 1)
    await catalog.codes.add(OPERATOR, invite(clock, ("/a", 1)))
    await catalog.codes.redeem("c1", b"k" * 32, as_(BOB))
    told = []
    for taken in (BOB, DAN):
        with pytest.raises(NameTakenError) as refused:
            await catalog.codes.redeem("c1", b"j" * 32, as_(taken, "02"))
        told.append(refused.value.message.replace(str(taken.principal.global_id), "X"))
    assert told[0] == told[1]


async def test_certificates_are_forgotten_when_they_can_renew_no_more(
    catalog: Catalog, clock: ManualClock
) -> None:
    soon_ms = int(clock.wall_s() * 1000) + 1000
    await catalog.certificates.add_issued(BOB.principal, "0a", soon_ms, b"k" * 32)
    clock.advance(limits.EXPIRED_RENEWAL_S)
    await catalog.upkeep.expire()
    assert await catalog.certificates.key_of("0a") == b"k" * 32
    clock.advance(2 * 86400)
    await catalog.upkeep.expire()
    assert await catalog.certificates.key_of("0a") is None


async def test_granting_and_removing_without_end_is_refused_until_tomorrow(
    catalog: Catalog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RIGHTS_CHANGES_PER_DAY_MAX", 6)
    await grant(catalog, BOB, "/s", ALL)
    for _ in range(3):
        given = await catalog.grants.add(BOB, p("/s"), READ, EVE.principal, None)
        await catalog.grants.remove(BOB, given.id)
    with pytest.raises(ConflictError, match="24 hours"):
        await give(catalog, BOB, EVE, 1)
    clock.advance(86401)
    await give(catalog, BOB, EVE, 1)


async def test_a_flood_of_ones_own_renewals_and_files_keeps_ones_own_history_of_rights(
    engines: Engines,
) -> None:
    engines.settings = replace(engines.settings, audit_changes_max=50, audit_refusals_max=50)
    catalog = await engines.open()
    await grant(catalog, BOB, "/", ALL)
    given = await catalog.grants.add(BOB, p("/s"), READ, EVE.principal, None)
    for number in range(1100):
        await catalog.certificates.add_issued(BOB.principal, f"{number:x}", 10**14, b"k" * 32)
        if number % 2:
            await catalog.names.make_directory(BOB, p(f"/{number}"), parents=False)
    await catalog.upkeep.expire()
    found = await catalog.audit.list(since_ms=0, limit=9999)
    assert len(found) < 200
    assert [one.target for one in found if one.action == "grant"][-1] == str(given.path)
