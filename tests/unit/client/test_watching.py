"""Watching goes on through what passes, asks no faster than is useful, and ends where nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest

from collective.client.files.watching import AT_ONCE_S, FIRST_PAUSE_S, RETRY_S, watching
from collective.core.errors import AwayError, CollectiveError, UnreachableError
from collective.model.changes import Changes, Cursor, ListAnew, Since

pytestmark = pytest.mark.virtual_time


class Coordinator:
    """Answers as it is told to, and notes when it was asked."""

    def __init__(self, *answers: Since | CollectiveError, takes_s: float = 0.0) -> None:
        self.answers = list(answers)
        self.takes_s = takes_s
        self.asked_s: list[float] = []

    async def ask(self, cursor: Cursor | None) -> Since:
        del cursor
        self.asked_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CollectiveError):
            raise answer
        return answer


NOTHING = Changes(Cursor("c"), (), more=False)
ANEW = ListAnew(Cursor("c"))


async def first(ask: Callable[[Cursor | None], Awaitable[Since]]) -> Since:
    found: AsyncGenerator[Since] = watching(ask, None)
    async with aclosing(found):
        async for one in found:
            return one
    raise AssertionError


async def test_a_coordinator_that_answers_nothing_at_once_is_not_hammered() -> None:
    bob = Coordinator(*[NOTHING] * 5, ANEW)
    assert await first(bob.ask) == ANEW
    pauses = [later - sooner for sooner, later in zip(bob.asked_s, bob.asked_s[1:], strict=False)]
    assert pauses == pytest.approx([FIRST_PAUSE_S * 2**n for n in range(5)])


async def test_one_that_waited_is_asked_again_at_once() -> None:
    bob = Coordinator(NOTHING, NOTHING, ANEW, takes_s=AT_ONCE_S)
    assert await first(bob.ask) == ANEW
    assert bob.asked_s == pytest.approx([n * AT_ONCE_S for n in range(3)])


@pytest.mark.parametrize("error", [UnreachableError("no"), AwayError("away")])
async def test_one_that_restarts_is_asked_again(error: CollectiveError) -> None:
    assert await first(Coordinator(error, error, ANEW).ask) == ANEW


async def test_one_that_stays_away_ends_it() -> None:
    bob = Coordinator(AwayError("away"))
    with pytest.raises(AwayError):
        await first(bob.ask)
    assert bob.asked_s[-1] - bob.asked_s[0] <= RETRY_S


async def test_long_waits_that_break_are_no_minute_of_silence() -> None:
    bob = Coordinator(*[UnreachableError("cut off")] * 6, ANEW, takes_s=25.0)
    assert await first(bob.ask) == ANEW
