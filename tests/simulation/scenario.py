"""One run: a member is founded, used while things go wrong, left in peace, and judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tests.simulation.clients import PATIENCE_S
from tests.simulation.house import House
from tests.simulation.judge import Judge
from tests.simulation.member import Member
from tests.simulation.pace import pace_of
from tests.simulation.stage import Stage
from tests.simulation.upkeep import Upkeep

FAULTY_PART: Final = 0.6
QUIET_PART: Final = 0.1
"""Of a run's minutes: with faults, then without; what is left is for settling and judging."""
READ_MOST: Final = 5
"""How often everything is read at the end, until enough was acknowledged."""


class Scenario(Stage):
    """A run of one member."""

    def __init__(self, seed: int, minutes: float) -> None:
        """Prepare; nothing happens before :meth:`run`."""
        super().__init__(seed, minutes, pace_of(minutes))
        self.house = House(self)

    def members(self) -> Sequence[Member]:
        """Return the one that there is."""
        return [self.house.member]

    async def _main(self) -> None:
        house = self.house
        await house.found()
        for person in house.people:
            person.start()
        faults, judge = house.faults, Judge(house)
        watch = self.loop.create_task(house.keep_running())
        faulty_s = self.loop.now_s + self.minutes * 60 * FAULTY_PART
        upkeep = self.loop.create_task(Upkeep(house).go_on(faulty_s)) if self.pace.is_calm else None
        await faults.run(faulty_s)
        await faults.stop()
        await faults.put_in_order()
        await asyncio.sleep(self.minutes * 60 * QUIET_PART)
        for person in house.people:
            person.stopped = True
        for _ in range(int(PATIENCE_S)):
            if all(person.machine.is_down() or person.idle for person in house.people):
                break
            await asyncio.sleep(1.0)
        await judge.settle()
        for _ in range(READ_MOST):
            await judge.read_everything()
            if self.trace.counts["acknowledged"] >= self.pace.acknowledged_least:
                break
        judge.check_noticed()
        judge.check_defects()
        watch.cancel()
        if upkeep is not None:
            upkeep.cancel()
        await asyncio.sleep(max(0.0, self.minutes * 60 - self.loop.now_s))
