"""Leases given back together: one call for each member, and none that is kept by another's error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from collective.core.errors import UnreachableError
from collective.core.ids import Domain, LeaseId
from collective.model.calls import Call
from collective.roles.coordinator.faces.grpc.reads import ReadsService
from collective.rpc.gen.collective.v1.reads import CloseReadRequest

HERE, BOB, CAROL = Domain("home.alice"), Domain("garage.bob"), Domain("studio.carol")


class Member:
    """The files of one member; also what finds them."""

    def __init__(self) -> None:
        self.reads = self
        self.closed: list[Sequence[LeaseId]] = []
        self.error: UnreachableError | None = None
        self.hangs = False

    async def close_reads(self, _: Call, leases: Sequence[LeaseId]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.closed.append(list(leases))


class Owners:
    def __init__(self) -> None:
        self.members = {domain: Member() for domain in (HERE, BOB, CAROL)}

    def of_id(self, _: Call, lease: LeaseId) -> Member:
        return self.members[lease.domain]


class Admission:
    @asynccontextmanager
    async def call(self, *_: str) -> AsyncIterator[None]:
        yield None


def lease(number: int, domain: Domain) -> LeaseId:
    return LeaseId.parse(f"{number:032x}@{domain}")


LEASES = [lease(number, (BOB, HERE, CAROL)[number % 3]) for number in range(9)]
REQUEST = CloseReadRequest(str(LEASES[0]), further_lease_ids=[str(one) for one in LEASES[1:]])


@pytest.fixture
def owners() -> Owners:
    return Owners()


@pytest.fixture
def service(owners: Owners) -> ReadsService:
    return ReadsService(cast("Any", owners), cast("Any", Admission()))


async def test_the_leases_of_a_member_are_closed_in_one_call(
    owners: Owners, service: ReadsService
) -> None:
    await service.close_read(REQUEST)
    for domain, member in owners.members.items():
        assert member.closed == [[one for one in LEASES if one.domain == domain]]


@pytest.mark.parametrize("away", [BOB, HERE])
async def test_a_member_that_is_away_keeps_no_others_leases_open(
    owners: Owners, service: ReadsService, away: Domain
) -> None:
    owners.members[away].error = UnreachableError("It is away.")
    with pytest.raises(UnreachableError, match="is away"):
        await service.close_read(REQUEST)
    assert [len(member.closed) for member in owners.members.values()].count(1) == 2


async def test_a_member_that_hangs_keeps_no_others_leases_open(
    owners: Owners, service: ReadsService
) -> None:
    owners.members[BOB].hangs = True
    closing = asyncio.create_task(service.close_read(REQUEST))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    assert len(owners.members[HERE].closed) == len(owners.members[CAROL].closed) == 1
    closing.cancel()
