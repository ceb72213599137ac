"""One member of the demo: its processes, ports and commands."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from collective.core.errors import ExitCode

NODES: Final = 3
MEMBERS: Final = (
    ("alice", "home.alice"),
    ("bob", "garage.bob"),
    ("carol", "office.carol"),
)
LOOPBACK: Final = "127.0.0.1"
COORDINATOR_PORT: Final = 8001
BOOTSTRAP_PORT: Final = 9001
METRICS_PORT: Final = 9091
NODE_CAPACITY: Final = "512MiB"
STOP_TIMEOUT_S: Final = 25.0
START_TIMEOUT_S: Final = 90.0
COMMAND_TIMEOUT_S: Final = 120.0
LOG_TAIL_BYTES: Final = 3000


class DemoError(Exception):
    """A step of the demo did not do what it should; the message says which and how."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one member on loopback."""

    coordinator: int
    bootstrap: int
    metrics: int
    nodes: tuple[int, ...]


@dataclass(slots=True)
class Process:
    """One ``collective serve``."""

    name: str
    role: str
    environment: dict[str, str]
    log_path: Path
    running: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self.running is not None and self.running.poll() is None

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the demo alone."""
        with self.log_path.open("ab") as log:
            self.running = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "collective", "serve", "--role", self.role],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill -9."""
        if self.running is not None:
            self.running.kill()
            self.running.wait()

    def log_tail(self) -> str:
        """Return the end of its log."""
        raw = self.log_path.read_bytes()[-LOG_TAIL_BYTES:] if self.log_path.exists() else b""
        return f"--- {self.name}\n{raw.decode(errors='replace')}"


