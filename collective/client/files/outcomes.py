"""Many things done at once, each with a result or an error of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from collective.core.errors import CollectiveError, first_error

T = TypeVar("T")

UNDER_WAY: Final = 16
"""Items of one batch that are under way; more would only wait for each other at the coordinator."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one item of a batch."""

    path: str
    """As it was given."""
    value: T | None = None
    """None where it failed."""
    error: CollectiveError | None = None
    """Why it failed; None where it did not."""

    def result(self) -> T:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # one of both is there


async def each(paths: Iterable[str], work: Callable[[str], Awaitable[T]]) -> Sequence[Outcome[T]]:
    """Do ``work`` on each path, :data:`UNDER_WAY` at once; return an outcome for each, in order.

    What is no CollectiveError ends them all and is raised.  Cancelled, those under way are cancelled too.
    """
    found: dict[int, Outcome[T]] = {}
    numbered = enumerate(paths)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(UNDER_WAY):
                group.create_task(_take_turns(numbered, work, found))
    except BaseExceptionGroup as failed:
        raise first_error(failed) from failed
    return [found[number] for number in range(len(found))]


async def _take_turns(
    numbered: Iterator[tuple[int, str]],
    work: Callable[[str], Awaitable[T]],
    found: dict[int, Outcome[T]],
) -> None:
    for number, path in numbered:
        try:
            found[number] = Outcome(path, value=await work(path))
        except CollectiveError as error:
            found[number] = Outcome(path, error=error)
