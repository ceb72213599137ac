"""What an operator sees: metrics, health pages, logs, request ids, the service manager."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.integration import processes
from tests.integration.cluster import PATIENCE_S, Cluster, Service, running_cluster
from tests.integration.material import Material
from tests.integration.processes import metric, wait_for
from tools.docs.metrics import of_a_coordinator, of_a_node, of_every_process

MIB = 1024 * 1024
COORDINATOR_NAMES = {
    "collective_cluster_health",
    "collective_nodes_total",
    "collective_nodes",
    "collective_storage_capacity_bytes",
    "collective_storage_used_bytes",
    "collective_file_operations_total",
    "collective_operation_duration_seconds",
    "collective_moved_bytes_total",
    "collective_repair_queue_chunks",
    "collective_certificate_expiry_timestamp_seconds",
    "collective_permission_denials_total",
    "collective_invites",
}
NODE_NAMES = {
    "collective_node_capacity_bytes",
    "collective_node_used_bytes",
    "collective_node_copies",
    "collective_node_store_seconds",
    "collective_node_store_bytes_total",
    "collective_node_scrub_progress_ratio",
    "collective_node_scrubbed_bytes_total",
    "collective_node_certificate_expiry_timestamp_seconds",
}


@pytest.fixture(scope="module")
def used(cluster: Cluster) -> Cluster:
    """A cluster in which something has happened."""
    cluster.cli("mkdir", "/seen")
    cluster.write("/seen/file", Material(5 * MIB).all())
    cluster.read("/seen/file")
    cluster.cli("read", "/seen/absent", check=False)
    return cluster


@pytest.fixture
def quick_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that notices within seconds that a node is down."""
    quick = {
        "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5s",
        "COLLECTIVE_NODE_SUSPECT_AFTER": "1.5s",
        "COLLECTIVE_NODE_DOWN_AFTER": "3s",
    }
    with running_cluster(tmp_path / "member", extra=quick) as cluster:
        yield cluster


# --- metrics -------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_complain_about(used: Cluster) -> None:
    for service in (used.coordinator, used.nodes[0]):
        code, text = service.page("/metrics")
        assert code == 200
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text,
            text=True,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), service.name


def types(service: Service) -> dict[str, str]:
    lines = service.page("/metrics")[1].splitlines()
    return {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}


def test_every_metric_that_the_spec_names_is_there(used: Cluster) -> None:
    coordinator = types(used.coordinator)
    assert set(coordinator) >= COORDINATOR_NAMES
    assert coordinator["collective_nodes_total"] == "untyped"
    assert coordinator["collective_nodes"] == "gauge"
    assert coordinator["collective_file_operations_total"] == "counter"
    assert coordinator["collective_operation_duration_seconds"] == "histogram"
    assert set(types(used.nodes[0])) >= NODE_NAMES


def test_the_reference_has_every_metric_that_there_is(used: Cluster) -> None:
    for service, more in ((used.coordinator, of_a_coordinator()), (used.nodes[0], of_a_node())):
        exposed = {
            name: kind
            for name, kind in types(service).items()
            if name.startswith("collective_") and not name.endswith("_created")
        }
        told = {one.name: one.kind for one in (*of_every_process(), *more)}
        assert exposed == told
        labels = {one.name: set(one.labels) for one in (*of_every_process(), *more)}
        for name, one, _ in processes.samples(service):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            if base in labels:
                assert set(one) - {"le"} == labels[base], name


def has_copies(node: Service, count: int) -> bool:
    return metric(node, "collective_node_copies", member="alice", node=node.name) == count


def test_values_are_right(used: Cluster) -> None:
    coordinator = used.coordinator
    wait_for(lambda: metric(coordinator, "collective_cluster_health") == 1, "health of 1")
    labels = [one for name, one, _ in processes.samples(coordinator) if "cluster_health" in name]
    assert labels == [{"member": "alice"}]
    assert metric(coordinator, "collective_nodes_total", member="alice") == 3
    assert metric(coordinator, "collective_nodes", member="alice", state="up") == 3
    assert metric(coordinator, "collective_storage_capacity_bytes", member="alice") == 12 * 2**30
    wait_for(
        lambda: metric(coordinator, "collective_storage_used_bytes", member="alice") >= 15 * MIB,
        "15 MiB used",
    )
    for result in ("ok", "not_found"):
        assert (
            metric(coordinator, "collective_file_operations_total", member="alice", result=result)
            > 0
        ), result
    operations = {
        labels["operation"]
        for name, labels, _ in processes.samples(coordinator)
        if name == "collective_file_operations_total"
    }
    assert {"mkdir", "open_upload", "commit", "open_read"} <= operations
    for node in used.nodes:
        wait_for(  # the third copy may come after the write was acknowledged
            partial(has_copies, node, 2),
            f"two copies at {node.name}",
        )
        assert metric(node, "collective_node_store_bytes_total", operation="put") > 5 * MIB
    expiry = metric(
        coordinator,
        "collective_certificate_expiry_timestamp_seconds",
        identity="spiffe://home.alice/coordinator",
    )
    assert expiry > time.time() + 86400


