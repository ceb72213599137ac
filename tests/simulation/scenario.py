"""One run: a member is founded, used while things go wrong, left in peace, and judged."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from collective.client.collective import Collective
from collective.pki.credentials import Credentials
from collective.rpc.gen.collective.v1 import InviteGrant, InviteKind, Right
from tests.simulation.clients import PATIENCE_S, Desk, Person, Rights
from tests.simulation.faults import Faults
from tests.simulation.judge import Judge
from tests.simulation.liar import able_to_lie, hook
from tests.simulation.loop import VirtualLoop, ending_quietly
from tests.simulation.member import COORDINATOR, COORDINATOR_ADDRESS, Member
from tests.simulation.model import Files
from tests.simulation.trace import Trace
from tests.simulation.tuning import tuned

TOPS: Final = {"/media": 3, "/docs": 2, "/attic": 3}
NODES: Final = 4
FAULTY_PART: Final = 0.7


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
        self.member.network.hook = hook
        self.files = Files(lambda: self.loop.now_s)
        self.desk = Desk(self.member, self.files, random.Random(f"{seed} desk"))
        self.people: list[Person] = []
        self.chance = random.Random(f"{seed} scenario")
        self.nodes: list[str] = []
        self.removed: set[str] = set()
        self.draining: set[str] = set()
        self.restoring = False
        self.was_restored = False
        self._names = 0
        self._operator: Credentials | None = None

    def run(self) -> Result:
        """Run to the end and judge."""
        failure = ""
        with ending_quietly():
            try:
                self.loop.run(self._main())
            except AssertionError as error:
                failure = f"{type(error).__name__}: {error}"
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
        self.member.vfs.machines.clear()
        self.member.vfs.unregister()
        self.member.machines.clear()
        self.member.roles.clear()
        self.people.clear()

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
        self.draining.discard(name)

    def operator_credentials(self) -> Credentials:
        """Return what the operator shows."""
        assert self._operator is not None
        return self._operator

    def has_open_work(self) -> bool:
        """Tell whether anybody changes anything now."""
        return bool(self.desk.busy)

    def may_be_lost(self, chunk: bytes) -> bool:
        """Tell whether a chunk may be unreadable through no fault of the product."""
        del chunk
        return False

    # --- the run ------------------------------------------------------------------------------

    async def _main(self) -> None:
        await self.found()
        for person in self.people:
            person.start()
        faults, judge = Faults(self), Judge(self)
        watch = self.loop.create_task(self._keep_running())
        await faults.run(self.loop.now_s + self.minutes * 60 * FAULTY_PART)
        await faults.stop()
        await faults.put_in_order()
        await asyncio.sleep(self.minutes * 60 * (1 - FAULTY_PART))
        for person in self.people:
            person.stopped = True
        await asyncio.sleep(PATIENCE_S)
        await judge.settle()
        await judge.read_everything()
        judge.check_defects()
        watch.cancel()

    async def _keep_running(self) -> None:
        """Start again what ended by itself, as a service manager does."""
        while True:
            await asyncio.sleep(2.0)
            for name in (COORDINATOR, *self.nodes_in_use()):
                if self.member.exits.get(name) is not None and not self.member.machines[name].alive:
                    await asyncio.sleep(self.chance.uniform(0.0, 3.0))
                    if not self.member.machines[name].alive:
                        self.member.start(name)

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
                for top, copies in TOPS.items():
                    await home.people.create_datastore(top, copies=copies)
                for name, may in rights.items():
                    grants = [
                        InviteGrant(
                            path=top,
                            rights=[Right.READ, Right.WRITE] if top in may.write else [Right.READ],
                        )
                        for top in sorted(may.read)
                    ]
                    made = await home.people.generate_invite(kind=InviteKind.USER, grants=grants)
                    codes[name] = made.code

        await operator.run(process, operate())
        operator.kill()
        for name, may in rights.items():
            machine = member.machine(name)
            process, world, links = machine.begin()
            joined = await machine.run(process, member.join_user(name, world, links, codes[name]))
            machine.kill()
            self.people.append(Person(name, self.desk, joined, may))


def run_seed(seed: int, minutes: float = 10.0) -> Result:
    """Run one seed."""
    with tuned(), able_to_lie():
        return Scenario(seed, minutes).run()
