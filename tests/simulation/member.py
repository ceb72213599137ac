"""A simulated member: a coordinator, its nodes, and whoever uses it, each on a machine of its own.

Several members may share what is around them: their machines then have names of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Self

from collective.client.joining import redeem, renew_trusting
from collective.core.ids import Domain, MemberId, NodeId, SpiffeId
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.core.world import World
from collective.pki import invite_code
from collective.pki.cert_dir import CertDir
from collective.pki.credentials import Credentials, load_credentials, save_credentials
from collective.pki.pem_files import load_or_create_key
from collective.pki.revocation import RevocationSet
from collective.roles.coordinator.app import CoordinatorRole
from collective.roles.node.app import NodeRole
from collective.roles.runtime import lifecycle
from collective.roles.runtime.lifecycle import Runtime
from collective.roles.runtime.metrics import Metrics
from collective.roles.runtime.notify import Notifier
from collective.rpc.links import Links
from collective.rpc.tls.gate import PeerGate
from tests.simulation.database import SimulatedVfs
from tests.simulation.loop import VirtualLoop
from tests.simulation.machine import Machine
from tests.simulation.network import Network, SimulatedLinks
from tests.simulation.process import Process
from tests.simulation.trace import Trace

MEMBER: Final = MemberId("alice")
COORDINATOR: Final = "coordinator"
COORDINATOR_ADDRESS: Final = Address(COORDINATOR, 7000)
BOOTSTRAP_ADDRESS: Final = Address(COORDINATOR, 7001)
NODE_PORT: Final = 7100
REPEATABLE: Final = frozenset(
    f"/collective.v1.{method}"
    for method in (
        "uploads.Uploads/AllocateChunks",
        "uploads.Uploads/RecordExtents",
        "uploads.Uploads/CommitUpload",
        "uploads.Uploads/GetUpload",
        "reads.Reads/OpenRead",
        "reads.Reads/PlanRead",
        "reads.Reads/CloseRead",
        "files.Files/Stat",
        "files.Files/List",
        "node.NodeRegistry/Heartbeat",
        "node.NodeRegistry/ReportProblems",
        "node.Node/DeleteCopies",
        "node.Node/ChallengeCopies",
    )
)
"""Calls that somebody repeats when an answer is lost: each may arrive twice."""
BASE: Final = ServeSettings(
    roles=frozenset(),
    copies=3,
    heartbeat_interval_s=20.0,
    node_suspect_after_s=45.0,
    node_down_after_s=65.0,
    node_lost_after_s=110.0,
    collection_grace_s=30.0,
    snapshot_interval_s=40.0,
    scrub_cycle_s=300.0,
    drain_timeout_s=5.0,
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every machine of a run shares."""

    network: Network
    vfs: SimulatedVfs

    @classmethod
    def made(cls, seed: int, loop: VirtualLoop, trace: Trace) -> Self:
        """Make those of a run."""
        network = Network(loop, trace, random.Random(f"{seed} network").getrandbits(64))
        network.repeatable = REPEATABLE
        return cls(network, SimulatedVfs(random.Random(f"{seed} vfs").getrandbits(64)))