def test_refusals_are_counted(used: Cluster, tmp_path: Path) -> None:
    user = processes.user_options(used, processes.issue_user(used, "eve@home.alice", tmp_path))
    assert used.cli("ls", "/seen", credentials=user, check=False).code == 4
    assert metric(used.coordinator, "collective_permission_denials_total") > 0
    denied = metric(
        used.coordinator, "collective_file_operations_total", result="permission_denied"
    )
    assert denied > 0


def test_health_falls_as_nodes_die_and_comes_back(quick_cluster: Cluster) -> None:
    cluster, coordinator = quick_cluster, quick_cluster.coordinator
    cluster.cli("mkdir", "/d")
    cluster.write("/d/f", b"x" * 100_000)

    def healthy(value: float) -> None:
        wait_for(
            lambda: metric(coordinator, "collective_cluster_health", member="alice") == value,
            f"cluster health {value}",
        )

    healthy(1)
    cluster.nodes[0].kill()
    healthy(0.5)
    assert metric(coordinator, "collective_nodes_total", member="alice") == 2
    cluster.nodes[1].kill()
    cluster.nodes[2].kill()
    healthy(0)
    assert metric(coordinator, "collective_nodes_total", member="alice") == 0
    assert metric(coordinator, "collective_nodes", member="alice", state="down") == 3
    cluster.start()
    healthy(1)
    assert cluster.read("/d/f") == b"x" * 100_000


# --- pages ---------------------------------------------------------------------------------------


def test_a_node_is_alive_but_not_ready_without_its_coordinator(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "member", node_count=1)
    node = cluster.nodes[0]
    try:
        cluster.coordinator.start()
        cluster.coordinator.wait_ready()
        cluster.coordinator.kill()
        node.start()
        wait_for(lambda: node.page("/healthz")[0] == 200, "alive node")
        code, why = node.page("/readyz")
        assert code == 503
        assert "node" in why
        time.sleep(1)
        assert node.page("/readyz")[0] == 503
        cluster.coordinator.start()
        node.wait_ready()
        assert node.page("/readyz")[0] == 200
        assert node.page("/nothing")[0] == 404
    finally:
        cluster.kill_all()


def feed(pipe: IO[bytes], material: Material) -> None:
    """Write until it is all taken or nobody reads any more; close the pipe."""
    with suppress(BrokenPipeError), pipe:
        pipe.write(material.all())


def bytes_stuck(sender: Service, ports: set[int]) -> int:
    """Return how many bytes of ``sender`` lie unread at the listeners of ``ports``."""
    own = {one.laddr.port for one in psutil.Process(sender.pid).net_connections("tcp")}
    stuck = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        here, there = (int(one.rpartition(":")[2], 16) for one in (local, remote))
        if here in ports and there in own:
            stuck += int(queues.rpartition(":")[2], 16)
    return stuck


@contextmanager
def writing(cluster: Cluster, path: str) -> Iterator[bool]:
    """Write while all nodes but the first are paused; tell whether a put hangs between it and them.

    It does where one of the chunks goes through the first node, which chance decides.
    """
    writer = subprocess.Popen(
        [sys.executable, "-m", "collective", "write", path, *cluster.operator],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=cluster.client_environment,
    )
    assert writer.stdin is not None
    node, *others = cluster.nodes
    hung = {cluster.node_ports[other.name] for other in others}
    feeder = threading.Thread(target=feed, args=(writer.stdin, Material(32 * MIB, seed=2)))
    before = metric(node, "collective_node_store_bytes_total", operation="put")
    try:
        writer.stdin.write(Material(5 * MIB, seed=1).all())
        writer.stdin.flush()
        wait_for(
            lambda: metric(node, "collective_node_store_bytes_total", operation="put") > before,
            "write under way",
        )
        for other in others:
            other.pause()
        feeder.start()
        wait_for(
            lambda: bytes_stuck(node, hung) > 0 or writer.poll() is not None, "end of the write"
        )
        yield writer.poll() is None
    finally:
        for other in others:
            other.resume()
        writer.kill()
        writer.wait()
        if feeder.ident is not None:
            feeder.join()
        writer.stdin.close()


