"""One run: a member is founded, used while things go wrong, left in peace, and judged."""

from __future__ import annotations

import asyncio
import contextlib
import random
import traceback
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from collective.client.collective import Collective
from collective.core.errors import ConflictError
from collective.core.paths import FilePath
from collective.model.people import InviteKind
from collective.model.rights import GrantTerms, Right
from collective.pki.credentials import Credentials
from collective.placement.evidence import quorum_of
from collective.rpc.gen.collective.v1 import node as pb
from tests.simulation.clients import PATIENCE_S, Desk, Person, Rights
from tests.simulation.faults import Faults
from tests.simulation.guards import Guards
from tests.simulation.judge import Judge
from tests.simulation.liar import able_to_lie, as_sent
from tests.simulation.loop import VirtualLoop, ending_quietly
from tests.simulation.member import COORDINATOR, COORDINATOR_ADDRESS, Member
from tests.simulation.model import Files, chunks_of
from tests.simulation.process import BrokenPromiseError, Process
from tests.simulation.restores import LostFuture
from tests.simulation.trace import Trace
from tests.simulation.truth import Truth
from tests.simulation.tuning import CHUNK_BYTES, tuned

TOPS: Final = {"/media": 3, "/docs": 2, "/attic": 3, "/wide": 5}
"""Datastores and copies; the last wants more than there are nodes, as a rule."""
NODES: Final = 4
FAULTY_PART: Final = 0.7
QUIET_PART: Final = 0.1
"""Of a run's minutes: with faults, then without; what is left is for settling and judging."""
READ_MOST: Final = 5
"""How often everything is read at the end, until enough was acknowledged."""
ACKNOWLEDGED_LEAST: Final = 200
"""Operations that a run of ten minutes has acknowledged at least."""


@dataclass(slots=True)
class Result:
    """What one run came to."""

    seed: int
    digest: str
    counts: Counter[str]
    simulated_s: float
    failure: str = ""
    tail: list[str] = field(default_factory=list)