class Member:
    """One member: its machines, and what runs on them."""

    def __init__(
        self,
        seed: int,
        loop: VirtualLoop,
        trace: Trace,
        *,
        around: Surroundings | None = None,
        member: MemberId = MEMBER,
        prefix: str = "",
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Have no machine yet; each will have a name that begins with ``prefix``.

        ``settings``: what programs have in the place of ``BASE``.
        """
        self._base = replace(BASE, **settings)
        self.seed = seed
        self.loop = loop
        self.trace = trace
        around = around or Surroundings.made(seed, loop, trace)
        self.network = around.network
        self.vfs = around.vfs
        self.prefix = prefix
        self._id = member
        self.domain: Final = Domain(f"home.{member}")
        self.coordinator: Final = f"{prefix}{COORDINATOR}"
        """The machine of the coordinator."""
        self.coordinator_address: Final = Address(self.coordinator, COORDINATOR_ADDRESS.port)
        self.data_folder: Final = f"/{self.coordinator}/data"
        bootstrap_address = Address(self.coordinator, BOOTSTRAP_ADDRESS.port)
        self.machines: dict[str, Machine] = {}
        self.roles: dict[str, Any] = {}
        """The role object that was made last on a machine, for the judge to look into."""
        self._made_by: dict[str, Process] = {}
        self.stops: dict[str, asyncio.Event] = {}
        self.exits: dict[str, int | None] = {}
        self.started_s: dict[str, float] = {}
        """When the program on a machine was started last."""
        self._operator: tuple[list[bytes], Credentials] | None = None
        """The files of the coordinator's certificate, and what is in them."""
        self.node_settings: dict[str, ServeSettings] = {}
        self.coordinator_settings = replace(
            self._base,
            roles=frozenset(("coordinator",)),
            member_id=member,
            domain=self.domain,
            name=f"{member}-homelab",
            coordinator_address=self.coordinator_address,
            advertise_addresses=(self.coordinator_address,),
            bootstrap_address=bootstrap_address,
            bootstrap_advertise_addresses=(bootstrap_address,),
            data_dir=self.data_folder,
            cert_dir=f"/{self.coordinator}/certs",
        )

    def machine(self, name: str) -> Machine:
        """Return the machine called ``name``, made if it is new."""
        found = self.machines.get(name)
        if found is None:
            found = self.machines[name] = Machine(
                name, self.loop, self.network, self.vfs, self.trace, self.seed
            )
        return found

    # --- programs --------------------------------------------------------------------------------

    def start_coordinator(self) -> None:
        """Start the coordinator."""
        self._start(self.coordinator, self.coordinator_settings, CoordinatorRole)

    def start_node(self, name: str, *, code: str | None = None, capacity: int = 1 << 28) -> None:
        """Start a node, the first time with a join code."""
        settings = self.node_settings.get(name)
        if settings is None or code is not None:
            settings = self.node_settings[name] = replace(
                self._base,
                roles=frozenset(("node",)),
                node_address=Address(name, NODE_PORT),
                advertise_addresses=(Address(name, NODE_PORT),),
                coordinator_address=self.coordinator_address,
                node_id=NodeId(name),
                storage_capacity_bytes=capacity,
                join_code=code,
                data_dir=f"/{name}/data",
                cert_dir=f"/{name}/certs",
            )
        self._start(name, settings, NodeRole)

    def start(self, name: str) -> None:
        """Start again what runs on a machine."""
        if name == self.coordinator:
            self.start_coordinator()
        else:  # one that never enrolled gets the code that is good now
            disk = self.machines[name].disk
            has_joined = disk.node(
                CertDir(f"/{name}/certs", self.place.member).node_certificate(NodeId(name))
            )
            self.start_node(name, code=None if has_joined else self.node_code())

    def _start(self, name: str, settings: ServeSettings, role: Any) -> None:
        machine = self.machine(name)
        process, world, links = machine.begin()
        stop = self.stops[name] = asyncio.Event()
        self.exits[name] = None
        self.started_s[name] = self.loop.now_s
        self.trace.note(f"{process.name} starts")
        if machine.lives > 1:
            self.trace.count("restarts")
        machine.run(process, self._serve(name, process, world, links, settings, role, stop))

    async def _serve(
        self,
        name: str,
        process: Process,
        world: World,
        links: SimulatedLinks,
        settings: ServeSettings,
        role: Any,
        stop: asyncio.Event,
    ) -> None:
        def build(runtime: Runtime) -> Sequence[Any]:
            made = self.roles[name] = role(runtime)
            self._made_by[name] = process
            process.keep.append(made)
            return [made]

        runtime = Runtime(settings, Metrics(), world, links, {})
        code = await lifecycle.serve(runtime, build, stop, Notifier({}))
        if process.alive:
            self.trace.note(f"{process.name} exits with {code}")
            self.exits[name] = code
            process.die()
            self.network.gone(process, silently=False)

    async def stop(self, name: str) -> None:
        """Stop a program as SIGTERM does, and return when it has ended."""
        machine = self.machines[name]
        self.trace.note(f"{name} is told to stop")
        self.stops[name].set()
        while machine.alive:
            await asyncio.sleep(0.1)

    # --- waiting ---------------------------------------------------------------------------------

    def running(self, name: str) -> Any:
        """Return what a machine's process has made; None while none runs, or it has not come so far."""
        machine = self.machines.get(name)
        if machine is None or not machine.alive or self._made_by.get(name) is not machine.process:
            return None
        return self.roles.get(name)

    def is_ready(self, name: str) -> bool:
        """Whether the program on a machine runs and says that it is ready."""
        role = self.running(name)
        return role is not None and bool(role.ready())

    async def until_ready(self, *names: str, timeout_s: float = 60.0) -> None:
        """Return when all of ``names`` are ready; AssertionError after ``timeout_s``."""
        until_s = self.loop.now_s + timeout_s
        while not all(self.is_ready(name) for name in names):
            assert self.loop.now_s < until_s, f"not ready: {names}"
            await asyncio.sleep(0.2)

    # --- identities ------------------------------------------------------------------------------

    @property
    def operator(self) -> Machine:
        """The machine of the operator."""
        return self.machine(f"{self.prefix}operator")

    @property
    def place(self) -> CertDir:
        """Where the coordinator's certificates are."""
        return CertDir(self.coordinator_settings.cert_dir, self._id)

    def node_code(self) -> str:
        """Return the join code for nodes that the coordinator wrote to its disk."""
        disk = self.machines[self.coordinator].disk
        return bytes(disk.file(self.place.join_code("node")).data).decode().strip()

    def operator_credentials(self, world: World) -> Credentials:
        """Return the coordinator's own credentials, as an operator on its machine uses them."""
        disk, here = self.machines[self.coordinator].disk, world.disk
        paths = (
            self.place.coordinator_certificate,
            self.place.coordinator_key,
            self.place.ca_certificate,
        )
        found = [bytes(disk.file(path).data) for path in paths]
        if self._operator is None or self._operator[0] != found:
            copies = [f"/{self.operator.name}{path}" for path in paths]
            for path, data in zip(copies, found, strict=True):
                here.make_dir(path.rpartition("/")[0])
                with contextlib.suppress(FileNotFoundError):
                    here.unlink(path)
                with here.open(path, "create") as file:
                    file.write(data, 0)
            certificate, key, ca = copies
            self._operator = found, load_credentials(certificate, key, ca, disk=here)
        return self._operator[1]

    async def join_user(self, machine: str, world: World, links: Any, text: str) -> Credentials:
        """Redeem an invite on a machine and return the credentials that it gives."""
        code = invite_code.parse(text)
        folder = f"/{machine}/user"
        world.disk.make_dir(folder)
        key = load_or_create_key(f"{folder}/user.key", world)
        joined = await redeem(code, key, clock=world.clock, links=links, wish="@")
        return save_credentials(
            f"{folder}/user.crt",
            f"{folder}/user.key",
            f"{folder}/ca.crt",
            certificate=joined.certificate,
            private_key=key,
            authority=joined.authority,
            disk=world.disk,
        )

    async def renew_user(self, known: Credentials, world: World, links: Links) -> Credentials:
        """Return a person's credentials renewed, by the CA that is the newest now."""
        channel = links.channel(
            (self.coordinator_address,),
            credentials=known,
            gate=PeerGate(known.trust(), RevocationSet(), world.clock),
            expect=SpiffeId.coordinator(self.domain),
        )
        async with channel:
            return await renew_trusting(channel, known, clock=world.clock)
