"""What a process owes the engine that runs it in a container: its health, its end, its slot, its orphans."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cluster import PATIENCE_S, Cluster, running_cluster
from tests.integration.processes import wait_for

ROOT = Path(__file__).parents[2]
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def may_unshare() -> bool:
    try:
        done = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def healthcheck(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "collective", "healthcheck", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=PATIENCE_S,
    )


def test_healthcheck_says_whether_a_member_takes_writes(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "member", node_count=2) as cluster:
        where = f"0.0.0.0:{cluster.coordinator.metrics_port}"
        done = healthcheck("--metrics-address", where)
        assert (done.returncode, done.stdout) == (0, "ready\n"), done.stderr
        for node in cluster.nodes:
            node.kill()
        short = wait_for(
            lambda: done if (done := healthcheck("--metrics-address", where)).returncode else None,
            "a member that takes no writes",
        )
        assert short.returncode == 6
        assert "coordinator takes no writes" in short.stderr
        told = healthcheck("--metrics-address", where, "--json")
        assert told.returncode == 6
        shown = json.loads(told.stdout)
        assert (shown["asked"], shown["is_well"]) == ("ready", False)
        assert any("coordinator takes no writes" in one for one in shown["reasons"])
        alive = healthcheck("--metrics-address", where, "--alive")
        assert (alive.returncode, alive.stdout) == (0, "alive\n")
    gone = healthcheck("--metrics-address", where)
    assert gone.returncode == 5
    assert "Nobody answers" in gone.stderr


def test_nodes_with_one_folder_keep_their_identities(tmp_path: Path) -> None:
    slots = tmp_path / "slots"
    cluster = Cluster(tmp_path / "member", node_count=0)
    for name in ("one", "two", "three"):
        cluster.add_node(
            name, NODE_ID="", NODE_SLOTS_DIR=str(slots), DATA_DIR="data", CERT_DIR="certs"
        )
    try:
        cluster.start()
        names = {node["id"] for node in cluster.status()["local_nodes"]}
        assert names == {"alice-node-01", "alice-node-02", "alice-node-03"}
        held = {
            slot.name: {one.stem for one in (slot / "certs" / "nodes").glob("*.crt")}
            for slot in slots.iterdir()
        }
        assert sorted(held) == ["01", "02", "03"]
        assert set().union(*held.values()) == names
        for node in cluster.nodes:
            node.terminate(PATIENCE_S)
        for node in reversed(cluster.nodes):
            node.start()
            node.wait_ready()
        cluster.wait_healthy(3)
        assert {node["id"] for node in cluster.status()["local_nodes"]} == names
        assert sorted(one.name for one in slots.iterdir()) == ["01", "02", "03"]
        assert "slot taken" in cluster.nodes[0].log_text()
    finally:
        cluster.kill_all()


@pytest.mark.skipif(not may_unshare(), reason="no namespace of processes may be made here")
@pytest.mark.parametrize("early", [True, False])
def test_the_first_process_of_a_container_ends_on_sigterm_and_buries_orphans(
    tmp_path: Path, *, early: bool
) -> None:
    """As process 1: signals without a handler never reach it, and orphans become its children."""
    log = tmp_path / "log"
    # Process 1 begins as a shell, which leaves an orphan, and becomes the program.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    orphan = f"(cat {shlex.quote(str(pipe))} &)"
    loading = (
        "import time; from collective.cli.terminal.interrupts import end_at_once\n"
        "end_at_once(); print('begun', flush=True); time.sleep(600)"
    )
    serving = ["-m", "collective", "serve", "--role", "coordinator"]
    begins = shlex.join([sys.executable, *(["-c", loading] if early else serving)])
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "COLLECTIVE_MEMBER_ID": "alice",
        "COLLECTIVE_COORDINATOR_ADDRESS": "127.0.0.1:0",
        "COLLECTIVE_DATA_DIR": str(tmp_path / "data"),
        "COLLECTIVE_CERT_DIR": str(tmp_path / "certs"),
    }
    with log.open("wb") as out:
        outer = subprocess.Popen(
            [*UNSHARE, "/bin/bash", "-c", f"{orphan}; exec {begins}"],
            stdout=out,
            stderr=out,
            env=environment,
            cwd=ROOT,
        )
    try:
        sign = "begun" if early else "role started"
        wait_for(lambda: sign in log.read_text() or None, "a start")
        first = children(outer.pid)[0]
        assert len(children(first)) == 1
        with pipe.open("w"):
            pass  # the orphan reads the end of it, and ends
        wait_for(lambda: not children(first) or None, "an orphan that ended and left no trace")
        os.kill(first, signal.SIGTERM)
        assert outer.wait(PATIENCE_S) == (143 if early else 0), log.read_text()
    finally:
        outer.kill()
        outer.wait()


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
