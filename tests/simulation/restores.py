"""The coordinator's data is kept, as an operator backs it up, and put back later."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from collective.catalog.sqlite.store.custody import RECORD, Record
from tests.simulation.disk import Folder, Inode

if TYPE_CHECKING:
    from tests.simulation.faults import Faults
    from tests.simulation.machine import Machine

MAKING_S: Final = 30.0
"""How long it takes to make a snapshot, at most: it has what was there before that."""
TAR_STEP_S: Final = 0.3
"""How long tar takes for one file, at most."""
PIECE_BYTES: Final = 64 << 10
WAIT_S: Final = 150.0
"""How long an operator waits for a moment at which a backup is worth something."""
AGE_LEAST_S: Final = 1.0
"""How old a backup is at least when it is put back; mostly it is young, so that its numbers soon catch up."""
LATE_SHARE: Final = 0.5
"""How often the nodes reach a coordinator that was put back later than the people do,"""
LATE_MOST_S: Final = 60.0
"""and by how much, at most: its numbers may have caught up before any node tells of its lost future."""


@dataclass(frozen=True, slots=True)
class LostFuture:
    """What a catalogue lost that was put back, and that nothing beside it shows."""

    epoch: int
    """Of the backup: it rises when the restore is noticed."""
    nodes: dict[str, str]
    """Those that were told a later position than the backup's, and of which catalogue it is."""


