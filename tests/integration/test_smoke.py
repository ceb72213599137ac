"""The spine: write, list, read, lose a node, restart everything, read again."""

from __future__ import annotations

import random

import pytest

from tests.integration.cluster import Cluster

pytestmark = pytest.mark.smoke


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_files_survive_a_dead_node_and_a_restart_of_everything(cluster: Cluster) -> None:
    files = {
        "/shared/empty": b"",
        "/shared/small.txt": b"Welcome to the collective!\n",
        "/shared/edge.bin": content(4 * 1024 * 1024 + 1, 1),
        "/shared/media/large.bin": content(11 * 1024 * 1024 + 7, 2),
    }
    cluster.cli("mkdir", "/shared")
    cluster.cli("mkdir", "/shared/media")
    for path, data in files.items():
        cluster.write(path, data)
    listing = cluster.cli("ls", "/shared").text
    assert "small.txt" in listing
    assert "media" in listing

    def read_all() -> None:
        for path, data in files.items():
            assert cluster.read(path) == data, path

    read_all()
    victim = cluster.nodes[0]
    victim.kill()
    read_all()
    cluster.kill_all()
    cluster.start()
    read_all()
    status = cluster.cli("status", "--json").json()
    assert status["files"]["total"] == len(files)
    assert status["chunks"]["unavailable"] == 0
    part = cluster.cli("read", "/shared/edge.bin", "--offset", "4194303", "--length", "2").out
    assert part == files["/shared/edge.bin"][4194303:4194305]


def test_what_is_absent_is_exit_code_3(cluster: Cluster) -> None:
    assert cluster.cli("read", "/shared/nothing", check=False).code == 3


def test_a_missing_parent_is_named_with_the_command_to_run(cluster: Cluster) -> None:
    done = cluster.cli("write", "/shared/new/file", stdin=b"x", check=False)
    assert done.code != 0
    assert "Parent directory does not exist" in done.err
    assert "mkdir" in done.err


def test_sigterm_ends_every_process_with_0(cluster: Cluster) -> None:
    codes = cluster.stop()
    assert set(codes.values()) == {0}, cluster.logs()
    cluster.start()
    assert cluster.read("/shared/small.txt").startswith(b"Welcome")