def test_a_process_that_drains_is_alive_but_not_ready(own_cluster: Cluster) -> None:
    cluster = own_cluster
    cluster.cli("mkdir", "/d")
    assert cluster.coordinator.page("/readyz")[0] == 200
    for attempt in range(20):
        with writing(cluster, f"/d/slow{attempt}") as hangs:
            if hangs:  # it keeps the node from ending at once
                _drain_and_look(cluster)
                return
        wait_for(lambda: cluster.coordinator.page("/readyz")[0] == 200, "nodes that are up again")
    pytest.fail("No put went through the first node.")


def _drain_and_look(cluster: Cluster) -> None:
    node, coordinator = cluster.nodes[0], cluster.coordinator.process
    assert node.process is not None
    assert coordinator is not None
    coordinator.terminate()
    node.process.terminate()
    seen = []
    deadline = time.monotonic() + PATIENCE_S
    while node.is_running and time.monotonic() < deadline:
        seen.append((node.page("/healthz")[0], node.page("/readyz")[0]))
    assert (200, 503) in seen
    since = seen[seen.index((200, 503)) :]  # a page may be asked for before the signal is heard
    assert not any(ready == 200 for _, ready in since)


# --- logs ----------------------------------------------------------------------------------------


def test_logs_are_json_where_there_is_no_terminal(used: Cluster) -> None:
    for service in used.services.values():
        lines = service.log_text().splitlines()
        assert lines
        for line in lines:
            entry = json.loads(line)
            assert {"event", "level", "timestamp"} <= set(entry), line


def test_logs_are_for_people_on_a_terminal(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "member", node_count=0)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "collective", "serve", "--role", "coordinator"],
        env=cluster.coordinator.environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = b""
        deadline = time.monotonic() + PATIENCE_S
        while b"role started" not in shown and time.monotonic() < deadline:
            shown += os.read(ours, 4096)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"role started" in shown
    assert not shown.lstrip().startswith(b"{")


def entries(service: Service, request_id: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in service.log_text().splitlines() if request_id in line]
    return [one for one in found if one.get("request_id") == request_id]


@pytest.mark.parametrize("command", ["write", "read"])
def test_a_request_id_made_by_the_client_is_in_every_process_log(
    used: Cluster, command: str
) -> None:
    path = "/seen/traced"
    if command == "write":
        used.cli("write", path, stdin=Material(9 * MIB, seed=7).all())
        done = used.cli("write", path, "-v", stdin=Material(9 * MIB, seed=8).all())
    else:
        done = used.cli("read", path, "-v")
    ids = {word.partition("=")[2] for word in done.err.split() if word.startswith("request_id=")}
    assert len(ids) == 1, done.err
    (request_id,) = ids
    assert entries(used.coordinator, request_id), used.coordinator.log_tail()
    nodes = [node for node in used.nodes if entries(node, request_id)]
    assert len(nodes) == (3 if command == "write" else len(nodes)) > 0
    for node in nodes:
        assert all("chunk" in entry for entry in entries(node, request_id))


def test_an_error_says_its_request_id_with_v_and_the_log_has_it(used: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "collective", "stat", "/seen/absent", "-v", *used.operator],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    (request_id,) = {
        word.partition("=")[2] for word in done.stderr.split() if word.startswith("request_id=")
    }
    assert any(
        entry.get("result") == "not_found" for entry in entries(used.coordinator, request_id)
    )


# --- the service manager -------------------------------------------------------------------------


@pytest.fixture
def notify_socket(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    path = str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(30)
        yield path, listening


def test_sd_notify_ready_watchdog_stopping(
    tmp_path: Path, notify_socket: tuple[str, socket.socket]
) -> None:
    path, listening = notify_socket
    manager = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"}
    with running_cluster(tmp_path / "member", node_count=0, extra=manager) as cluster:
        first = listening.recv(4096).decode().splitlines()
        while first[0] == "WATCHDOG=1":
            assert first[1].startswith("EXTEND_TIMEOUT_USEC="), "a start that goes on may take long"
            first = listening.recv(4096).decode().splitlines()
        assert first[0] == "READY=1", "it serves, also before its first nodes have come"
        code, why = cluster.coordinator.page("/readyz")
        assert code == 503
        assert why.startswith("coordinator takes no writes: COLLECTIVE_COPIES=3 needs 2 nodes")
        beats: list[float] = []
        while len(beats) < 4:
            if listening.recv(4096) == b"WATCHDOG=1":
                beats.append(time.monotonic())
        assert (beats[-1] - beats[0]) / 3 < 0.6
        assert cluster.coordinator.terminate() == 0
        said = b""
        while b"STOPPING=1" not in said:
            said = listening.recv(4096)
