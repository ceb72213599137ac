"""What tests want to know of running processes: memory, metrics, credentials of users."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from tests.integration.cluster import PATIENCE_S, Cluster, Service

T = TypeVar("T")
_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def peak_bytes(pid: int) -> int:
    """Return the most memory that process ``pid`` ever had resident (VmHWM); 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


class PeakWatch:
    """Samples the peak memory of a process that will end, from a thread of its own."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            self.peak_bytes = max(self.peak_bytes, peak_bytes(self._pid))
            self._done.wait(0.02)


def samples(service: Service) -> list[tuple[str, dict[str, str], float]]:
    """Return every sample on the service's metrics page: name, labels, value."""
    code, text = service.page("/metrics")
    assert code == 200, text
    found = []
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is not None:
            labels = dict(_LABEL.findall(match["labels"] or ""))
            found.append((match["name"], labels, float(match["value"])))
    return found


def metric(service: Service, name: str, **labels: str) -> float:
    """Return the sum of the samples ``name`` that have ``labels``; 0 where there is none."""
    return sum(
        value
        for found, theirs, value in samples(service)
        if found == name and labels.items() <= theirs.items()
    )


def node_bytes(cluster: Cluster, operation: str) -> float:
    """Return the chunk bytes that all running nodes have put into or got from their stores."""
    return sum(
        metric(node, "collective_node_store_bytes_total", operation=operation)
        for node in cluster.nodes
        if node.is_running
    )


def node_operations(cluster: Cluster, operation: str) -> float:
    """Return how many chunk operations all running nodes have done."""
    return sum(
        metric(node, "collective_node_store_seconds_count", operation=operation)
        for node in cluster.nodes
        if node.is_running
    )


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (64 * 1024, 4096, 512, 1):
            try:
                while True:
                    if file.write(b"\0" * size) < size:
                        break
            except OSError:
                continue


def wait_for(look: Callable[[], T | None], what: str, *, every_s: float = 0.05) -> T:
    """Return what ``look`` returns once that is not None (or false), looking every ``every_s``."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(every_s)
    raise AssertionError(f"No {what} within {PATIENCE_S} s.")


def issue_user(cluster: Cluster, global_id: str, folder: Path) -> str:
    """Make a user's certificate offline; return its path without suffix."""
    ca_key = cluster.cert_dir("coordinator") / "ca" / f"{cluster.member}-ca.key"
    cluster.cli(
        "pki", "issue", "--user", global_id, "--ca-key", str(ca_key), "--out", str(folder),
        credentials=(),
    )  # fmt: skip
    return str(folder / "users" / global_id)


def user_options(cluster: Cluster, own: str) -> list[str]:
    """Return the options that make a command the user's whose certificate is ``own``."""
    certs = cluster.cert_dir("coordinator")
    return [
        "--coordinator", f"127.0.0.1:{cluster.coordinator_port}",
        "--ca", str(certs / "ca" / f"{cluster.member}-ca.crt"),
        "--cert", f"{own}.crt",
        "--key", f"{own}.key",
    ]  # fmt: skip
