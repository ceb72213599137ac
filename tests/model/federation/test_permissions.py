"""Who may do what among three members: no call does, shows or gives away more than the grants say, or less.

``make test-model`` runs the long version.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import structlog

from tests.model.federation.driver import ALICE, BOB, CAROL, Driver
from tests.model.federation.faults import FAULTS, hunt
from tests.model.federation.rules import CONFLICT, DENIED, DONE, Who

SEEDS: Final = 16
STEPS: Final = 1300
LONG_SEEDS: Final = range(1000, 1100)
LONG_STEPS: Final = 3000
READ, ALL = frozenset("r"), frozenset("rws")
BEN, CY, UNA = (
    Who(BOB, "ben@garage.bob"),
    Who(CAROL, "cy@attic.carol"),
    Who(ALICE, "una@home.alice"),
)
_MEMORY: Final = "/dev/shm"

pytestmark = pytest.mark.virtual_time


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A divergence has a trace of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = _MEMORY if os.path.isdir(_MEMORY) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@asynccontextmanager
async def peered(folder: Path) -> AsyncIterator[Driver]:
    """Every act of the driver is compared, so what follows needs to say only what happens."""
    driver = Driver(0)
    async with driver.opened(folder):
        yield driver


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
async def test_three_members_do_what_the_grants_say(folder: Path, seed: int) -> None:
    await Driver(seed).run(folder, STEPS)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
async def test_three_members_do_what_the_grants_say_at_length(folder: Path) -> None:
    total: Counter[tuple[str, str, int]] = Counter()
    for seed in LONG_SEEDS:
        driver = Driver(seed)
        place = folder / str(seed)
        place.mkdir()
        await driver.run(place, LONG_STEPS)
        total += driver.outcomes
    sys.stdout.write(f"{len(LONG_SEEDS) * LONG_STEPS} steps, {dict(sorted(total.items()))}\n")


# --- derived sequences: what the random ones are there for -------------------------------------------


async def test_what_was_passed_on_across_houses_ends_at_its_root(folder: Path) -> None:
    async with peered(folder) as driver:
        await driver.write_at(Who(ALICE), ALICE, ("a", "x"))
        await driver.grant(Who(ALICE), ALICE, ("a",), ALL, BEN.name)
        await driver.grant(BEN, ALICE, ("a",), ALL, CY.name)
        await driver.grant(CY, ALICE, ("a",), READ, f"@{BOB}")
        you = Who(BOB, "you@else.net")
        await driver.read_at(you, ALICE, ("a", "x"))
        root = driver.rules.members[ALICE].grants[0]
        await driver.ungrant(Who(ALICE), ALICE, root)
        for who in (BEN, CY, you):
            await driver.read_at(who, ALICE, ("a", "x"))
        found = driver.outcomes
    assert (found["read", "peer", DONE], found["read", "peer", DENIED]) == (1, 3)


async def test_people_of_one_name_are_known_by_who_vouches_for_them(folder: Path) -> None:
    async with peered(folder) as driver:
        await driver.write_at(Who(ALICE), ALICE, ("a", "x"))
        await driver.grant(Who(ALICE), ALICE, ("a",), READ, f"{UNA.name} via {BOB}")
        for who in (Who(BOB, UNA.name), UNA, Who(CAROL, UNA.name)):
            await driver.read_at(who, ALICE, ("a", "x"))
        found = driver.outcomes
    assert (found["read", "peer", DONE], found["read", "peer", DENIED]) == (1, 1)
    assert found["read", "home", DENIED] == 1


async def test_a_copy_between_two_peers_needs_both_sides(folder: Path) -> None:
    source, target = (ALICE, ("a", "x")), (CAROL, ("b", "y"))
    async with peered(folder) as driver:
        await driver.write_at(Who(ALICE), *source)
        await driver.grant(Who(ALICE), ALICE, ("a",), READ, BEN.name)
        await driver.copy_at(BEN, source, target)
        await driver.grant(Who(CAROL), CAROL, ("b",), frozenset("w"), BEN.name)
        await driver.copy_at(BEN, source, target)
        await driver.read_at(Who(CAROL), *target)
        await driver.remove_peer(ALICE, BOB, by_them=False)
        await driver.copy_at(BEN, source, target)
        found = driver.outcomes
    assert (found["cp", "peer", DONE], found["cp", "peer", DENIED]) == (1, 2)


async def test_who_is_a_peer_is_not_told_by_whom_a_grant_may_be_for(folder: Path) -> None:
    async with peered(folder) as driver:
        await driver.grant(BEN, ALICE, ("a",), READ, f"{CY.name} via {CAROL}")
        await driver.grant(BEN, ALICE, ("a",), READ, f"{CY.name} via no.peer")
        found = driver.outcomes
    assert found["grant", "peer", DENIED] == 2


async def test_grants_to_everybody_of_a_member_are_listed_to_its_people(folder: Path) -> None:
    async with peered(folder) as driver:
        await driver.grant(Who(ALICE), ALICE, ("a",), ALL, f"@{BOB}")
        await driver.grant(BEN, ALICE, ("a",), READ, CY.name)
        for who in (BEN, Who(BOB, "you@else.net"), CY):
            await driver.list_grants_at(who, ALICE)
        shown = [driver.rules.members[ALICE].shown(who) for who in (BEN, Who(BOB, "you@else.net"))]
    assert [len(one) for one in shown] == [2, 1]


async def test_grants_of_a_removed_peer_do_not_revive(folder: Path) -> None:
    async with peered(folder) as driver:
        await driver.write_at(Who(ALICE), ALICE, ("a", "x"))
        await driver.grant(Who(ALICE), ALICE, ("a",), ALL, BEN.name)
        await driver.grant(BEN, ALICE, ("a",), READ, CY.name)
        await driver.remove_peer(ALICE, BOB, by_them=False)
        await driver.remove_peer(BOB, ALICE, by_them=True)
        await driver.accept(ALICE, BOB)
        await driver.accept(BOB, ALICE)
        for who in (BEN, CY):
            await driver.read_at(who, ALICE, ("a", "x"))
        found = driver.outcomes
    assert found["read", "peer", DENIED] == 2


async def test_who_is_revoked_at_home_reaches_no_peer(folder: Path) -> None:
    async with peered(folder) as driver:
        await driver.write_at(Who(ALICE), ALICE, ("a", "x"))
        await driver.grant(Who(ALICE), ALICE, ("a",), READ, BEN.name)
        await driver.revoke(BOB, BEN)
        await driver.read_at(BEN, ALICE, ("a", "x"))
        found = driver.outcomes
    assert found["read", "peer", CONFLICT] == 1


# --- the rules can fail ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    _, why = hunt(name)
    assert why


def test_nothing_is_found_where_nothing_is_planted() -> None:
    assert not hunt("", seeds=1)[1]
