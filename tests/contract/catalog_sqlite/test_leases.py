"""Which leases are held in memory: what cannot be seen from outside."""

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.core.ids import Domain, GlobalId, LeaseKey, SpiffeId
from collective.model.calls import Call
from collective.model.rights import Right
from tests.contract.catalog.engines import Bound, SqliteEngines
from tests.contract.catalog.world import OPERATOR, enrol, grant, p, user, write

BOB = user("bob")
CAROL = user("carol")


@pytest.fixture
async def ready(catalog: SqliteCatalog) -> SqliteCatalog:
    await enrol(catalog)
    await catalog.names.make_directory(OPERATOR, p("/a"), parents=False)
    for who in (BOB, CAROL):
        await grant(catalog, who, "/a", Right.READ)
    await write(catalog, "/a/f", "x")
    return catalog


async def read(catalog: SqliteCatalog, who: Call) -> LeaseKey:
    view = await catalog.reads.open(who, p("/a/f"), offset=0, length=0, if_version=0, batch=1)
    return view.lease


async def goes_on(catalog: SqliteCatalog, who: Call, lease: LeaseKey) -> None:
    await catalog.reads.plan(who, lease, offset=0, length=0, batch=1)


async def test_when_all_leases_are_taken_whoever_has_most_loses_one(
    ready: SqliteCatalog, engines: SqliteEngines
) -> None:
    engines.bound(Bound.LEASES, 4)
    mine = await read(ready, OPERATOR)
    leases = [await read(ready, BOB) for _ in range(3)]
    await goes_on(ready, BOB, leases[0])
    await write(ready, "/a/f", "new")
    await read(ready, BOB)
    held = ready._engine.leases
    assert held.renew(mine, OPERATOR.principal)
    assert held.renew(leases[0], BOB.principal)
    assert not held.renew(leases[1], BOB.principal)


async def test_leases_that_were_dropped_and_come_back_pass_no_bound(
    ready: SqliteCatalog, engines: SqliteEngines
) -> None:
    engines.bound(Bound.LEASES_PER_HOLDER, 5)
    engines.bound(Bound.LEASES, 8)
    held = ready._engine.leases._held
    taken = [await read(ready, BOB) for _ in range(9)]
    assert len(held) == 5
    for lease in taken:
        await goes_on(ready, BOB, lease)
        assert len(held) <= 5
    others = [await read(ready, CAROL) for _ in range(5)]
    for lease in (*taken, *others):
        await goes_on(ready, BOB if lease in taken else CAROL, lease)
        assert len(held) <= 8


async def test_the_people_of_a_peer_hold_no_more_leases_than_one(
    ready: SqliteCatalog, engines: SqliteEngines
) -> None:
    """It could invent any number of them; others lose none by it."""
    engines.bound(Bound.LEASES_PER_HOLDER, 5)
    engines.bound(Bound.LEASES, 8)
    held = ready._engine.leases._held
    mine = [await read(ready, BOB) for _ in range(3)]
    domain = Domain("home.dora")
    for number in range(20):
        who = SpiffeId.user(domain, GlobalId(f"d{number}", domain))
        await grant(ready, Call(who, is_operator=False), "/a", Right.READ)
        await read(ready, Call(who, is_operator=False, via=domain))
    assert all(lease in held for lease in mine)
    assert len(held) == 8
