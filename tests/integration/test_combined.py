"""One process that holds both roles, and what it shows to Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.cluster import Cluster
from tests.integration.ports import free_port


def test_one_process_is_a_whole_member_and_its_metrics_pass_promtool(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "member", node_count=0)
    both = cluster.coordinator
    both.roles = ("coordinator", "node")
    both.environment |= {
        "COLLECTIVE_COPIES": "1",
        "COLLECTIVE_NODE_ADDRESS": f"127.0.0.1:{free_port()}",
        "COLLECTIVE_JOIN_CODE_FILE": str(cluster.cert_dir("coordinator") / "join" / "node.code"),
        "COLLECTIVE_STORAGE_CAPACITY": "512MiB",
    }
    try:
        cluster.start()
        cluster.cli("mkdir", "/s")
        cluster.write("/s/file", b"alone")
        both.restart()
        assert cluster.read("/s/file") == b"alone"
        status, metrics = both.page("/metrics")
        assert status == 200
        assert 'collective_node_copies{member="alice"' in metrics
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("promtool is not installed; all else passed")
        done = subprocess.run(
            [promtool, "check", "metrics"], input=metrics.encode(), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
        assert both.terminate() == 0
    finally:
        cluster.kill_all()
