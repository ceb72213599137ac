"""A real member on loopback: processes, signals, the command line; for tests, bench and crash suites.

Everything lies in one folder; ports are free ones; each process logs to a file of its own, which
:meth:`Cluster.logs` shows when a test fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from collective.cli.status import status_json
from collective.client.collective import Collective
from collective.core.errors import CollectiveError
from collective.core.units import Address
from collective.pki.credentials import load_credentials
from tests.integration.commands import HERE, Forked, Host, run_command
from tests.integration.ports import free_port
from tests.json_output import check_json
from tests.worlds import REAL

T = TypeVar("T")

PATIENCE_S = 180.0
"""How long anything is waited for: only a failure takes it, and a busy machine must not be one."""
LOG_TAIL_LINES = 60


@dataclass(slots=True)
class Result:
    """What a command did."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    def json(self) -> Any:
        return json.loads(self.out)


def command(
    *arguments: str,
    environment: Mapping[str, str],
    stdin: bytes = b"",
    timeout_s: float = PATIENCE_S,
    host: Host = HERE,
) -> Result:
    """Run the command line with nothing but ``environment``; see ``commands.py``.

    What it prints with ``--json`` is checked against its schema, unless another version prints it.
    """
    code, out, err = run_command(
        arguments, stdin=stdin, environment=environment, timeout_s=timeout_s, host=host
    )
    if host.code is None:
        check_json(arguments, out)
    return Result(code, out, err.decode(errors="replace"))


@dataclass(slots=True)
class Service:
    """One process of ``collective serve``."""

    name: str
    roles: tuple[str, ...]
    environment: dict[str, str]
    log_path: Path
    metrics_port: int
    process: subprocess.Popen[bytes] | Forked | None = None
    stuck: str = ""
    """What hangs in it, see ``stuck_process``; empty: nothing."""
    host: Host = HERE

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; see :meth:`wait_ready`."""
        assert not self.is_running, f"{self.name} runs already"
        module = ["tests.integration.stuck_process", self.stuck] if self.stuck else ["collective"]
        arguments = ["serve"]
        for role in self.roles:
            arguments += ["--role", role]
        commands = self.host.commands
        if commands.forks_services and not self.stuck and self.host.code is None:
            with self.log_path.open("ab") as log:
                self.process = commands.start_service(arguments, self.environment, log)
            return
        with self.log_path.open("ab") as log, self.host.inside():
            command = [sys.executable, "-m", *module, *arguments]
            self.process = subprocess.Popen(
                command,
                cwd=self.host.code,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def page(self, path: str, timeout_s: float = 30.0) -> tuple[int, str]:
        """Return status and body of a page of the metrics listener; (0, reason) if unreachable."""
        url = f"http://127.0.0.1:{self.metrics_port}{path}"
        try:
            with self.host.inside(), urllib.request.urlopen(url, timeout=timeout_s) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def wait_ready(self, timeout_s: float = PATIENCE_S, *, for_writes: bool = False) -> None:
        """Return when it serves, as ``/readyz`` says; fail with the log's end.

        A coordinator without nodes serves, and a node with a full disk: they take no writes.
        """
        deadline = time.monotonic() + timeout_s
        last: tuple[int, str] = (0, "")
        while time.monotonic() < deadline:
            if not self.is_running:
                raise AssertionError(f"{self.name} ended while starting.\n{self.log_tail()}")
            last = self.page("/readyz")
            if last[0] == 200:
                return
            reasons = last[1].splitlines()
            serves = last[0] == 503 and all("takes no writes" in reason for reason in reasons)
            if serves and not for_writes:
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} is not ready: {last}\n{self.log_tail()}")

    def wait_writable(self, timeout_s: float = PATIENCE_S) -> None:
        """Return when ``/readyz`` says 200."""
        self.wait_ready(timeout_s, for_writes=True)

    def kill(self) -> None:
        """kill -9 and reap."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def terminate(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM, wait, return the exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"{self.name} did not end within {timeout_s} s of SIGTERM.\n{self.log_tail()}"
            ) from None

    def pause(self) -> None:
        """SIGSTOP: the process hangs and its connections stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill -9, start, wait until ready."""
        if self.is_running:
            self.kill()
        self.start()
        self.wait_ready()

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        tail = "\n".join(self.log_text().splitlines()[-lines:])
        return f"--- {self.name}\n{tail}"


