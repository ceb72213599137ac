"""Clusters for integration tests; logs are shown with a failure."""

from __future__ import annotations

from collections.abc import Iterator
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