@dataclass(slots=True)
class Member:
    """A coordinator, its nodes, and commands as its operator."""

    name: str
    domain: str
    folder: Path
    ports: Ports
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare the processes; nothing is started."""
        self.folder.mkdir(parents=True, exist_ok=True)
        coordinator = {
            "COLLECTIVE_BOOTSTRAP_ADDRESS": f"{LOOPBACK}:{self.ports.bootstrap}",
            "COLLECTIVE_METRICS_ADDRESS": f"{LOOPBACK}:{self.ports.metrics}",
        }
        self._add("coordinator", "coordinator", coordinator)
        for number, port in enumerate(self.ports.nodes, 1):
            node = f"{self.name}-node-{number:02}"
            own = {
                "COLLECTIVE_NODE_ID": node,
                "COLLECTIVE_NODE_ADDRESS": f"{LOOPBACK}:{port}",
                "COLLECTIVE_STORAGE_CAPACITY": NODE_CAPACITY,
                "COLLECTIVE_JOIN_CODE_FILE": str(self._certs("coordinator") / "join/node.code"),
            }
            self._add(node, "node", own)

    def _certs(self, name: str) -> Path:
        return self.folder / name / "certs"

    def _add(self, name: str, role: str, own: dict[str, str]) -> None:
        environment = _clean_environment() | {
            "COLLECTIVE_MEMBER_ID": self.name,
            "COLLECTIVE_DOMAIN": self.domain,
            "COLLECTIVE_COORDINATOR_ADDRESS": f"{LOOPBACK}:{self.ports.coordinator}",
            "COLLECTIVE_DATA_DIR": str(self.folder / name / "data"),
            "COLLECTIVE_CERT_DIR": str(self._certs(name)),
        }
        self.processes.append(Process(name, role, environment | own, self.folder / f"{name}.log"))

    @property
    def operator(self) -> list[str]:
        """The options that make a command the operator's."""
        certs = self._certs("coordinator")
        own = certs / "coordinators" / f"{self.name}-coordinator"
        return [
            *("--coordinator", f"{LOOPBACK}:{self.ports.coordinator}"),
            *("--ca", str(certs / "ca" / f"{self.name}-ca.crt")),
            *("--cert", f"{own}.crt", "--key", f"{own}.key"),
        ]

    @property
    def nodes(self) -> list[Process]:
        """The nodes' processes."""
        return [process for process in self.processes if process.role == "node"]

    def start(self) -> None:
        """Start what does not run."""
        for process in self.processes:
            if not process.is_running:
                process.start()

    def stop(self) -> None:
        """SIGTERM to all, nodes first; kill what does not end."""
        running = [process.running for process in reversed(self.processes) if process.is_running]
        for child in running:
            assert child is not None
            child.terminate()
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for child in running:
            assert child is not None
            try:
                child.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def ended(self) -> str | None:
        """Return the name of a process that does not run any more, if there is one."""
        return next((one.name for one in self.processes if not one.is_running), None)

    def log_tails(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(process.log_tail() for process in self.processes)

    def command(self, *arguments: str) -> bytes:
        """Run one command as the operator; return its output, or raise :class:`DemoError`."""
        return run_command([*arguments, *self.operator], {})

    def status(self) -> dict[str, Any]:
        """Return ``status --json``."""
        found: dict[str, Any] = json.loads(self.command("status", "--json"))
        return found

    def wait_healthy(self, count: int = NODES) -> None:
        """Return when ``count`` nodes are healthy, or raise :class:`DemoError`."""

        def missing(status: dict[str, Any]) -> str | None:
            healthy = sum(bool(node["is_healthy"]) for node in status["local_nodes"])
            return None if healthy >= count else f"{healthy} nodes are healthy"

        self._wait(missing)

    def wait_peers(self, healthy: Collection[str], away: Collection[str] = ()) -> None:
        """Return when these domains, and no others, are peers, and each is as it should be."""
        wanted = dict.fromkeys(healthy, True) | dict.fromkeys(away, False)

        def missing(status: dict[str, Any]) -> str | None:
            found = {one["domain"]: one["is_healthy"] for one in status["peers"]}
            return None if found == wanted else f"peers and whether they are healthy: {found}"

        self._wait(missing)

    def _wait(self, missing: Callable[[dict[str, Any]], str | None]) -> None:
        """Return when nothing is missing from the status, or raise :class:`DemoError`."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        last: str | None = "no answer"
        while time.monotonic() < deadline_s:
            if not self.processes[0].is_running:
                raise DemoError(f"The coordinator of {self.name} has ended.")
            try:
                last = missing(self.status())
            except DemoError as error:
                last = str(error)
            if last is None:
                return
            time.sleep(0.3)
        raise DemoError(f"{self.name} is not ready after {START_TIMEOUT_S:g} s: {last}")


def run_command(
    arguments: Sequence[str],
    variables: Mapping[str, str],
    stdin: bytes | Path = b"",
    *,
    ends_with: ExitCode = ExitCode.DONE,
) -> bytes:
    """Run one command of ours; return its output, or raise :class:`DemoError` if it ends otherwise."""
    told = " ".join(arguments)
    with _input(stdin) as source:
        try:
            done: subprocess.CompletedProcess[bytes] = subprocess.run(  # noqa: S603 - ourselves
                [sys.executable, "-m", "collective", *arguments],
                capture_output=True,
                env=_clean_environment() | dict(variables),
                timeout=COMMAND_TIMEOUT_S,
                check=False,
                **source,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"{told} took over {error.timeout:g} s.") from error
    if done.returncode != ends_with:
        said = done.stderr.decode(errors="replace").strip()
        raise DemoError(f"{told} ended with {done.returncode}, not {ends_with:d}: {said}")
    return done.stdout


def make_members(folder: Path, say: Callable[[str], None]) -> list[Member]:
    """Return the three members with ports that are free: the example's where possible."""
    ports = asyncio.run(_choose_ports(len(MEMBERS), say))
    return [
        Member(name, domain, folder / name, chosen)
        for (name, domain), chosen in zip(MEMBERS, ports, strict=True)
    ]


async def _choose_ports(count: int, say: Callable[[str], None]) -> list[Ports]:
    """Hold every port until all are chosen, so that none is chosen twice."""
    async with AsyncExitStack() as held:

        async def take(wanted: int, what: str = "") -> int:
            loop = asyncio.get_running_loop()
            try:
                server = await loop.create_server(asyncio.Protocol, LOOPBACK, wanted)
            except OSError:
                server = await loop.create_server(asyncio.Protocol, LOOPBACK, 0)
            held.callback(server.close)
            port: int = server.sockets[0].getsockname()[1]
            if wanted not in {0, port}:
                say(f"Port {wanted} ({what}) is taken; using {port}.")
            return port

        return [
            Ports(
                await take(COORDINATOR_PORT + index, f"coordinator of {MEMBERS[index][0]}"),
                await take(BOOTSTRAP_PORT + index, f"bootstrap of {MEMBERS[index][0]}"),
                await take(METRICS_PORT + index, f"metrics of {MEMBERS[index][0]}"),
                tuple([await take(0) for _ in range(NODES)]),
            )
            for index in range(count)
        ]


def _clean_environment() -> dict[str, str]:
    """Return our environment without settings of ours that may be set in this shell."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COLLECTIVE_")}


@contextmanager
def _input(stdin: bytes | Path) -> Iterator[dict[str, Any]]:
    with ExitStack() as opened:
        if isinstance(stdin, Path):
            yield {"stdin": opened.enter_context(stdin.open("rb"))}
        else:
            yield {"input": stdin}