@dataclass(slots=True)
class Cluster:
    """One member: a coordinator that serves bootstrap as well, and its nodes."""

    folder: Path
    member: str = "alice"
    domain: str = "home.alice"
    node_count: int = 3
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further settings for every process, by variable."""
    services: dict[str, Service] = field(default_factory=dict)
    coordinator_port: int = field(default_factory=free_port)
    bootstrap_port: int = field(default_factory=free_port)
    node_ports: dict[str, int] = field(default_factory=dict)
    host: Host = HERE

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._add("coordinator", ("coordinator",), {})
        for number in range(1, self.node_count + 1):
            self.add_node(f"{self.member}-node-{number:02}")

    # --- processes -------------------------------------------------------------------------------

    def add_node(self, node: str, **settings: str) -> Service:
        """Add a node that is not started yet; ``settings`` are variables without the prefix."""
        port = self.node_ports.setdefault(node, free_port())
        own = {
            "COLLECTIVE_NODE_ID": node,
            "COLLECTIVE_NODE_ADDRESS": f"127.0.0.1:{port}",
            "COLLECTIVE_JOIN_CODE_FILE": str(self.cert_dir("coordinator") / "join" / "node.code"),
            "COLLECTIVE_STORAGE_CAPACITY": "4GiB",
        }
        own |= {f"COLLECTIVE_{name}": value for name, value in settings.items()}
        return self._add(node, ("node",), own)

    def _add(self, name: str, roles: tuple[str, ...], own: Mapping[str, str]) -> Service:
        metrics_port = free_port()
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("COLLECTIVE_")
        }
        environment |= {
            "COLLECTIVE_MEMBER_ID": self.member,
            "COLLECTIVE_DOMAIN": self.domain,
            "COLLECTIVE_COORDINATOR_ADDRESS": f"127.0.0.1:{self.coordinator_port}",
            "COLLECTIVE_METRICS_ADDRESS": f"127.0.0.1:{metrics_port}",
            "COLLECTIVE_DATA_DIR": str(self.data_dir(name)),
            "COLLECTIVE_CERT_DIR": str(self.cert_dir(name)),
            "COLLECTIVE_LOG_LEVEL": "debug",
            "PYTHONUNBUFFERED": "1",
        }
        if "coordinator" in roles:
            environment["COLLECTIVE_BOOTSTRAP_ADDRESS"] = f"127.0.0.1:{self.bootstrap_port}"
        environment |= {**self.extra, **own}
        log_path = self.folder / f"{name}.log"
        service = Service(name, roles, environment, log_path, metrics_port, host=self.host)
        self.services[name] = service
        return service

    def data_dir(self, name: str) -> Path:
        return self.folder / name / "data"

    def cert_dir(self, name: str) -> Path:
        return self.folder / name / "certs"

    @property
    def coordinator(self) -> Service:
        return self.services["coordinator"]

    @property
    def nodes(self) -> list[Service]:
        return [one for one in self.services.values() if "node" in one.roles]

    def start(self) -> None:
        """Start whatever does not run; return when all are ready and the nodes are healthy."""
        fresh = [one for one in self.services.values() if not one.is_running]
        for service in fresh:
            service.start()
        for service in self.services.values():
            service.wait_ready()
        self.wait_healthy(len(self.nodes))

    def stop(self) -> dict[str, int]:
        """SIGTERM all, nodes first; return the exit codes."""
        running = [one for one in reversed(self.services.values()) if one.is_running]
        for service in running:
            service.resume()
        return {service.name: service.terminate() for service in running}

    def kill_all(self) -> None:
        """kill -9 everything that runs."""
        for service in self.services.values():
            if service.is_running:
                service.kill()

    def wait_healthy(self, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Return when ``status`` shows at least ``count`` healthy nodes."""

        def enough(status: Any) -> bool:
            return sum(1 for node in status["local_nodes"] if node["is_healthy"]) >= count

        self.wait_status(enough, f"{count} healthy nodes", timeout_s)

    def wait_heartbeats(self, count: int = 1) -> None:
        """Return when each node that runs here has called ``count`` times from now on."""
        for _ in range(count):
            before = self._last_seen()

            def all_came(_: Any, before: Mapping[str, str] = before) -> bool:
                return all(now != before.get(node) for node, now in self._last_seen().items())

            self.wait_status(all_came, "heartbeat of each node")

    def _last_seen(self) -> dict[str, str]:
        ours = {one.name for one in self.nodes if one.is_running}
        seen = self.status()["local_nodes"]
        return {node["id"]: node["last_seen"] for node in seen if node["id"] in ours}

    def wait_status(self, wanted: Any, what: str, timeout_s: float = PATIENCE_S) -> Any:
        """Return the status for which ``wanted(status)`` holds; fail with logs after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        last: Any = None
        while time.monotonic() < deadline:
            try:
                last = self.status()
            except CollectiveError as error:
                last = error
            else:
                if wanted(last):
                    return last
            time.sleep(0.1)
        raise AssertionError(f"No {what} within {timeout_s} s: {last}\n{self.logs()}")

    def logs(self) -> str:
        """Return the end of every process's log."""
        return "\n".join(service.log_tail() for service in self.services.values())

    # --- the command line ------------------------------------------------------------------------

    @property
    def operator(self) -> list[str]:
        """The options that make a command the operator's."""
        certs = self.cert_dir("coordinator")
        own = certs / "coordinators" / f"{self.member}-coordinator"
        return [
            "--coordinator", f"127.0.0.1:{self.coordinator_port}",
            "--ca", str(certs / "ca" / f"{self.member}-ca.crt"),
            "--cert", f"{own}.crt",
            "--key", f"{own}.key",
        ]  # fmt: skip

    def cli(
        self,
        *arguments: str,
        stdin: bytes = b"",
        check: bool = True,
        credentials: Sequence[str] | None = None,
        timeout_s: float = PATIENCE_S,
    ) -> Result:
        """Run one command as the operator (or with other ``credentials``)."""
        extra = self.operator if credentials is None else list(credentials)
        result = command(
            *arguments,
            *extra,
            environment=self.client_environment,
            stdin=stdin,
            timeout_s=timeout_s,
            host=self.host,
        )
        assert "Traceback" not in result.err, result.err
        if check:
            assert result.code == 0, f"{arguments}: {result.code}: {result.err}\n{self.logs()}"
        return result

    @property
    def client_environment(self) -> dict[str, str]:
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith("COLLECTIVE_")
        }
        return kept | {"HOME": str(self.folder / "home")}

    # --- the library, which starts faster ---------------------------------------------------------

    def write(self, path: str, content: bytes) -> None:
        """Write a file as the operator."""
        self.use(lambda home: home.write(path, content))

    def read(self, path: str) -> bytes:
        """Return a file, as the operator."""
        return self.use(lambda home: home.read(path))

    def status(self) -> Any:
        """Return what ``status --json`` prints for the operator."""
        return status_json(self.use(lambda home: home.status()))

    def use(self, work: Callable[[Collective], Awaitable[T]]) -> T:
        """Return what ``work`` gets from a connection of the operator's."""
        ca, certificate, key = (self.operator[index] for index in (3, 5, 7))
        credentials = load_credentials(certificate, key, ca, disk=REAL.disk)
        address = Address("127.0.0.1", self.coordinator_port)

        async def run() -> T:
            async with Collective.connect(credentials, [address]) as home:
                return await work(home)

        return run_on(self.host, run)


def run_on(host: Host, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what ``work`` does on ``host``, in a loop of its own: the caller may have one."""

    def run() -> T:
        with host.inside():
            return asyncio.run(work())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


@contextlib.contextmanager
def running_cluster(folder: Path, **options: Any) -> Iterator[Cluster]:
    """Yield a started cluster; afterwards nothing of it runs."""
    cluster = Cluster(folder, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill_all()
