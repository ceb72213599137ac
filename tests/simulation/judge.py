"""The end of a run: faults have stopped, and within a bounded time everything must be as promised."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from collective.client.collective import Collective
from collective.core.world import World
from collective.rpc.links import Links
from tests.simulation.clients import Home, Own, Person
from tests.simulation.model import content
from tests.simulation.process import BrokenPromiseError
from tests.simulation.truth import Truth

if TYPE_CHECKING:
    from tests.simulation.house import House

_LEFTOVERS: Final = (
    (
        "copies being deleted",
        "SELECT count(*) FROM doomed d JOIN nodes n ON n.id = d.node WHERE n.removed = 0",
    ),
    ("chunks that lost a reference", "SELECT count(*) FROM candidates"),
    ("open uploads", "SELECT count(*) FROM uploads WHERE state = 0 OR state >= 2"),
    ("pins", "SELECT count(*) FROM pins"),
    ("copies under way", "SELECT count(*) FROM sent"),
    ("repairs", "SELECT count(*) FROM repairs"),
    ("versions that nothing shows", "SELECT count(*) FROM versions WHERE state <> 1"),
    (
        "chunks without a reference",
        "SELECT count(*) FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM extents x WHERE x.chunk = c.id)",
    ),
)


class Judge:
    """Judges one run."""

    def __init__(self, house: House) -> None:
        """Judge ``house``."""
        self._house = house
        self._member = house.member
        self._truth = Truth(house.member)

    async def settle(self) -> None:
        """Wait until nothing is left to do; BrokenPromiseError if that never is."""
        loop = self._house.loop
        pace = self._house.pace
        until_s = loop.now_s + pace.settle_s
        while True:
            why = self.unsettled()
            if not why:
                return
            if loop.now_s >= until_s:
                raise BrokenPromiseError(
                    f"{pace.settle_s:g} s after the last fault: {'; '.join(why[:6])}"
                )
            await asyncio.sleep(pace.look_s)

    def unsettled(self) -> list[str]:
        """Return what is not yet as it must be."""
        truth, member = self._truth, self._member
        nodes = self._house.nodes_in_use()
        down = [name for name in (member.coordinator, *nodes) if not member.is_ready(name)]
        if down:
            return [f"{name} is not ready" for name in down]
        found = [
            f"{count} {what}"
            for what, sql in _LEFTOVERS
            for ((count,),) in (truth.rows(sql),)
            if count
        ]
        found.extend(truth.disagreements())
        found.extend(self._lacking())
        for name in nodes:
            known = {
                (chunk, number)
                for chunk, number in truth.rows(
                    "SELECT c.hash, p.generation FROM copies p JOIN chunks c ON c.id = p.chunk"
                    " JOIN nodes n ON n.id = p.node WHERE n.name = ? AND p.state = 1",
                    name,
                )
            }
            held = truth.held(name)
            extra = held - known - self._of_lost_futures(name)
            if extra:
                found.append(f"{name} keeps {len(extra)} copies that nothing needs")
            if known - held:
                found.append(f"{name} lacks {len(known - held)} copies that count")
        return found

    def _of_lost_futures(self, name: str) -> set[tuple[bytes, int]]:
        """Return a node's copies that an operator discards, in a week at the earliest.

        Those of a node that is not approved when they are seen have no rows, but a figure.
        """
        truth = self._truth
        found = {
            (chunk, number)
            for chunk, number in truth.rows(
                "SELECT q.hash, q.generation FROM quarantine q JOIN nodes n ON n.id = q.node"
                " WHERE n.name = ?",
                name,
            )
        }
        if truth.rows("SELECT 1 FROM nodes WHERE name = ? AND unlisted_bytes > 0", name):
            ((first, past),) = truth.rows("SELECT first_generation, next_generation FROM state")
            lost = truth.rows("SELECT first, past FROM foreign_generations")
            found |= {
                (chunk, number)
                for chunk, number in truth.held(name)
                if not first <= number < past or any(a <= number < b for a, b in lost)
            }
        return found

    def _lacking(self) -> list[str]:
        """Return what chunks lack that are needed."""
        truth, found = self._truth, []
        short = bad = 0
        for one in truth.wanted():
            if self._house.may_be_lost(one.chunk):
                continue
            if len(one.copies) < min(one.wanted, len(self._house.nodes_in_use())):
                short += 1
            bad += sum(not truth.is_good(node, one.chunk, number) for node, number in one.copies)
        if short:
            found.append(f"{short} chunks with too few copies")
        if bad:
            found.append(f"{bad} copies that count and are not good")
        return found

    def check_noticed(self) -> None:
        """Raise BrokenPromiseError where the catalogue was put back and did not learn of it.

        Any node that was told of what the backup does not have shows it, whatever the numbers say,
        but not one that obeyed an earlier catalogue still, which this one takes the place of.
        """
        lost, nodes = self._house.lost_future, self._house.nodes_in_use()
        if lost is None:
            return
        ((epoch, catalog_id),) = self._truth.rows("SELECT epoch, catalog_id FROM state")
        knowing = sorted(
            name for name, told_by in lost.nodes.items() if told_by == catalog_id and name in nodes
        )
        if knowing and epoch <= lost.epoch:
            raise BrokenPromiseError(
                f"the catalogue was put back, as {knowing} can tell, and takes itself for the newest"
            )

    def check_defects(self) -> None:
        """Raise BrokenPromiseError where a program met an error that it did not expect."""
        for machine in self._member.machines.values():
            for process in machine.processes:
                if process.errors:
                    error = process.errors[0]
                    raise BrokenPromiseError(
                        f"{process.name} met a defect: {type(error).__name__}: {error}"
                    ) from error

    async def read_everything(self) -> None:
        """Read each file, list each datastore, and write once more."""
        desk = self._house.desk
        for person in self._house.people:
            machine = person.machine
            if machine.alive:
                machine.kill()
            process, world, links = machine.begin()
            assert person.credentials is not None
            await machine.run(process, self._visit(person, world, links))
            assert not process.errors, process.errors
        for path in desk.files.paths():
            value = desk.files.certain(path)
            if value is not None:
                content(value)

    async def _visit(self, person: Person, world: World, links: Links) -> None:
        assert person.credentials is not None
        async with Collective.connect(
            person.credentials,
            (self._member.coordinator_address,),
            world=world,
            links=links,
        ) as home:
            await self.look_through(person, Own(home))

    async def look_through(self, person: Person, home: Home) -> None:
        """List and read what ``person`` may, and write once: in quiet nothing of it may be refused."""
        desk = self._house.desk
        for top in sorted(person.rights.read):
            if not await person.list(home, top):
                raise BrokenPromiseError(f"{top} cannot be listed, in quiet")
        for path in desk.files.paths():
            if f"/{path.split('/')[1]}" in person.rights.read and person.chance.random() < 0.6:
                await person.read(home, path, must=True)
        if person.rights.write:
            desk.calm = True
            await person._write(home)
            desk.calm = False
