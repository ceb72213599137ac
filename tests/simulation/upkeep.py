"""What only days bring: the operator has the CA replaced now and then, and what time brings is counted.

Certificates that are renewed and ticket keys that are handed out are seen where they leave a process
(:class:`Dispatches`), snapshots on the coordinator's disk, and codes in its catalogue.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from collective.client.collective import Collective
from collective.model.trust import Phase
from collective.rpc.gen.collective.v1 import node as node_pb
from collective.rpc.gen.collective.v1 import trust as trust_pb
from tests.simulation.pace import DAY_S, ROTATION_PAUSE_S
from tests.simulation.process import BrokenPromiseError
from tests.simulation.trace import Trace

if TYPE_CHECKING:
    from tests.simulation.house import House

LOOK_S: Final = 300.0
FINISH_S: Final = 600.0
"""Between two looks of the operator at a CA that is being replaced."""
ROTATION_MOST_S: Final = 2 * DAY_S
"""A CA has taken the other's place after so long: everybody was there once or twice by then."""


class Dispatches:
    """Counts what leaves coordinators."""

    def __init__(self, trace: Trace) -> None:
        """Count for ``trace``."""
        self._trace = trace
        self._keys: set[bytes] = set()

    def sent(self, message: Any) -> None:
        """Hear of a message that leaves a process."""
        if isinstance(message, trust_pb.RenewCertificateResponse):
            self._trace.count("certificates renewed")
        elif isinstance(message, node_pb.HeartbeatResponse):
            for ticket_key in message.keys:
                if ticket_key.key not in self._keys:
                    self._keys.add(ticket_key.key)
                    self._trace.count("ticket keys made")


class Upkeep:
    """The operator of one house, and its almanac."""

    def __init__(self, house: House) -> None:
        """Look after ``house``."""
        self._house = house
        self._snapshots: set[str] = set()
        self._codes: set[bytes] = set()
        self._restores = 0
        self._begun_s = 0.0
        """When the operator last began to have the CA replaced."""

    async def go_on(self, until_s: float) -> None:
        """Look again and again; have the CA replaced now and then, begun before ``until_s``."""
        loop = self._house.loop
        due_s = loop.now_s + ROTATION_PAUSE_S
        while True:
            await asyncio.sleep(LOOK_S)
            self._look()
            if due_s <= loop.now_s and (loop.now_s < until_s or self._house.rotates):
                await self._replace_ca()
                due_s = loop.now_s + (FINISH_S if self._house.rotates else ROTATION_PAUSE_S)

    def _look(self) -> None:
        house = self._house
        disk = house.member.machines[house.member.coordinator].disk
        names = {
            path
            for path, _ in disk.walk(f"{house.member.data_folder}/catalog/snapshots")
            if path.endswith(".b3")
        }
        house.trace.count("snapshots", len(names - self._snapshots))
        self._snapshots = names
        if house.truth.database() is None:
            return
        codes = {code for (code,) in house.truth.rows("SELECT id FROM codes")}
        if house.desk.restores == self._restores:  # else some went with the catalogue
            house.trace.count("codes forgotten", len(self._codes - codes))
        self._codes, self._restores = codes, house.desk.restores

    async def _replace_ca(self) -> None:
        """Begin to replace the CA, or go on with that; BrokenPromiseError where not everybody follows in time."""
        house = self._house

        async def go_on(home: Collective) -> None:
            phase = (await home.trust.rotate(status=True)).phase
            if phase is Phase.OVERLAP:
                await home.trust.rotate(finish=True)
            elif phase is Phase.NONE and house.rotates:
                house.rotates = False
                house.trace.count("CAs replaced")
            elif phase is Phase.NONE:
                house.rotates, self._begun_s = True, house.loop.now_s
                await home.trust.rotate()

        await house.faults.operate("replace the CA", go_on)
        if house.rotates and house.loop.now_s > self._begun_s + ROTATION_MOST_S:
            raise BrokenPromiseError(f"a CA is not replaced after {ROTATION_MOST_S:g} s")
