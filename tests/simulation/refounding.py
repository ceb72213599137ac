"""The coordinator's data is lost, without any backup, and its nodes and its certificates are not.

All files are gone then, and rightly.  The operator has a new catalogue adopt the nodes, makes the datastores
and gives the grants again; until that is done nobody uses the member.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from collective.client.collective import Collective
from collective.core.errors import ConflictError
from collective.core.paths import FilePath
from collective.model.rights import Right
from collective.roles.coordinator.catalog_record import record_path
from tests.simulation.disk import Folder
from tests.simulation.process import BrokenPromiseError

if TYPE_CHECKING:
    from tests.simulation.faults import Faults

TRY_AGAIN_S: Final = 5.0
SET_UP_S: Final = 400.0
"""How long it may take where nothing goes wrong any more."""


class Refounding:
    """Loses one run's catalogue, and sets the member up again."""

    def __init__(self, faults: Faults) -> None:
        """Lose as one of ``faults``."""
        self._faults = faults
        self._house = faults.house
        self._member = faults.member
        self._is_under_way = False

    async def lose(self) -> None:
        """Lose what the coordinator has; some time later all is set up."""
        house = self._house
        if house.restoring or house.loop.now_s > house.pace.losable_until_s:
            return
        house.restoring = True
        try:
            self._begin()
            await self._faults.down_for(self._member.coordinator)
            await self._set_up()
        finally:
            house.restoring = False

    def _begin(self) -> None:
        house = self._house
        machine = self._member.machines[self._member.coordinator]
        self._faults.trace.fault("catalogue lost")
        self._is_under_way = True
        machine.kill()
        machine.disk.replace(self._member.data_folder, Folder())
        folder, name = machine.disk.parent(record_path(self._member.place))
        folder.change(name, None)  # the operator says that it is lost for good
        folder.flush()
        house.desk.closed = True
        for person in house.people:
            person.machine.kill()
        house.restored(-1.0, -1.0)
        house.lost_future = None
        house.was_restored = self._faults.behind = True
        house.draining.clear()

    async def finish(self) -> None:
        """Go on with what was interrupted; BrokenPromiseError where it comes to no end."""
        if self._is_under_way:
            try:
                async with asyncio.timeout(SET_UP_S):
                    await self._set_up()
            except TimeoutError as error:
                why = "the operator cannot set the member up again after its catalogue was lost"
                raise BrokenPromiseError(why) from error

    async def _set_up(self) -> None:
        """Have the member as it was founded, but for its files; people use it before the last node is there."""
        desk = self._house.desk
        while True:
            if await self._faults.operate("set up", self._work):
                desk.closed = False
                for person in self._house.people:
                    person.start()
                if self._has_all_nodes():
                    self._is_under_way = False
                    return
            await asyncio.sleep(TRY_AGAIN_S)

    def _has_all_nodes(self) -> bool:
        house = self._house
        if house.truth.database() is None:
            return False
        known = {name for (name,) in house.truth.rows("SELECT name FROM nodes")}
        return known.issuperset(house.nodes_in_use())

    async def _work(self, home: Collective) -> None:
        """Do what is not done yet."""
        nodes = [node.node for node in await home.nodes.list()]
        names = [name for name in self._house.nodes_in_use() if name in nodes]
        if names:
            with contextlib.suppress(ConflictError):  # these were adopted already
                await home.nodes.adopt(names)
        await self._house.make_datastores(home)
        given = {(str(grant.path), str(grant.principal)) for grant in await home.people.grants()}
        for person in self._house.people:
            for top in sorted(person.rights.read):
                rights = Right.READ | (Right.WRITE if top in person.rights.write else Right.NONE)
                if (top, person.identity) not in given:
                    await home.people.add_grant(FilePath.parse(top), rights, person.identity)
