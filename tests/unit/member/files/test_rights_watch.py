"""Rights that are looked at again while a transfer goes on: what ends it, and what does not."""

from __future__ import annotations

import asyncio

import pytest

from collective.core.errors import (
    AwayError,
    BusyError,
    CollectiveError,
    ConflictError,
    NotFoundError,
    PeeringEndedError,
    PermissionDeniedError,
    ShutOutError,
    UnreachableError,
)
from collective.member.files.rights_watch import CHECK_S, PATIENCE_S, PEER_CHECK_S, Look, watched

pytestmark = pytest.mark.virtual_time

PASSING = [BusyError("later"), UnreachableError("gone"), AwayError("away"), TimeoutError()]
FINAL = [
    PermissionDeniedError("no more"),
    ShutOutError(),
    NotFoundError("gone"),
    ConflictError("changed"),
    PeeringEndedError("no peer any more"),
]


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Owner:
    """Answers what it is told to; nothing: all is well."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked_s: list[float] = []
        self.takes_s = 0.0

    async def ask(self) -> None:
        self.asked_s.append(now_s())
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(("is_at_peer", "every_s"), [(False, CHECK_S), (True, PEER_CHECK_S)])
async def test_a_peer_is_asked_less_often(is_at_peer: bool, every_s: float) -> None:
    owner = Owner()
    async with watched(Look(owner.ask, is_at_peer=is_at_peer)):
        await asyncio.sleep(4 * every_s + 0.1)
    assert owner.asked_s == [pytest.approx(every_s * turn) for turn in (1, 2, 3, 4)]


@pytest.mark.parametrize("error", FINAL)
async def test_a_right_that_has_ended_ends_it_with_the_next_look(error: CollectiveError) -> None:
    owner = Owner()
    owner.error = error
    with pytest.raises(type(error)):
        async with watched(Look(owner.ask, is_at_peer=True)):
            await asyncio.Event().wait()
    assert now_s() == PEER_CHECK_S


@pytest.mark.parametrize("error", PASSING)
async def test_a_look_without_an_answer_ends_it_only_in_the_long_run(error: Exception) -> None:
    owner = Owner()
    async with watched(Look(owner.ask, is_at_peer=True)):
        for _ in range(3):
            owner.error = error
            await asyncio.sleep(PATIENCE_S - PEER_CHECK_S)
            owner.error = None
            await asyncio.sleep(PEER_CHECK_S)
    owner.error, began_s = error, now_s()
    with pytest.raises(type(error)):
        async with watched(Look(owner.ask, is_at_peer=True)):
            await asyncio.Event().wait()
    assert now_s() - began_s == pytest.approx(PATIENCE_S)


async def test_a_slow_look_delays_no_other() -> None:
    slow, other = Owner(), Owner()
    slow.takes_s = 10.0
    other.error = PermissionDeniedError("no more")
    with pytest.raises(PermissionDeniedError):
        async with watched(Look(slow.ask, is_at_peer=True), Look(other.ask, is_at_peer=False)):
            await asyncio.Event().wait()
    assert now_s() == CHECK_S


async def test_one_that_looks_by_itself_does_so_when_it_is_time() -> None:
    owner = Owner()
    look = Look(owner.ask, is_at_peer=False)
    for _ in range(4):
        await look.again_if_due()
        await asyncio.sleep(CHECK_S / 2)
    assert owner.asked_s == [CHECK_S]
