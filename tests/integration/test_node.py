"""A node's own promises, on real processes: enrolment in any order, its data dir, its disk."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tests.integration.cluster import Cluster

CHUNK = 4 * 1024 * 1024


def test_nodes_start_before_their_coordinator_and_enrol_by_themselves(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "member", node_count=1)
    try:
        for node in cluster.nodes:
            node.start()
        assert cluster.nodes[0].page("/readyz")[0] != 200
        cluster.coordinator.start()
        cluster.start()
        shutil.rmtree(cluster.cert_dir("coordinator") / "join")
        cluster.nodes[0].restart()
        cluster.wait_healthy(1)
    finally:
        cluster.kill_all()


def test_an_unmounted_data_dir_refuses_to_start(own_cluster: Cluster) -> None:
    node = own_cluster.nodes[0]
    node.kill()
    data = own_cluster.data_dir(node.name)
    data.rename(data.with_name("elsewhere"))
    data.mkdir()
    node.start()
    assert node.process is not None
    assert node.process.wait(180) != 0
    assert "mounted" in node.log_text()
    data.rmdir()
    data.with_name("elsewhere").rename(data)
    node.start()
    node.wait_ready()


def test_a_second_process_on_one_data_dir_is_refused(own_cluster: Cluster) -> None:
    first = own_cluster.nodes[0]
    second = own_cluster.add_node("twin")
    second.environment |= {
        name: first.environment[name]
        for name in ("COLLECTIVE_NODE_ID", "COLLECTIVE_DATA_DIR", "COLLECTIVE_CERT_DIR")
    }
    second.start()
    assert second.process is not None
    assert second.process.wait(180) != 0
    assert "another process" in second.log_text().lower()
    assert first.page("/readyz")[0] == 200


def test_a_flipped_bit_is_never_returned_and_the_coordinator_hears_of_it(
    own_cluster: Cluster,
) -> None:
    content = random.Random(5).randbytes(CHUNK)
    own_cluster.cli("mkdir", "/s")
    own_cluster.write("/s/file", content)
    for node in own_cluster.nodes[:2]:
        stored = [
            path
            for path in (own_cluster.data_dir(node.name) / "node").rglob("*")
            if path.is_file() and path.stat().st_size > CHUNK // 2
        ]
        assert stored, node.name
        for path in stored:
            raw = bytearray(path.read_bytes())
            raw[1234] ^= 4
            path.write_bytes(raw)
    for _ in range(6):
        assert own_cluster.read("/s/file") == content
    bad = sum("bad copy" in node.log_text() for node in own_cluster.nodes)
    assert bad >= 1
