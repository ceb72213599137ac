"""One member of a run: what is known of it from outside, for its people, its faults and its judge."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from collective.client.collective import Collective
from collective.core.errors import ConflictError
from collective.core.ids import MemberId
from collective.core.paths import FilePath
from collective.model.people import InviteKind
from collective.model.rights import GrantTerms, Right
from collective.pki.credentials import Credentials
from collective.placement.quorum import quorum_of
from tests.simulation.clients import Desk, Person, Rights
from tests.simulation.faults import Faults
from tests.simulation.guards import Guards
from tests.simulation.member import MEMBER, Member
from tests.simulation.model import Files, chunks_of
from tests.simulation.process import BrokenPromiseError
from tests.simulation.restores import LostFuture
from tests.simulation.truth import Truth
from tests.simulation.tuning import CHUNK_BYTES

if TYPE_CHECKING:
    from tests.simulation.stage import Stage

TOPS: Final = {"/media": 3, "/docs": 2, "/attic": 3, "/wide": 5}
"""Datastores and copies; the last wants more than there are nodes, as a rule."""
NODES: Final = 4
RIGHTS: Final = {
    "ann": Rights(frozenset(TOPS), frozenset(TOPS)),
    "ben": Rights(frozenset(("/media", "/docs")), frozenset(("/media", "/docs"))),
    "cas": Rights(frozenset(("/media",)), frozenset(("/media",))),
    "dan": Rights(frozenset(("/docs",)), frozenset()),
}
"""Who joins, and with what rights."""


class Register(Protocol):
    """What somebody keeps of a member's catalogue."""

    def restored(self, from_s: float, until_s: float) -> None:
        """Hear that the catalogue is now as it was at some moment between the two."""
        ...


class House:
    """One member, its people, and what goes wrong there."""

    def __init__(
        self,
        stage: Stage,
        *,
        member: MemberId = MEMBER,
        prefix: str = "",
        tops: Mapping[str, int] = TOPS,
        rights: Mapping[str, Rights] = RIGHTS,
        nodes: int = NODES,
    ) -> None:
        """Prepare; nothing happens before :meth:`found`.

        ``prefix``: what the names of its machines and people begin with, where there are other members.
        """
        self.seed = seed = stage.seed
        self.pace = stage.pace
        self.loop = stage.loop
        self.trace = stage.trace
        self.prefix = prefix
        self.tops = tops
        self._rights = rights
        self._nodes_wanted = nodes
        self.member = Member(
            seed,
            self.loop,
            self.trace,
            around=stage.around,
            member=member,
            prefix=prefix,
            settings=stage.pace.settings,
        )
        self.files = Files(lambda: self.loop.now_s)
        self.registers: list[Register] = [self.files]
        """What is told when the catalogue is put back."""
        self.desk = Desk(self.member, self.files, random.Random(f"{seed} {prefix}desk"), self.pace)
        self.people: list[Person] = []
        self.guests: list[Person] = []
        """People of other members who use this one."""
        self.chance = random.Random(f"{seed} {prefix}scenario")
        self.nodes: list[str] = []
        self.removed: set[str] = set()
        self.draining: set[str] = set()
        self.restoring = False
        """Whether a backup of the coordinator was made and is to be put back: nodes stay as they are."""
        self.rotates = False
        """Whether the member's CA is being replaced."""
        self.nodes_are_late = False
        """Whether nodes are kept away from a coordinator that was put back,"""
        self.nodes_came_s = 0.0
        """and until when they were."""
        self.nodes_changed_s = 0.0
        """When the catalogue last did not have the nodes that are in use, seen every 2 s."""
        self._nodes_seen: tuple[Any, int, dict[str, int]] = None, 0, {}
        """The catalogue that was looked at last, how much it had changed by then, and its nodes."""
        self.was_restored = False
        self.lost_future: LostFuture | None = None
        """What the nodes know and the catalogue, as it was put back last, does not."""
        self._lost: set[bytes] = set()
        """Chunks that were deleted rightly, before the catalogue was put back to a time that had them."""
        self._names = 0
        self.faults = Faults(self)
        self.truth = Truth(self.member)
        self._guards = Guards(self)
        self.desk.check_acknowledged = self._check_acknowledged

    # --- what faults and judge ask ------------------------------------------------------------

    def nodes_in_use(self) -> list[str]:
        """Return the nodes that are not removed."""
        return [name for name in self.nodes if name not in self.removed]

    def new_node_name(self) -> str:
        """Return a name that no node has had."""
        self._names += 1
        return f"{self.prefix}n{self._names}"

    def forget_node(self, name: str) -> None:
        """Note that the operator removed a node."""
        self.removed.add(name)
        self.nodes_changed_s = self.loop.now_s
        self.draining.discard(name)

    def everybody(self) -> list[Person]:
        """Return all who use this member."""
        return [*self.people, *self.guests]

    def restored(self, from_s: float, until_s: float) -> None:
        """Note that the catalogue is now as it was at some moment between the two."""
        self.desk.restores += 1
        for register in self.registers:
            register.restored(from_s, until_s)

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
        quorum = quorum_of(self.tops[f"/{path.split('/')[1]}"])
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

    # --- the member -----------------------------------------------------------------------------

    async def keep_running(self) -> None:
        """Start again what ended by itself, as a service manager does."""
        while True:
            await asyncio.sleep(2.0)
            self.watch_nodes()
            self._guards.watch()
            for name in (self.member.coordinator, *self.nodes_in_use()):
                if self.member.exits.get(name) is not None and not self.member.machines[name].alive:
                    await asyncio.sleep(self.chance.uniform(0.0, 3.0))
                    if not self.member.machines[name].alive:
                        self.member.start(name)

    def watch_nodes(self) -> None:
        """Note when the catalogue has not all nodes that are in use, or others."""
        database = self.truth.database()
        if database is None:
            return
        if (database, database.total_changes()) != self._nodes_seen[:2]:
            nodes = dict(self.truth.rows("SELECT name, removed FROM nodes"))
            self._nodes_seen = database, database.total_changes(), nodes
        nodes = self._nodes_seen[2]
        for name in self.nodes_in_use():
            if nodes.get(name):  # the operator did not hear that it was done
                self.forget_node(name)
                self.member.machines[name].kill()
        known = {name for name, removed in nodes.items() if not removed}
        if known != set(self.nodes_in_use()):
            self.nodes_changed_s = self.loop.now_s

    def make_person(self, name: str, credentials: Credentials, rights: Rights) -> Person:
        """Return a person that joined."""
        return Person(name, self.desk, credentials, rights)

    async def make_datastores(self, home: Collective) -> None:
        """Make those that are not there."""
        for top, copies in self.tops.items():
            with contextlib.suppress(ConflictError):
                await home.datastores.create(top, copies=copies)

    async def found(self) -> None:
        """Start the coordinator and nodes, make datastores, invite people."""
        member = self.member
        member.start_coordinator()
        await member.until_ready(member.coordinator)
        code = member.node_code()
        names = self.nodes[:] = [self.new_node_name() for _ in range(self._nodes_wanted)]
        for name in names:
            member.start_node(name, code=code)
        await member.until_ready(*names)
        operator = member.operator
        process, world, links = operator.begin()
        credentials = member.operator_credentials(world)
        codes: dict[str, str] = {}
        rights = {f"{self.prefix}{name}": may for name, may in self._rights.items()}

        async def operate() -> None:
            async with Collective.connect(
                credentials, (member.coordinator_address,), world=world, links=links
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
            self.people.append(self.make_person(name, joined, may))
        self.nodes_changed_s = self.loop.now_s
