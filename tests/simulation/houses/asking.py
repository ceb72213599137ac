"""Acts of operators and people beside what people do all the time, and what the ledgers learn by how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from collective.client.collective import Collective
from collective.core.errors import CollectiveError, NotFoundError
from tests.simulation.houses.ledger import Pending

if TYPE_CHECKING:
    from tests.simulation.clients import Person
    from tests.simulation.houses.household import Household

Work = Callable[[Collective], Awaitable[Any]]
NOT_BEGUN: Final = CollectiveError("Nothing was begun.")
"""Nobody was there to ask."""


async def ask(
    house: Household, what: str, work: Work, *, person: Person | None = None
) -> CollectiveError | None:
    """Do something as the operator of ``house``, or a ``person`` of it; return why it was not done."""
    met: list[CollectiveError] = []

    async def act(home: Collective) -> None:
        try:
            await work(home)
        except CollectiveError as error:
            met.append(error)
            raise

    if await house.faults.operate(what, act, person=person):
        return None
    return met[0] if met else NOT_BEGUN


async def carry(
    house: Household,
    what: str,
    work: Work,
    *pending: Pending,
    person: Person | None = None,
    absent_is_done: bool = False,
) -> CollectiveError | None:
    """Do ``work`` as :func:`ask` does, and end what is ``pending`` by how it went."""
    try:
        error = await ask(house, what, work, person=person)
    except asyncio.CancelledError:
        for change in pending:
            change.cut_off()
        raise
    for change in pending:
        if error is None or (absent_is_done and isinstance(error, NotFoundError)):
            change.done()
        elif error is NOT_BEGUN:
            change.refused()
        else:
            change.cut_off()
    return error
