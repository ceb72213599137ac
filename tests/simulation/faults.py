"""What goes wrong in a run: which faults, when, and what they may damage together.

A seed chooses which kinds its run has (so that rare pairs meet often), then one after the other begins at
moments of chance.  Data is damaged on one node at a time: another's turn comes only when everything that
is needed has all its copies again, for a quorum of copies may be lost to faults, and fewer may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from collective.client.collective import Collective
from collective.core.errors import CollectiveError, ConflictError
from tests.simulation.clients import Person
from tests.simulation.disk import Folder, Inode
from tests.simulation.liar import KINDS as LIES
from tests.simulation.liar import Lies
from tests.simulation.link_faults import BY_MESSAGE, LinkFaults
from tests.simulation.link_faults import KINDS as LINK_KINDS
from tests.simulation.process import BrokenPromiseError
from tests.simulation.refounding import Refounding
from tests.simulation.restores import Restores
from tests.simulation.truth import Truth

if TYPE_CHECKING:
    from tests.simulation.house import House
    from tests.simulation.machine import Machine

KINDS_LEAST: Final = 8
"""Kinds of faults that a run has at least."""
NODES_MAX: Final = 6
NODES_FOR_ALL: Final = 5
"""So many nodes can have all the copies that any datastore wants; with fewer none can be drained."""
HEARTBEATS_S: Final = 45.0
"""After so long every node that runs has told the coordinator what it knows."""
RESTART_LEAST_S, RESTART_MOST_S = 0.5, 40.0
KINDS: Final[dict[str, str]] = {
    "kill coordinator": "_kill_coordinator",
    "kill node": "_kill_node",
    "kill client": "_kill_client",
    "power loss at coordinator": "_power_coordinator",
    "power loss at node": "_power_node",
    "restart": "_restart",
    "node's disk full": "_full_node",
    "coordinator's disk full": "_full_coordinator",
    "node's disk read-only": "_read_only_node",
    "coordinator's disk read-only": "_read_only_coordinator",
    "flush fails": "_failing_flush",
    "slow disk": "_slow_disk",
    "clock jump": "_clock",
    "bit flip": "_bit_flip",
    "truncation": "_truncation",
    "read fails": "_failing_read",
    "disk lost": "_lost_disk",
    "old backup of a node": "_restore_node",
    "liar": "_liar",
    "operator adds": "_add",
    "operator drains": "_drain",
    "operator removes": "_remove",
    "operator removes by force": "_remove_by_force",
    "operator replaces": "_replace",
    "operator approves": "_approve",
    "operator adopts": "_adopt",
}
"""Kinds of faults, and the methods that make them."""
RESTORED: Final = ("coordinator restored", "coordinator restored from a tar", "catalogue lost")
OFTEN: Final[dict[str, float]] = {
    "liar": 7,
    "connection silent": 3,
    "message lost": 3,
    "bit flip": 1.5,
    "operator removes": 3,
    "operator removes by force": 3,
    "operator replaces": 3,
    **dict.fromkeys(RESTORED, 2),
    "catalogue lost": 0.6,
}
"""Kinds that chance takes more often than the rest, and how many times as often."""


def all_kinds() -> list[str]:
    """Return every kind of fault that a run counts."""
    return [kind for kind in (*LINK_KINDS, *KINDS, *RESTORED) if kind != "liar"] + [
        f"liar: {kind}" for kind in LIES
    ]


class Faults:
    """The faults of one run."""

    def __init__(self, house: House) -> None:
        """Choose the kinds."""
        self.house = house
        self.member = house.member
        self._coordinator = house.member.coordinator
        self.trace = house.trace
        self.chance = random.Random(f"{house.seed} faults")
        self.truth = Truth(house.member)
        self.dirty: str | None = None
        """The node whose copies may be damaged."""
        self.behind = False
        """Whether the catalogue was put back, and has perhaps not found all copies since."""
        self._harmed: dict[str, set[tuple[bytes, int]]] = {}
        """By node, copies that it showed and whose bytes a fault took; perhaps nothing needed them."""
        self._damaging = 0
        """Faults under way that damage what ``dirty`` has, or says."""
        self._node_backups: dict[str, Folder] = {}
        self._running: dict[asyncio.Task[None], None] = {}
        self.stopping = False
        restores, self._refounding = Restores(self), Refounding(self)
        self.links = LinkFaults(self.member.network, self.chance, self, stretch=house.pace.stretch)
        kinds = self.links.kinds() | {kind: getattr(self, name) for kind, name in KINDS.items()}
        ways = (restores.from_copy, restores.from_tar, self._refounding.lose)
        kinds.update(zip(RESTORED, ways, strict=True))
        share = self.chance.uniform(0.35, 0.9)
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            kind: act for kind, act in kinds.items() if self.chance.random() < share
        }
        if (
            len(self._kinds) < KINDS_LEAST
        ):  # few kinds, each with its conditions, come to few faults
            others = sorted(kinds.keys() - self._kinds.keys())
            for kind in self.chance.sample(others, KINDS_LEAST - len(self._kinds)):
                self._kinds[kind] = kinds[kind]
        self._weights = [OFTEN.get(kind, 1) for kind in self._kinds]
        self._every_kind: dict[str, Callable[[], Awaitable[None]]] = kinds
        self._next_node = 0

    async def run(self, until_s: float) -> None:
        """Let things go wrong until ``until_s``."""
        loop = self.house.loop
        await asyncio.sleep(10.0)
        self._back_up_nodes()
        pace = self.house.pace
        while (is_time := loop.now_s < until_s) or (
            self._count() < pace.faults_least and loop.now_s < 2 * until_s
        ):
            before = self._count()
            (kind,) = self.chance.choices(list(self._kinds), self._weights)
            if not is_time:  # those that were chosen wait for each other
                kind = self.chance.choice(sorted(self._every_kind))
            self.begin(self._every_kind[kind]())
            await asyncio.sleep(1.0)
            if self._count() > before or kind in BY_MESSAGE:
                await asyncio.sleep(self.chance.expovariate(1 / pace.fault_pause_s))

    def _count(self) -> int:
        return sum(n for what, n in self.trace.counts.items() if what.startswith("fault"))

    def of_kind(self, kind: str) -> Awaitable[None]:
        """Return a fault of a kind, not yet begun."""
        return self._every_kind[kind]()

    def begin(self, work: Awaitable[None]) -> None:
        """Have ``work`` go on beside everything else, until faults stop."""

        async def run() -> None:
            try:
                await work
            except AssertionError:
                raise
            except Exception as error:
                raise BrokenPromiseError(f"a fault broke: {error!r}") from error

        task: asyncio.Task[None] = self.house.loop.create_task(run())
        self._running[task] = None
        task.add_done_callback(self._running.pop)

    async def stop(self) -> None:
        """End every fault: links are whole, disks have room, everything runs and is honest."""
        self.stopping = True
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))
        self.links.mend()
        for name, machine in self.member.machines.items():
            self._mend(machine)
            if machine.process is not None and machine.process.lies is not None:
                await self._restart_now(name)
        for name in (self._coordinator, *self.house.nodes_in_use()):
            if not self.member.machines[name].alive:
                self.member.start(name)
        self.trace.note("faults have stopped")

    def _mend(self, machine: Machine) -> None:
        disk = machine.disk
        disk.read_only = False
        disk.failing_reads = disk.failing_flushes = 0
        disk.total_bytes = 1 << 40
        disk.free_bytes = disk.total_bytes - sum(len(n.data) for _, n in disk.walk("/"))
        machine.stall_s = 0.0
        machine.clock.offset_s = 0.0
        if machine.process is not None:
            machine.process.kill_at = 0

    # --- choosing --------------------------------------------------------------------------------

    def _node(self) -> str | None:
        nodes = [one for one in self.house.nodes_in_use() if self.member.machines[one].alive]
        return self.chance.choice(nodes) if nodes else None

    def all_whole(self) -> bool:
        """Return whether nothing is damaged, so that something may be; forget what was if so."""
        if self._damaging or self.house.has_open_work():
            return False
        if not self.truth.is_whole(self.house.may_be_lost):
            return False
        self.dirty, self.behind = None, False
        return True

    def _victim(self) -> str | None:
        """Return a node whose copies may be damaged now."""
        if self.house.restoring:
            return None
        nodes = [one for one in self.house.nodes_in_use() if self.member.machines[one].alive]
        if self.dirty is not None and self.dirty in nodes and self.chance.random() < 0.5:
            return self.dirty
        if (self.dirty is not None or self.behind) and not self.all_whole():
            return self.dirty if self.dirty in nodes else None
        if not nodes:
            return None
        self.dirty = self.chance.choice(nodes)
        return self.dirty

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """Be under way with damage."""
        self._damaging += 1
        try:
            yield
        finally:
            self._damaging -= 1

    def _note_harm(self, name: str) -> None:
        bad = {copy for copy in self.truth.held(name) if not self.truth.is_good(name, *copy)}
        self._harmed.setdefault(name, set()).update(bad)

    def _stays(self) -> bool:
        """Return whether the member's nodes must stay as they are."""
        return self.house.restoring

    def _duration(self, most_s: float = 40.0) -> float:
        return self.chance.uniform(1.0, most_s) * self.house.pace.stretch

    # --- the network -----------------------------------------------------------------------------

    def ends(self) -> tuple[str, str]:
        """Return two machines that talk to each other."""
        names = [self._coordinator, *self.house.nodes_in_use()]
        people = [person.name for person in self.house.people]
        first = self.chance.choice(names)
        second = self.chance.choice([one for one in names + people if one != first])
        return (first, second) if self.chance.random() < 0.5 else (second, first)

    def apart(self, first: str) -> list[tuple[str, str]]:
        """Return the ways from ``first`` to all others."""
        return [(first, name) for name in self.member.machines if name != first]

    def busiest(self) -> list[tuple[str, str]]:
        """Return the ways from and to the coordinator."""
        return [
            ends
            for name in self.member.machines
            for ends in ((name, self._coordinator), (self._coordinator, name))
            if name != self._coordinator
        ]

    # --- processes -------------------------------------------------------------------------------

    async def _soon(self, machine: Machine) -> None:
        """Kill what runs there between any two of its next effects."""
        process = machine.process
        if process is None or not process.alive:
            return
        process.kill_at = process.effects + self.chance.randrange(1, 60)
        for _ in range(40):
            if machine.is_down():
                break
            await asyncio.sleep(0.25)
        process.kill_at = 0
        process.die()
        self.member.network.gone(process, silently=False)

    async def down_for(self, name: str) -> None:
        """Start ``name`` again after a while, and look whether it has what it had."""
        before = self.truth.held(name, dead=True) if name != self._coordinator else set()
        counted, was_dirty = self._counted(name), name == self.dirty
        away_s = RESTART_LEAST_S + self.chance.random() ** 3 * RESTART_MOST_S
        await asyncio.sleep(away_s * self.house.pace.stretch)
        self._start(name)
        if before and not was_dirty:
            await self._check_store(name, before, counted)

    def _counted(self, name: str, *, missing: bool = False) -> set[tuple[bytes, int]]:
        """Return the copies on a node that the catalogue counts now, and those that it counts as ``missing``."""
        if self.truth.database() is None:
            return set()
        return set(
            self.truth.rows(
                "SELECT k.hash, c.generation FROM copies c JOIN chunks k ON k.id = c.chunk"
                " JOIN nodes n ON n.id = c.node WHERE n.name = ? AND c.state BETWEEN 1 AND ?",
                name,
                2 if missing else 1,
            )
        )

    async def _check_store(
        self, name: str, before: set[tuple[bytes, int]], counted: set[tuple[bytes, int]]
    ) -> None:
        """Raise where an honest node with a whole disk came back without what it had promised.

        Or with what it had deleted.  When it died, its store showed what was there ``before``, and so
        much ``counted``.  It may have told of a loss by now; what was given up meanwhile may be gone.
        """
        machine = self.member.machines[name]
        process = machine.process
        for _ in range(100):
            if process is None or not process.alive or name == self.dirty:
                return
            if self.truth.store(name) is not None:
                break
            await asyncio.sleep(0.1)
        else:
            return
        held = self.truth.held(name)
        back = (held - before) & machine.deleted
        if back:
            raise BrokenPromiseError(f"{name} has {len(back)} copies again that it had deleted")
        lost = (self._counted(name, missing=True) & counted & before) - held - machine.deleted
        lost -= self._harmed.get(name, set())
        if lost:
            raise BrokenPromiseError(f"{name} came back without {len(lost)} copies that counted")

    def _start(self, name: str) -> None:
        if not self.member.machines[name].alive and name not in self.house.removed:
            self.member.start(name)

    async def _kill_coordinator(self) -> None:
        await self._kill("kill coordinator", self._coordinator)

    async def _kill_node(self) -> None:
        name = self._node()
        if name is not None:
            await self._kill("kill node", name)

    async def _kill(self, kind: str, name: str) -> None:
        machine = self.member.machines[name]
        if machine.alive:
            self.trace.fault(kind, name)
            await self._soon(machine)
            await self.down_for(name)

    async def _kill_client(self) -> None:
        person = self.chance.choice(self.house.people)
        if person.machine.alive:
            self.trace.fault("kill client", person.name)
            await self._soon(person.machine)
            await asyncio.sleep(self._duration(10.0))
            if person.machine.is_down():
                person.start()

    async def _power_coordinator(self) -> None:
        await self._power("power loss at coordinator", self._coordinator)

    async def _power_node(self) -> None:
        name = self._node()
        if name is not None:
            await self._power("power loss at node", name)

    async def _power(self, kind: str, name: str) -> None:
        machine = self.member.machines[name]
        if not machine.alive:
            return
        self.trace.fault(kind, name)
        if self.chance.random() < 0.7:
            await self._soon(machine)
        keep = random.Random(self.chance.random()) if self.chance.random() < 0.6 else None
        machine.cut_power(keep)
        await self.down_for(name)

    async def _restart(self) -> None:
        name = self.chance.choice([self._coordinator, *self.house.nodes_in_use()])
        if self.member.machines[name].alive:
            self.trace.fault("restart", name)
            await self.member.stop(name)
            await self.down_for(name)

    async def _restart_now(self, name: str) -> None:
        if self.member.machines[name].alive:
            await self.member.stop(name)
        self._start(name)

    # --- disks -----------------------------------------------------------------------------------

    async def _full_node(self) -> None:
        name = self._node()
        if name is not None:
            await self._full("node's disk full", name)

    async def _full_coordinator(self) -> None:
        await self._full("coordinator's disk full", self._coordinator)

    async def _full(self, kind: str, name: str) -> None:
        disk = self.member.machines[name].disk
        counted, dirty, restores = self._counted(name), self.dirty, self.house.desk.restores
        is_known = self.truth.database() is not None
        taken = max(0, disk.free_bytes - self.chance.choice((0, 100, 5000, 100_000)))
        disk.free_bytes -= taken
        self.trace.fault(kind, f"{name} {disk.free_bytes} bytes left")
        await asyncio.sleep(self._duration())
        disk.free_bytes += taken
        if is_known and restores == self.house.desk.restores and dirty != name:
            self._check_promised(name, counted)

    def _check_promised(self, name: str, before: set[tuple[bytes, int]]) -> None:
        """Raise where an honest node with a whole disk lacks copies that count, and did not ``before``."""
        fresh = self._counted(name) - before
        if not fresh or name == self.dirty or self.truth.store(name) is None:
            return
        lacking = fresh - self.truth.held(name)
        if lacking:
            raise BrokenPromiseError(f"{name} lacks {len(lacking)} copies that it has promised")

    async def _read_only_node(self) -> None:
        name = self._node()
        if name is not None:
            await self._read_only("node's disk read-only", name)

    async def _read_only_coordinator(self) -> None:
        await self._read_only("coordinator's disk read-only", self._coordinator)

    async def _read_only(self, kind: str, name: str) -> None:
        disk = self.member.machines[name].disk
        self.trace.fault(kind, name)
        disk.read_only = True
        await asyncio.sleep(self._duration(25.0))
        disk.read_only = False

    async def _failing_flush(self) -> None:
        name = self.chance.choice([self._coordinator, *self.house.nodes_in_use()])
        self.trace.fault("flush fails", name)
        disk = self.member.machines[name].disk
        disk.failing_flushes = self.chance.randrange(1, 5)
        await asyncio.sleep(self._duration(30.0))
        disk.failing_flushes = 0

    async def _slow_disk(self) -> None:
        name = self.chance.choice([self._coordinator, *self.house.nodes_in_use()])
        machine = self.member.machines[name]
        self.trace.fault("slow disk", name)
        machine.stall_s = self.chance.choice((0.05, 0.5, 3.0))
        await asyncio.sleep(self._duration(30.0))
        machine.stall_s = 0.0

    async def _clock(self) -> None:
        name = self.chance.choice(list(self.member.machines))
        jump_s = self.chance.choice((-3600.0, -60.0, -2.0, 2.0, 60.0, 300.0))
        self.trace.fault("clock jump", f"{name} {jump_s:+g} s")
        clock = self.member.machines[name].clock
        clock.offset_s += jump_s
        await asyncio.sleep(self._duration(60.0))
        clock.offset_s -= jump_s

    # --- data ------------------------------------------------------------------------------------

    def _stored_files(self, name: str) -> list[tuple[str, Inode]]:
        folder = f"/{name}/data/node"
        return [
            (path, node)
            for path, node in self.member.machines[name].disk.walk(folder)
            if ("/chunks/" in path or "/packs/" in path) and len(node.data) > 200
        ]

    async def _bit_flip(self) -> None:
        name = self._victim()
        files = self._stored_files(name) if name is not None else []
        if not files:
            return
        path, node = self.chance.choice(files)
        at = self.chance.randrange(120, len(node.data))
        node.data[at] ^= 1 << self.chance.randrange(8)
        self.trace.fault("bit flip", f"{path} at {at}")
        self._note_harm(name or "")

    async def _truncation(self) -> None:
        name = self._victim()
        files = self._stored_files(name) if name is not None else []
        if not files:
            return
        path, node = self.chance.choice(files)
        size = self.chance.randrange(len(node.data))
        self.trace.fault("truncation", f"{path} to {size} of {len(node.data)}")
        self.member.machines[name or ""].disk.free_bytes += len(node.data) - size
        del node.data[size:]
        node.flush()
        self._note_harm(name or "")

    async def _failing_read(self) -> None:
        name = self._victim()
        if name is None:
            return
        self.trace.fault("read fails", name)
        disk = self.member.machines[name].disk
        disk.failing_reads = self.chance.randrange(1, 6)
        with self._damage():
            await asyncio.sleep(self._duration(30.0))
        disk.failing_reads = 0

    async def _lost_disk(self) -> None:
        name = self._victim()
        if name is None:
            return
        self.trace.fault("disk lost", name)
        machine = self.member.machines[name]
        machine.kill()
        for path, node in list(machine.disk.walk(f"/{name}/data/node")):
            if "/chunks/" in path or "/packs/" in path:
                folder, short = machine.disk.parent(path)
                folder.change(short, None)
                folder.flush()
                machine.disk.free_bytes += len(node.data)
        await self.down_for(name)

    def _back_up_nodes(self) -> None:
        for name in self.house.nodes_in_use():
            found = self.member.machines[name].disk.node(f"/{name}/data")
            if isinstance(found, Folder):
                self._node_backups[name] = found.copy()

    async def _restore_node(self) -> None:
        name = self._victim()
        if name is None or name not in self._node_backups:
            self._back_up_nodes()
            return
        self.trace.fault("old backup of a node", name)
        machine = self.member.machines[name]
        machine.kill()
        machine.disk.replace(f"/{name}/data", self._node_backups[name].copy())
        machine.deleted.clear()
        if self.house.lost_future is not None:
            self.house.lost_future.nodes.pop(name, None)
        await self.down_for(name)
        self._back_up_nodes()

    # --- lies ------------------------------------------------------------------------------------

    async def _liar(self) -> None:
        name = self._victim()
        if name is None:
            return
        with self._damage():
            for kind in self.chance.sample(LIES, self.chance.randrange(1, 5)):
                await self._restart_now(name)
                process = self.member.machines[name].process
                if process is None or self.house.restoring:
                    break
                self.trace.fault(f"liar: {kind}", name)
                process.lies = Lies(kind, random.Random(self.chance.random()), [])
                await asyncio.sleep(self._duration(60.0))
            if self.member.machines[name].alive:
                await self._restart_now(name)

    # --- the operator ----------------------------------------------------------------------------

    async def operate(
        self,
        what: str,
        act: Callable[[Collective], Awaitable[Any]],
        *,
        person: Person | None = None,
    ) -> bool:
        """Do something as the operator, or as a ``person`` beside what they do; return whether it was done."""
        machine = self.member.operator
        if person is not None:
            machine = self.member.machine(f"{person.name}-aside")
        if machine.alive or not self.member.machines[self._coordinator].alive:
            return False
        process, world, links = machine.begin()
        done = False

        async def work() -> None:
            nonlocal done
            try:
                async with Collective.connect(
                    self.member.operator_credentials(world)
                    if person is None or person.credentials is None
                    else person.credentials,
                    (self.member.coordinator_address,),
                    world=world,
                    links=links,
                ) as home:
                    await act(home)
                    done = True
            except CollectiveError as error:
                self.trace.note(f"operator {what}: {error.code} {error.message}")

        try:
            await machine.run(process, work())
        finally:
            machine.kill()
        return done

    async def put_in_order(self) -> None:
        """Do what an operator does once everything runs again: nodes count fully, and are used."""
        house = self.house
        await self._refounding.finish()

        async def work(home: Collective) -> None:
            if house.was_restored:
                with contextlib.suppress(ConflictError):  # nothing is to be adopted (any more)
                    await home.nodes.adopt(everything=True)
            known = await home.nodes.list()
            names = [node.node for node in known if node.node in house.nodes_in_use()]
            await home.nodes.approve(names, even_doubted=True)
            for name in names:
                await home.nodes.drain(name, stop=True)

        for _ in range(20):
            await self._start_all()
            if house.was_restored:  # adopted is what has come back
                await asyncio.sleep(HEARTBEATS_S * house.pace.stretch)
            if await self.operate("put in order", work):
                house.draining.clear()
                await asyncio.sleep(5.0)
                if self._is_in_order():
                    return
            await asyncio.sleep(5.0)
        raise BrokenPromiseError("the operator cannot put the member in order")

    async def _start_all(self) -> None:
        """Start what has exited, and wait a while until all are ready."""
        nodes = self.house.nodes_in_use()
        for name in nodes:
            if not self.member.machines[name].alive:
                self.member.start(name)
        for _ in range(30):
            if all(self.member.is_ready(name) for name in nodes):
                return
            await asyncio.sleep(2.0)

    def _is_in_order(self) -> bool:
        """Return whether nothing waits for the operator: every node has joined, and counts fully."""
        if not self.truth.database() or self.truth.rows("SELECT restored FROM state") != [(0,)]:
            return False
        approved = self.truth.rows(
            "SELECT name FROM nodes WHERE standing = 'approved' AND removed = 0"
        )
        return {name for (name,) in approved}.issuperset(self.house.nodes_in_use())

    async def _add(self) -> None:
        if self.house.restoring or len(self.house.nodes_in_use()) >= NODES_MAX:
            return
        name = self.house.new_node_name()
        self.trace.fault("operator adds", name)
        self.member.start_node(name, code=self.member.node_code())
        self.house.nodes.append(name)

    async def _drain(self) -> None:
        nodes = self.house.nodes_in_use()
        if len(nodes) - len(self.house.draining) <= 3:
            if self.house.draining:
                name = self.chance.choice(sorted(self.house.draining))
                self.trace.fault("operator drains", f"{name} no more")
                if await self.operate("undrain", lambda home: home.nodes.drain(name, stop=True)):
                    self.house.draining.discard(name)
            return
        name = self.chance.choice(nodes)
        self.trace.fault("operator drains", name)
        self.house.draining.add(name)
        await self.operate("drain", lambda home: home.nodes.drain(name))

    async def _remove(self) -> None:
        """Remove a node without force: what counts must not be there any more."""
        for name in sorted(self.house.draining):
            if self.house.restoring:
                return
            self.trace.fault("operator removes", name)
            if await self.operate("remove", functools.partial(_remove_node, name)):
                self.house.forget_node(name)
                await asyncio.sleep(self._duration(10.0))
                self.member.machines[name].kill()
                return

    async def _remove_by_force(self) -> None:
        """Remove a node as one that is lost, with all that counts there."""
        house = self.house
        if len(house.nodes_in_use()) - len(house.draining) <= 3:
            return
        name = self._victim()
        if name is None or name in house.draining or self._damaging:
            return
        self.trace.fault("operator removes by force", name)
        with self._damage():
            if await self.operate("remove", functools.partial(_remove_node, name, force=True)):
                house.forget_node(name)
                await asyncio.sleep(self._duration(10.0))
                self.member.machines[name].kill()

    async def _replace(self) -> None:
        """Put new nodes in the place of old ones: add, approve, drain and remove, without a rest."""
        house = self.house
        old = [name for name in house.nodes_in_use() if name not in house.draining]
        if len(old) >= NODES_MAX or len(old) < 3 or house.restoring:
            return
        if len(house.nodes_in_use()) > house.pace.nodes_most:
            return
        leaving = self.chance.sample(old, self.chance.randrange(2, min(4, len(old))))
        more = max(len(leaving), NODES_FOR_ALL - len(old) + len(leaving))
        coming = [house.new_node_name() for _ in range(more)]
        self.trace.fault("operator replaces", f"{leaving} by {coming}")
        for name in coming:
            self.member.start_node(name, code=self.member.node_code())
            house.nodes.append(name)
        await asyncio.sleep(15.0 * house.pace.stretch)
        await self.operate("approve", functools.partial(_approve_nodes, coming))
        for name in leaving:
            house.draining.add(name)
            await self.operate("drain", functools.partial(_drain_node, name))
        left = list(leaving)
        for _ in range(12):
            for name in list(left):
                if self._stays():
                    break
                if await self.operate("remove", functools.partial(_remove_node, name)):
                    house.forget_node(name)
                    self.member.machines[name].kill()
                    left.remove(name)
            if not left:
                return
            await asyncio.sleep(10.0 * house.pace.stretch)

    async def _approve(self) -> None:
        names = self.house.nodes_in_use()
        self.trace.fault("operator approves", str(names))

        async def work(home: Collective) -> None:
            known = [node.node for node in await home.nodes.list()]
            await home.nodes.approve([name for name in names if name in known])

        await self.operate("approve", work)

    async def _adopt(self) -> None:
        """Adopt all nodes, whether there is a reason or not."""
        self.trace.fault("operator adopts")

        async def work(home: Collective) -> None:
            await home.nodes.adopt(everything=True)

        await self.operate("adopt", work)


async def _approve_nodes(names: list[str], home: Collective) -> None:
    await home.nodes.approve(names)


async def _drain_node(name: str, home: Collective) -> None:
    await home.nodes.drain(name)


async def _remove_node(name: str, home: Collective, *, force: bool = False) -> None:
    await home.nodes.remove(name, force=force)
