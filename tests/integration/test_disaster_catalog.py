"""The catalogue in trouble: full, truncated, not mounted, opened twice, restored from a backup."""

from __future__ import annotations

import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.cluster import Cluster, Service, running_cluster
from tests.integration.processes import fill, wait_for

MIB: Final = 1 << 20
TIMERS: Final = {
    "COLLECTIVE_HEARTBEAT_INTERVAL": "0.5",
    "COLLECTIVE_NODE_SUSPECT_AFTER": "3",
    "COLLECTIVE_NODE_DOWN_AFTER": "6",
    "COLLECTIVE_SNAPSHOT_INTERVAL": "0.5",
}
ENOUGH_FOR_COLLECTION_S: Final = 6.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One member for all: each test leaves it whole, and works in a directory of its own."""
    with running_cluster(tmp_path_factory.mktemp("member"), extra=TIMERS) as made:
        yield made


def content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def ended(service: Service) -> int:
    """Wait until a process that must not run ends; return its exit code."""
    assert service.process is not None
    return service.process.wait(180)


def catalog_dir(cluster: Cluster) -> Path:
    return cluster.data_dir("coordinator") / "catalog"


def wait_for_snapshot(cluster: Cluster) -> Path:
    """Return a snapshot that is newer than everything written so far.

    The first that comes may have been begun before: the one after it was not.
    """
    for _ in range(2):
        newest = next_snapshot(cluster)
    return newest


def next_snapshot(cluster: Cluster) -> Path:
    folder = catalog_dir(cluster) / "snapshots"
    known = {path.name for path in folder.glob("*.db")}
    cluster.cli("mkdir", f"/marker-{time.monotonic_ns()}")

    def whole() -> Path | None:
        fresh = [path for path in folder.glob("*.db") if path.name not in known]
        return next((one for one in fresh if one.with_name(f"{one.name}.b3").exists()), None)

    return wait_for(whole, "snapshot")


def back_up(folder: Path, backup: Path) -> None:
    """Pack a folder that a coordinator writes to, as the documentation has it done."""
    made = subprocess.run(["tar", "-cf", backup, folder.name], cwd=folder.parent, check=False)
    assert made.returncode <= 1, "1: files changed or went away while they were read"


def put_in_place(cluster: Cluster, snapshot: bytes) -> None:
    """Do what the error says: move the catalogue away, copy a snapshot in its place."""
    for suffix in ("", "-wal", "-shm"):
        (catalog_dir(cluster) / f"catalog.db{suffix}").unlink(missing_ok=True)
    (catalog_dir(cluster) / "catalog.db").write_bytes(snapshot)


def test_a_truncated_catalogue_goes_on_from_its_newest_snapshot_and_says_so(
    cluster: Cluster,
) -> None:
    files = {f"/truncated/{number}": content(300_000, number) for number in range(2)}
    cluster.cli("mkdir", "/truncated")
    for path, data in files.items():
        cluster.write(path, data)
    wait_for_snapshot(cluster)
    coordinator = cluster.coordinator
    coordinator.terminate()
    database = catalog_dir(cluster) / "catalog.db"
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 2)
    cluster.start()
    for path, data in files.items():
        assert cluster.read(path) == data
    assert "is damaged: it was restored from the snapshot" in cluster.cli("status").text
    assert "restored" in cluster.cli("audit", "--since", "1h").text
    assert list((catalog_dir(cluster) / "aside").glob("catalog.db.*"))
    assert "Traceback" not in coordinator.log_text()
    cluster.cli("node", "adopt", "--all", "--yes")


def test_a_backup_unpacked_over_a_running_coordinator_is_restored_by_a_restart(
    cluster: Cluster,
) -> None:
    cluster.cli("mkdir", "/unpacked")
    cluster.write("/unpacked/before", b"in the backup")
    wait_for_snapshot(cluster)
    data, backup = cluster.data_dir("coordinator"), cluster.folder / "backup.tar"
    back_up(data, backup)
    cluster.write("/unpacked/after", b"not in it")
    subprocess.run(["tar", "-xf", backup], cwd=data.parent, check=True)
    refused = cluster.cli("mkdir", "/unpacked/later", check=False)
    assert refused.code != 0
    assert "restart" in refused.err
    assert cluster.coordinator.terminate() == 0
    cluster.start()
    assert "restored from the snapshot" in cluster.cli("status").text
    assert cluster.read("/unpacked/before") == b"in the backup"
    assert cluster.cli("stat", "/unpacked/after", check=False).code == 3
    cluster.cli("node", "adopt", "--all", "--yes")


def test_two_coordinators_on_one_data_dir_are_refused(cluster: Cluster) -> None:
    first = cluster.coordinator
    port, bootstrap_port = cluster.coordinator_port, cluster.bootstrap_port
    second = Service(
        "second", ("coordinator",), dict(first.environment), cluster.folder / "second.log", 0
    )
    second.environment |= {
        "COLLECTIVE_COORDINATOR_ADDRESS": f"127.0.0.1:{port + 1}",
        "COLLECTIVE_BOOTSTRAP_ADDRESS": f"127.0.0.1:{bootstrap_port + 1}",
        "COLLECTIVE_METRICS_ADDRESS": "",
    }
    own = cluster.cert_dir("coordinator") / "coordinators"
    before = {file.name: file.read_bytes() for file in own.iterdir()}
    second.start()
    assert ended(second) != 0
    assert "Another process is using the data dir" in second.log_text()
    assert {file.name: file.read_bytes() for file in own.iterdir()} == before
    assert first.page("/readyz")[0] == 200
    cluster.cli("mkdir", "/beside")


def test_an_unmounted_data_dir_of_the_coordinator_refuses_to_start(cluster: Cluster) -> None:
    cluster.cli("mkdir", "/unmounted")
    cluster.write("/unmounted/file", b"still there")
    coordinator = cluster.coordinator
    coordinator.kill()
    data = cluster.data_dir("coordinator")
    data.rename(data.with_name("elsewhere"))
    data.mkdir()
    coordinator.start()
    assert ended(coordinator) != 0
    assert "is the disk mounted?" in coordinator.log_text()
    assert not list(data.rglob("*.db")), "nothing is begun anew there"
    shutil.rmtree(data)
    data.with_name("elsewhere").rename(data)
    cluster.start()
    assert cluster.read("/unmounted/file") == b"still there"


@pytest.mark.slow
def test_a_full_disk_of_the_catalogue_fails_writes_cleanly_and_reads_go_on(
    tmp_path: Path, small_disk: Callable[[Path, int], None]
) -> None:
    cluster = Cluster(tmp_path / "member", extra=TIMERS)
    small_disk(cluster.data_dir("coordinator"), 8)
    try:
        cluster.start()
        check_full_disk(cluster)
    finally:
        cluster.kill_all()


def check_full_disk(cluster: Cluster) -> None:
    cluster.cli("mkdir", "/d")
    wanted = content(MIB, 3)
    cluster.write("/d/file", wanted)
    ballast = cluster.data_dir("coordinator") / "ballast"
    fill(ballast)
    failed = cluster.cli("write", "/d/other", stdin=b"x", check=False)
    attempts = 1
    while failed.code == 0 and attempts < 50:  # the log may have some room of its own left
        failed = cluster.cli("write", f"/d/other-{attempts}", stdin=b"x", check=False)
        attempts += 1
    assert failed.code == 6, failed
    assert len(failed.err.strip().splitlines()) == 1
    assert cluster.read("/d/file") == wanted
    assert cluster.cli("ls", "/d").code == 0
    assert cluster.cli("status", "--json").json()["files"]["total"] >= 1
    assert cluster.coordinator.is_running
    ballast.unlink()
    cluster.write("/d/after", b"room again")
    assert cluster.read("/d/after") == b"room again"
    cluster.coordinator.restart()
    cluster.wait_healthy(3)
    assert cluster.read("/d/file") == wanted


def test_an_old_backup_deletes_nothing_until_the_operator_confirms(cluster: Cluster) -> None:
    cluster.cli("mkdir", "/old")
    before = copies(cluster)
    kept, removed, new = (content(MIB, seed) for seed in (4, 5, 6))
    cluster.write("/old/kept", kept)
    cluster.write("/old/removed", removed)
    wait_for_snapshot(cluster)
    backup = cluster.folder / "backup.tar"
    back_up(catalog_dir(cluster) / "snapshots", backup)
    cluster.write("/old/new", new)
    cluster.cli("rm", "/old/removed")
    coordinator = cluster.coordinator
    coordinator.kill()
    with tarfile.open(backup) as tar:
        name = max(name for name in tar.getnames() if name.endswith(".db"))
        found = tar.extractfile(name)
        assert found is not None
        put_in_place(cluster, found.read())
    coordinator.environment["COLLECTIVE_COLLECTION_GRACE"] = "0.5"
    cluster.start()

    assert "node adopt --all" in cluster.cli("status").text
    assert cluster.read("/old/kept") == kept
    assert cluster.read("/old/removed") == removed
    assert cluster.cli("stat", "/old/new", check=False).code == 3
    time.sleep(ENOUGH_FOR_COLLECTION_S)
    assert copies(cluster) == before + 9, "nothing is deleted, although one file is unknown now"
    cluster.write("/old/later", b"writes go on")
    cluster.cli("node", "adopt", "--all", "--yes")
    assert "node adopt" not in cluster.cli("status").text

    def is_quarantined(status: Any) -> bool:
        return all(node["quarantined_bytes"] > MIB for node in status["local_nodes"])

    def has_everything(status: Any) -> bool:
        counted: int = sum(node["chunk_count"] for node in status["local_nodes"])
        return counted == before + 12

    cluster.wait_status(is_quarantined, "quarantine of the file that is not known")
    cluster.wait_status(has_everything, "copies of every file, by the nodes' next heartbeats")
    refused = cluster.cli("node", "adopt", "--discard", "--yes", check=False)
    assert (refused.code, "seven days" in refused.err) == (8, True)
    assert cluster.read("/old/kept") == kept
    assert cluster.read("/old/later") == b"writes go on"
    time.sleep(ENOUGH_FOR_COLLECTION_S)
    assert copies(cluster) == before + 12, "what the catalogue does not know is kept"


def copies(cluster: Cluster) -> int:
    """Return the copies on all nodes."""
    status = cluster.cli("status", "--json").json()
    return sum(node["chunk_count"] for node in status["local_nodes"])
