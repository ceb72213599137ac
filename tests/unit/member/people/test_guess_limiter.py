"""Guesses of join codes: slowed, alike for every code, and in nobody's way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from collective.core.errors import BusyError, PermissionDeniedError
from collective.member.people.guess_limiter import (
    DELAY_S,
    SUBJECTS_MAX,
    WAITING_PER_SOURCE_MAX,
    GuessLimiter,
)
from tests.unit.member.joiners import World, failure


async def test_guessing_is_slowed_and_locks_nobody_out(world: World) -> None:
    """Neither another's code nor the guessed one: whoever knows the secret is answered at once."""
    code, other = await world.code(), await world.code()
    wrong = replace(code, secret=bytes(16))
    for number in range(10):
        assert not isinstance(await failure(world, wrong), BusyError), number
    assert not world.slept
    for _ in range(20):
        assert isinstance(await failure(world, wrong), BusyError)
    assert world.slept == [DELAY_S] * 20
    assert await world.join(other)
    assert await world.join(code)
    assert len(world.slept) == 20


async def test_the_limit_answers_alike_for_a_code_that_exists_and_one_that_does_not(
    world: World,
) -> None:
    code = await world.code()
    known, unknown = replace(code, secret=bytes(16)), replace(code, code_id="ab" * 8)
    for _ in range(15):
        errors = [await failure(world, one) for one in (known, unknown)]
        assert (type(errors[0]), errors[0].message) == (type(errors[1]), errors[1].message)
    assert len(world.slept) == 10


async def test_guesses_of_ever_other_codes_from_one_address_are_slowed(world: World) -> None:
    limiter = GuessLimiter(world.clock, world.sleep)
    refused = 0
    for number in range(100):
        try:
            await limiter.failed(f"{number:016x}", "10.0.0.1")
        except BusyError:
            refused += 1
    assert refused == 90
    await limiter.failed("f" * 16, "10.0.0.2")
    world.clock.advance(61)
    await limiter.failed("f" * 16, "10.0.0.1")


async def test_answers_that_wait_and_what_is_remembered_are_bounded(world: World) -> None:
    gate = asyncio.Event()

    async def sleep(_: float) -> None:
        await gate.wait()

    limiter = GuessLimiter(world.clock, sleep)
    for number in range(5 * SUBJECTS_MAX):
        with suppress(BusyError, TimeoutError):
            async with asyncio.timeout(0):
                await limiter.failed(f"{number:016x}", "")
    assert len(limiter._failures) <= SUBJECTS_MAX + 1
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(refused(limiter, f"10.0.{number % 3}.1")) for number in range(300)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = sum(not task.done() for task in tasks)
        gate.set()
    assert waiting == 3 * WAITING_PER_SOURCE_MAX


async def refused(limiter: GuessLimiter, source: str) -> None:
    with suppress(BusyError):
        await limiter.failed("ab" * 8, source)


async def test_without_the_secret_an_unknown_code_looks_like_a_wrong_proof(world: World) -> None:
    code = await world.code()
    wrong = await failure(world, replace(code, secret=bytes(16)))
    unknown = await failure(world, replace(code, code_id="ab" * 8))
    assert isinstance(wrong, PermissionDeniedError)
    assert (type(wrong), wrong.message) == (type(unknown), unknown.message)
