"""Clusters for integration tests; logs are shown with a failure."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster import Cluster, running_cluster

LIVE: pytest.StashKey[list[Cluster]] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        for cluster in item.session.stash.get(LIVE, []):
            report.sections.append(("logs of the cluster", cluster.logs()))
    return report


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Cluster]:
    """A started member with three nodes, shared by the tests of one module."""
    with running_cluster(tmp_path_factory.mktemp("member")) as made:
        live = request.session.stash.setdefault(LIVE, [])
        live.append(made)
        yield made
        live.remove(made)


@pytest.fixture
def own_cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A started member with three nodes for one test that breaks things."""
    with running_cluster(tmp_path / "member") as made:
        live = request.session.stash.setdefault(LIVE, [])
        live.append(made)
        yield made
        live.remove(made)


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], None]]:
    """Mount a disk of so many MiB on a folder; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(folder: Path, size_mib: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
        if (
            os.geteuid() != 0
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("mounting a small disk needs root")
        mounted.append(folder)

    try:
        yield mount
    finally:
        for folder in mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
