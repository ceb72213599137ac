"""What an operator decided about a datastore is not shed by taking it away and making it anew."""

import pytest

from collective.catalog.interface import Catalog
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError, PermissionDeniedError
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.rights import Right
from tests.contract.catalog.world import ANY, OPERATOR, begin, enrol, grant, p, user, write

BOB, EVE = user("bob"), user("eve")


async def make(
    catalog: Catalog, copies: int = 0, quota: int = 0, owner: SpiffeId | None = None
) -> None:
    await enrol(catalog)
    await catalog.datastores.create(
        OPERATOR, p("/x"), copies=copies, quota_bytes=quota, owner=owner
    )
    for who in (BOB, EVE):
        if who.principal != owner:
            await grant(catalog, who, "/x", Right.READ | Right.WRITE)
    for path in ("/y", "/open"):
        await grant(catalog, BOB, path, 7)
        await grant(catalog, EVE, path, 7)
    await catalog.names.make_directory(OPERATOR, p("/open"), parents=False)


async def refused(catalog: Catalog, who: Call) -> None:
    """Neither ``rm; mkdir`` nor ``mv; mkdir`` gets rid of the policy."""
    before = await catalog.datastores.list(OPERATOR)
    for recursive in (False, True):
        with pytest.raises(PermissionDeniedError):
            await catalog.names.remove(who, p("/x"), recursive=recursive, condition=ANY)
    for target in ("/y", "/open/x"):
        with pytest.raises(PermissionDeniedError):
            await catalog.names.move(who, p("/x"), p(target), condition=ANY)
    assert await catalog.datastores.list(OPERATOR) == before


@pytest.mark.parametrize(
    ("copies", "quota", "owner"),
    [(0, 1 << 20, None), (2, 0, None), (0, 0, EVE.principal), (1, 1 << 20, EVE.principal)],
)
async def test_a_writer_cannot_shed_quota_copies_or_owner_by_making_the_datastore_anew(
    catalog: Catalog, copies: int, quota: int, owner: SpiffeId | None
) -> None:
    await make(catalog, copies, quota, owner)
    await write(catalog, "/x/f", "a", who=BOB)
    await refused(catalog, BOB)
    await catalog.names.remove(BOB, p("/x/f"), recursive=False, condition=ANY)
    await refused(catalog, BOB)


@pytest.mark.parametrize(("copies", "quota"), [(0, 1 << 20), (2, 0)])
async def test_an_owner_cannot_shed_what_an_operator_set(
    catalog: Catalog, copies: int, quota: int
) -> None:
    await make(catalog, copies, quota, EVE.principal)
    await refused(catalog, EVE)


async def test_an_owner_disposes_of_his_own_and_an_admin_of_all(catalog: Catalog) -> None:
    await make(catalog, owner=EVE.principal)
    await catalog.names.move(EVE, p("/x"), p("/y"), condition=ANY)
    await catalog.names.remove(EVE, p("/y"), recursive=True, condition=ANY)
    await grant(catalog, BOB, "/", 7)
    await catalog.datastores.create(OPERATOR, p("/x"), copies=2, quota_bytes=9, owner=EVE.principal)
    await catalog.names.move(BOB, p("/x"), p("/z"), condition=ANY)
    await catalog.names.remove(BOB, p("/z"), recursive=True, condition=ANY)


@pytest.mark.parametrize("rights", [Right.WRITE, Right.READ | Right.WRITE])
async def test_an_owner_gets_no_right_at_a_path_by_renaming_his_datastore_to_it(
    catalog: Catalog, rights: Right
) -> None:
    """A drop box of others that is not made yet must not become the writer's own."""
    await catalog.datastores.create(
        OPERATOR, p("/old"), copies=0, quota_bytes=0, owner=EVE.principal
    )
    await grant(catalog, EVE, "/drop", rights)
    await catalog.names.move(EVE, p("/old"), p("/drop"), condition=ANY)
    assert [(str(one.path), one.rights) for one in await catalog.grants.list(EVE)] == [
        ("/drop", rights)
    ]
    assert [one.owner for one in await catalog.datastores.list(OPERATOR)] == [None]
    with pytest.raises(PermissionDeniedError):
        await catalog.grants.add(EVE, p("/drop"), Right.READ, BOB.principal, None)


async def test_a_right_that_ends_is_not_made_lasting_by_a_rename(
    catalog: Catalog, clock: ManualClock
) -> None:
    await catalog.datastores.create(
        OPERATOR, p("/old"), copies=0, quota_bytes=0, owner=EVE.principal
    )
    await catalog.grants.add(OPERATOR, p("/new"), Right(7), EVE.principal, clock.wall_s() + 60)
    await catalog.names.move(EVE, p("/old"), p("/new"), condition=ANY)
    clock.advance(61)
    assert await catalog.grants.list(EVE) == []


async def test_a_datastore_with_the_default_policy_is_its_writers(catalog: Catalog) -> None:
    await grant(catalog, BOB, "/mine", Right.READ | Right.WRITE)
    for recursive in (False, True):
        await catalog.names.make_directory(BOB, p("/mine"), parents=False)
        await catalog.names.remove(BOB, p("/mine"), recursive=recursive, condition=ANY)


async def test_a_former_owner_disposes_of_nothing(catalog: Catalog) -> None:
    await make(catalog, owner=EVE.principal)
    await catalog.datastores.set(OPERATOR, p("/x"), owner=BOB.principal)
    await grant(catalog, EVE, "/x", 7)
    await refused(catalog, EVE)


async def test_nobody_who_was_revoked_is_made_an_owner(catalog: Catalog) -> None:
    await make(catalog)
    await catalog.revocations.revoke(OPERATOR, str(EVE.principal))
    with pytest.raises(ConflictError, match="revoked"):
        await catalog.datastores.set(OPERATOR, p("/x"), owner=EVE.principal)


async def test_the_refusal_says_nothing_to_whom_the_datastore_is_hidden(
    catalog: Catalog,
) -> None:
    await make(catalog, quota=1 << 20)
    told = []
    for path in ("/x", "/none"):
        with pytest.raises(PermissionDeniedError) as caught:
            await catalog.names.remove(user("mallory"), p(path), recursive=True, condition=ANY)
        told.append(str(caught.value).replace(path, "PATH"))
    assert told[0] == told[1]
    await begin(catalog, "/x/f", "a", who=BOB)
