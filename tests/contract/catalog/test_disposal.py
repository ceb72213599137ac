"""What an operator decided about a datastore is not shed by taking it away and making it anew."""

import pytest

from collective.access.model import Caller, Right
from collective.catalog.sqlite import SqliteCatalog
from collective.core.errors import ConflictError, PermissionDeniedError
from collective.core.ids import SpiffeId
from tests.contract.catalog.world import ANY, OPERATOR, begin, enrol, grant, p, user, write

BOB, EVE = user("bob"), user("eve")


async def make(
    catalog: SqliteCatalog, copies: int = 0, quota: int = 0, owner: SpiffeId | None = None
) -> None:
    await enrol(catalog)
    await catalog.create_datastore(OPERATOR, p("/x"), copies=copies, quota_bytes=quota, owner=owner)
    for who in (BOB, EVE):
        if who.principal != owner:
            await grant(catalog, who, "/x", Right.READ | Right.WRITE)
    for path in ("/y", "/open"):
        await grant(catalog, BOB, path, 7)
        await grant(catalog, EVE, path, 7)
    await catalog.make_directory(OPERATOR, p("/open"), parents=False)


async def refused(catalog: SqliteCatalog, who: Caller) -> None:
    """Neither ``rm; mkdir`` nor ``mv; mkdir`` gets rid of the policy."""
    before = await catalog.datastores(OPERATOR)
    for recursive in (False, True):
        with pytest.raises(PermissionDeniedError):
            await catalog.remove(who, p("/x"), recursive=recursive, condition=ANY)
    for target in ("/y", "/open/x"):
        with pytest.raises(PermissionDeniedError):
            await catalog.move(who, p("/x"), p(target), condition=ANY)
    assert await catalog.datastores(OPERATOR) == before


@pytest.mark.parametrize(
    ("copies", "quota", "owner"),
    [(0, 30, None), (2, 0, None), (0, 0, EVE.principal), (1, 30, EVE.principal)],
)
async def test_a_writer_cannot_shed_quota_copies_or_owner_by_making_the_datastore_anew(
    catalog: SqliteCatalog, copies: int, quota: int, owner: SpiffeId | None
) -> None:
    await make(catalog, copies, quota, owner)
    await write(catalog, "/x/f", "a", who=BOB)
    await refused(catalog, BOB)
    await catalog.remove(BOB, p("/x/f"), recursive=False, condition=ANY)
    await refused(catalog, BOB)


@pytest.mark.parametrize(("copies", "quota"), [(0, 30), (2, 0)])
async def test_an_owner_cannot_shed_what_an_operator_set(
    catalog: SqliteCatalog, copies: int, quota: int
) -> None:
    await make(catalog, copies, quota, EVE.principal)
    await refused(catalog, EVE)


async def test_an_owner_disposes_of_his_own_and_an_admin_of_all(catalog: SqliteCatalog) -> None:
    await make(catalog, owner=EVE.principal)
    await catalog.move(EVE, p("/x"), p("/y"), condition=ANY)
    await catalog.remove(EVE, p("/y"), recursive=True, condition=ANY)
    await grant(catalog, BOB, "/", 7)
    await catalog.create_datastore(OPERATOR, p("/x"), copies=2, quota_bytes=9, owner=EVE.principal)
    await catalog.move(BOB, p("/x"), p("/z"), condition=ANY)
    await catalog.remove(BOB, p("/z"), recursive=True, condition=ANY)


async def test_a_datastore_with_the_default_policy_is_its_writers(catalog: SqliteCatalog) -> None:
    await grant(catalog, BOB, "/mine", Right.READ | Right.WRITE)
    for recursive in (False, True):
        await catalog.make_directory(BOB, p("/mine"), parents=False)
        await catalog.remove(BOB, p("/mine"), recursive=recursive, condition=ANY)


async def test_a_former_owner_disposes_of_nothing(catalog: SqliteCatalog) -> None:
    await make(catalog, owner=EVE.principal)
    await catalog.set_datastore(OPERATOR, p("/x"), owner=BOB.principal)
    await grant(catalog, EVE, "/x", 7)
    await refused(catalog, EVE)


async def test_nobody_who_was_revoked_is_made_an_owner(catalog: SqliteCatalog) -> None:
    await make(catalog)
    await catalog.revoke(OPERATOR, str(EVE.principal))
    with pytest.raises(ConflictError, match="revoked"):
        await catalog.set_datastore(OPERATOR, p("/x"), owner=EVE.principal)


async def test_the_refusal_says_nothing_to_whom_the_datastore_is_hidden(
    catalog: SqliteCatalog,
) -> None:
    await make(catalog, quota=30)
    told = []
    for path in ("/x", "/none"):
        with pytest.raises(PermissionDeniedError) as caught:
            await catalog.remove(user("mallory"), p(path), recursive=True, condition=ANY)
        told.append(str(caught.value).replace(path, "PATH"))
    assert told[0] == told[1]
    await begin(catalog, "/x/f", "a", who=BOB)