class Restores:
    """Backs up and restores one run's coordinator.

    While it is about that, ``house.restoring`` keeps the member's nodes the same, and their data whole:
    what a catalogue put back does not know is lost rightly, and may not meet another loss.
    """

    def __init__(self, faults: Faults) -> None:
        """Restore as one of ``faults``."""
        self._faults = faults
        self._house = faults.house
        self._member = faults.member
        self._coordinator = faults.member.coordinator
        self._chance = faults.chance

    async def from_copy(self) -> None:
        """Stop the coordinator, copy its data, start it; later, put them back."""
        await self._guarded("coordinator restored", is_tar=False)

    async def from_tar(self) -> None:
        """Copy the data file by file while they change; later, put them back."""
        await self._guarded("coordinator restored from a tar", is_tar=True)

    async def _guarded(self, kind: str, *, is_tar: bool) -> None:
        house = self._house
        if house.restoring:
            return
        house.restoring = True
        try:
            if await self._wait_for_calm(is_tar=is_tar):
                await self._restore(kind, is_tar=is_tar)
        finally:
            house.restoring = False
            for person in house.everybody():
                person.start()

    def _since_s(self, *, is_tar: bool) -> float:
        """Return since when, at least, what happened may be missing in a backup that is begun now.

        One of files in use is as old as the snapshots in it.
        """
        if not is_tar:
            return self._house.loop.now_s
        made = [
            node.modified_s
            for path, node in self._member.machines[self._coordinator].disk.walk(
                f"{self._member.data_folder}/catalog/snapshots"
            )
            if path.endswith(".b3")
        ]
        return sorted(made)[-2] - MAKING_S if len(made) > 1 else -1.0

    async def _wait_for_calm(self, *, is_tar: bool) -> bool:
        """Return whether, before long, all copies are whole and a backup has all nodes that are used."""
        loop, machine = self._house.loop, self._member.machines[self._coordinator]
        until_s = loop.now_s + WAIT_S * self._house.pace.stretch
        while loop.now_s < until_s:
            self._house.watch_nodes()
            has_nodes = self._since_s(is_tar=is_tar) > self._house.nodes_changed_s
            if machine.alive and has_nodes and self._faults.all_whole():
                return True
            await asyncio.sleep(3.0)
        return False

    async def _restore(self, kind: str, *, is_tar: bool) -> None:
        house, machine = self._house, self._member.machines[self._coordinator]
        draining = set(house.draining)
        since_s = self._since_s(is_tar=is_tar)
        snapshots_s = self._since_s(is_tar=True)
        copy = await (self._tar(machine) if is_tar else self._copy(machine))
        if copy is None:
            return
        ended_s = house.loop.now_s
        if not is_tar and _closed_record(copy) is None:
            since_s = snapshots_s
        if since_s <= house.nodes_changed_s:
            return
        await asyncio.sleep(AGE_LEAST_S + self._chance.random() ** 3 * house.pace.backup_age_most_s)
        self._faults.trace.fault(kind, f"of {since_s:.1f} to {ended_s:.1f}")
        machine.kill()
        self._note_lost_future(copy)
        machine.disk.replace(self._member.data_folder, copy)
        for person in house.everybody():
            person.machine.kill()
        needed = house.files.all_certain()
        house.restored(since_s, ended_s)
        house.was_restored = self._faults.behind = True
        house.draining |= draining
        if self._chance.random() < LATE_SHARE:
            self._faults.begin(self._keep_away(house.nodes_in_use()))
        try:
            await self._faults.down_for(self._coordinator)
        finally:  # no delete of the lost future is under way any more
            house.note_lost(needed)

    async def _keep_away(self, nodes: list[str]) -> None:
        """Let nothing of ``nodes`` reach the coordinator until some time after it runs again."""
        network = self._member.network
        late_s = self._chance.uniform(1.0, LATE_MOST_S)
        self._faults.trace.note(f"nodes are {late_s:.1f} s late")
        self._house.nodes_are_late = True
        for name in nodes:
            network.link(name, self._coordinator).cut = True
        while not self._member.is_ready(self._coordinator):
            await asyncio.sleep(1.0)
        await asyncio.sleep(late_s)
        for name in nodes:
            network.heal(name, self._coordinator)
        self._house.nodes_are_late = False
        self._house.nodes_came_s = self._house.loop.now_s

    def _note_lost_future(self, copy: Folder) -> None:
        """Note which nodes were told of what the backup does not have, where they alone can tell."""
        house, then = self._house, _closed_record(copy)
        house.lost_future = None
        if (
            then is not None and not house.rotates
        ):  # what was told under a former key does not count
            told = {name: house.truth.remembered(name) for name in house.nodes_in_use()}
            knowing = {
                name: kept.catalog_id
                for name, kept in told.items()
                if (kept.epoch, kept.sequence) > (then.epoch, then.sequence)
            }
            house.lost_future = LostFuture(then.epoch, knowing)

    async def _copy(self, machine: Machine) -> Folder | None:
        """Copy what a stopped coordinator left; None where it did not end by itself."""
        if not machine.alive:
            return None
        process = machine.process
        await self._member.stop(self._coordinator)
        if machine.process is not process or self._member.exits[self._coordinator] != 0:
            return None
        found = machine.disk.node(self._member.data_folder)
        assert isinstance(found, Folder)
        copy = found.copy()
        self._member.start(self._coordinator)
        return copy

    async def _tar(self, machine: Machine) -> Folder:
        """Copy file by file, as tar does, in whatever order they lie, while the coordinator goes on."""
        made = Folder()
        paths = [path for path, _ in machine.disk.walk(self._member.data_folder)]
        self._chance.shuffle(paths)
        for path in paths:
            await asyncio.sleep(self._chance.random() * TAR_STEP_S)
            node = machine.disk.node(path)
            if not isinstance(node, Inode):
                continue
            content = await self._read_slowly(node)
            inside = made
            *above, name = path[len(self._member.data_folder) :].strip("/").split("/")
            for part in above:
                below = inside.entries.get(part)
                if not isinstance(below, Folder):
                    below = Folder()
                    inside.change(part, below)
                inside.flush()
                inside = below
            inside.change(name, content)
            inside.flush()
        return made

    async def _read_slowly(self, node: Inode) -> Inode:
        """Copy a file piece by piece, the bytes of each as they are at that moment."""
        made = Inode(now_s=node.modified_s)
        at = 0
        while at < len(node.data):
            made.data += node.data[at : at + PIECE_BYTES]
            at += PIECE_BYTES
            if at < len(node.data):
                await asyncio.sleep(self._chance.random() * TAR_STEP_S)
        made.flush()
        return made


def _closed_record(copy: Folder) -> Record | None:
    """Return what the coordinator noted at its end, if it could note that its files are whole (its disk may be full)."""
    folder: Folder | Inode | None = copy
    for name in ("catalog", RECORD):
        folder = folder.entries.get(name) if isinstance(folder, Folder) else None
    record = Record.from_json(bytes(folder.data)) if isinstance(folder, Inode) else None
    return None if record is None or record.closed is None else record