class Scenario:
    """The parts of one run."""

    def __init__(self, seed: int, minutes: float) -> None:
        """Prepare; nothing happens before :meth:`run`."""
        self.seed = seed
        self.minutes = minutes
        self.loop = VirtualLoop()
        self.trace = Trace(lambda: self.loop.now_s)
        self.member = Member(seed, self.loop, self.trace)
        self.member.network.hook = self._sent
        self.files = Files(lambda: self.loop.now_s)
        self.desk = Desk(self.member, self.files, random.Random(f"{seed} desk"), minutes)
        self.people: list[Person] = []
        self.chance = random.Random(f"{seed} scenario")
        self.nodes: list[str] = []
        self.removed: set[str] = set()
        self.draining: set[str] = set()
        self.restoring = False
        """Whether a backup of the coordinator was made and is to be put back: nodes stay as they are."""
        self.nodes_changed_s = 0.0
        """When the catalogue last did not have the nodes that are in use, seen every 2 s."""
        self.was_restored = False
        self.lost_future: LostFuture | None = None
        """What the nodes know and the catalogue, as it was put back last, does not."""
        self._lost: set[bytes] = set()
        """Chunks that were deleted rightly, before the catalogue was put back to a time that had them."""
        self._names = 0
        self._operator: Credentials | None = None
        self.faults = Faults(self)
        self.truth = Truth(self.member)
        self._guards = Guards(self)
        self.desk.check_acknowledged = self._check_acknowledged

    def run(self) -> Result:
        """Run to the end and judge."""
        failure = ""
        try:
            self.loop.run(self._main())
        except AssertionError as error:
            failure = _told(error)
        result = Result(
            self.seed,
            self.trace.digest(),
            self.trace.counts,
            self.loop.now_s,
            failure,
            list(self.trace.tail),
        )
        self._dispose()
        return result

    def _dispose(self) -> None:
        """Let go of everything while nothing of it can have an effect."""
        for machine in self.member.machines.values():
            machine.kill()
            for process in machine.processes:
                process.forget()
        self.trace.close()
        self.loop.close()
        self.member.vfs.forget()
        self.member.machines.clear()
        self.member.roles.clear()
        self.people.clear()

    def _sent(self, process: Process, method: str, message: Any) -> Any:
        """Return what a process sends instead of ``message``, and note what nodes deleted."""
        if isinstance(message, pb.DeleteCopiesResponse) and process.lies is None:
            name = process.name.partition(".")[0]
            self.member.machines[name].deleted.update(
                (copy.chunk_id, copy.generation) for copy in message.deleted
            )
        return as_sent(process, method, message)

    # --- what faults and judge ask ------------------------------------------------------------

    def nodes_in_use(self) -> list[str]:
        """Return the nodes that are not removed."""
        return [name for name in self.nodes if name not in self.removed]

    def new_node_name(self) -> str:
        """Return a name that no node has had."""
        self._names += 1
        return f"n{self._names}"

    def forget_node(self, name: str) -> None:
        """Note that the operator removed a node."""
        self.removed.add(name)
        self.nodes_changed_s = self.loop.now_s
        self.draining.discard(name)

    def operator_credentials(self) -> Credentials:
        """Return what the operator shows."""
        assert self._operator is not None
        return self._operator

    def has_open_work(self) -> bool:
        """Tell whether anybody changes anything now."""
        return bool(self.desk.busy)

    def may_be_lost(self, chunk: bytes) -> bool:
        """Tell whether a chunk may be unreadable through no fault of the product.

        A backup names files that were removed or replaced after it, and no backup of a catalogue brings
        back what collection deleted meanwhile.
        """
        return chunk in self._lost

    def note_lost(self, needed: Collection[int]) -> None:
        """Note which chunks were gone when the catalogue was put back, and rightly so.

        That is one that no node had any more, not even a node that is down, and of a content that no
        file certainly had before (``needed``).  Any other has to have its copies in the end: one that
        was deleted though a file had it, and one that a restored coordinator lets go.
        """
        held = {
            chunk for name in self.nodes_in_use() for chunk, _ in self.truth.held(name, dead=True)
        }
        for value in self.files.all_possible():
            if value not in needed:
                self._lost.update(set(chunks_of(value, CHUNK_BYTES)) - held)

    def _check_acknowledged(self, path: str, value: int) -> None:
        """Raise where a chunk of what was just acknowledged is on too few disks, or counted too few times.

        A node that does not run may have it; one whose data is damaged, or that lies, need not.
        """
        nodes, dirty = self.nodes_in_use(), self.faults.dirty
        quorum = quorum_of(TOPS[f"/{path.split('/')[1]}"])
        is_dirty = dirty in nodes
        unknown = sum(not self.member.is_ready(name) for name in nodes) + is_dirty
        runs = self.truth.database() is not None
        for chunk in chunks_of(value, CHUNK_BYTES):
            self._lost.discard(chunk)
            there = [one for one in self.truth.holders(chunk) if one in nodes and one != dirty]
            counted = quorum
            if runs:
                ((counted,),) = self.truth.rows(
                    "SELECT count(*) FROM copies c JOIN chunks k ON k.id = c.chunk"
                    " WHERE k.hash = ? AND c.state = 1",
                    chunk,
                )
            if min(len(there) + unknown, counted + is_dirty) < quorum:
                raise BrokenPromiseError(
                    f"a write of {path} was acknowledged, and its chunk {chunk.hex()[:16]} is on"
                    f" {there} alone, and counted {counted} times"
                )

    # --- the run ------------------------------------------------------------------------------

    async def _main(self) -> None:
        await self.found()
        for person in self.people:
            person.start()
        faults, judge = self.faults, Judge(self)
        watch = self.loop.create_task(self._keep_running())
        await faults.run(self.loop.now_s + self.minutes * 60 * FAULTY_PART)
        await faults.stop()
        await faults.put_in_order()
        await asyncio.sleep(self.minutes * 60 * QUIET_PART)
        for person in self.people:
            person.stopped = True
        for _ in range(int(PATIENCE_S)):
            if all(person.machine.is_down() or person.idle for person in self.people):
                break
            await asyncio.sleep(1.0)
        await judge.settle()
        enough = ACKNOWLEDGED_LEAST * min(1.0, self.minutes / 10)
        for _ in range(READ_MOST):
            await judge.read_everything()
            if self.trace.counts["acknowledged"] >= enough:
                break
        judge.check_noticed()
        judge.check_defects()
        watch.cancel()
        await asyncio.sleep(max(0.0, self.minutes * 60 - self.loop.now_s))

    async def _keep_running(self) -> None:
        """Start again what ended by itself, as a service manager does."""
        while True:
            await asyncio.sleep(2.0)
            self.watch_nodes()
            self._guards.watch()
            for name in (COORDINATOR, *self.nodes_in_use()):
                if self.member.exits.get(name) is not None and not self.member.machines[name].alive:
                    await asyncio.sleep(self.chance.uniform(0.0, 3.0))
                    if not self.member.machines[name].alive:
                        self.member.start(name)

    def watch_nodes(self) -> None:
        """Note when the catalogue has not all nodes that are in use, or others."""
        if self.truth.database() is None:
            return
        nodes = dict(self.truth.rows("SELECT name, removed FROM nodes"))
        for name in self.nodes_in_use():
            if nodes.get(name):  # the operator did not hear that it was done
                self.forget_node(name)
                self.member.machines[name].kill()
        known = {name for name, removed in nodes.items() if not removed}
        if known != set(self.nodes_in_use()):
            self.nodes_changed_s = self.loop.now_s

    async def make_datastores(self, home: Collective) -> None:
        """Make those that are not there."""
        for top, copies in TOPS.items():
            with contextlib.suppress(ConflictError):
                await home.datastores.create(top, copies=copies)

    async def found(self) -> None:
        """Start the coordinator and nodes, make datastores, invite people."""
        member = self.member
        member.start_coordinator()
        await member.until_ready(COORDINATOR)
        code = member.node_code()
        names = self.nodes[:] = [self.new_node_name() for _ in range(NODES)]
        for name in names:
            member.start_node(name, code=code)
        await member.until_ready(*names)
        operator = member.machine("operator")
        process, world, links = operator.begin()
        credentials = self._operator = member.operator_credentials(world)
        codes: dict[str, str] = {}
        rights = {
            "ann": Rights(frozenset(TOPS), frozenset(TOPS)),
            "ben": Rights(frozenset(("/media", "/docs")), frozenset(("/media", "/docs"))),
            "cas": Rights(frozenset(("/media",)), frozenset(("/media",))),
            "dan": Rights(frozenset(("/docs",)), frozenset()),
        }

        async def operate() -> None:
            async with Collective.connect(
                credentials, (COORDINATOR_ADDRESS,), world=world, links=links
            ) as home:
                await self.make_datastores(home)
                for name, may in rights.items():
                    grants = [
                        GrantTerms(
                            FilePath.parse(top),
                            Right.READ | Right.WRITE if top in may.write else Right.READ,
                        )
                        for top in sorted(may.read)
                    ]
                    made = await home.people.invite(kind=InviteKind.USER, grants=grants)
                    codes[name] = made.code

        await operator.run(process, operate())
        operator.kill()
        for name, may in rights.items():
            machine = member.machine(name)
            process, world, links = machine.begin()
            joined = await machine.run(process, member.join_user(name, world, links, codes[name]))
            machine.kill()
            self.people.append(Person(name, self.desk, joined, may))
        self.nodes_changed_s = self.loop.now_s


def _told(error: AssertionError) -> str:
    """Return what a broken promise says, or where an assertion failed."""
    if isinstance(error, BrokenPromiseError):
        return f"{type(error).__name__}: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.line}"
    return f"{type(error).__name__}: {error} ({where})"


def run_seed(seed: int, minutes: float = 10.0) -> Result:
    """Run one seed."""
    with tuned(), able_to_lie():
        return run_here(seed, minutes)


def run_here(seed: int, minutes: float) -> Result:
    """Run one seed where everything is tuned already, and collect what it leaves."""
    with ending_quietly():
        return Scenario(seed, minutes).run()
