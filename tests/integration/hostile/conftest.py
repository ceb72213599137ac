"""One member for all attacks; after each it must still serve, and must not have grown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cluster import running_cluster
from tests.integration.hostile.attacker import Target

SECRET = b"what mallory must never read\n" * 2000
RESIDENT_MAX_BYTES = 192 * 1024 * 1024
GROWTH_MAX_BYTES = 96 * 1024 * 1024
"""What 300 connections and three floods or more (75 MB seen) leave with allocator and collector;
that more floods add nothing is tested where they are."""


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A member with three nodes: /private is the operator's, /mallory and /by their users'."""
    folder = tmp_path_factory.mktemp("target")
    with running_cluster(folder / "member") as cluster:
        made = Target.of(cluster, folder / "stolen")
        for path in ("/private", "/mallory", "/by"):
            cluster.cli("mkdir", path)
        cluster.write("/private/secret.bin", SECRET)
        cluster.cli("grant", "add", "/mallory:read+write", "mallory@home.alice")
        cluster.cli("grant", "add", "/by:read+write", "bystander@home.alice")
        yield made


@pytest.fixture(autouse=True)
def stays_healthy(target: Target) -> Iterator[None]:
    """After an attack every process is ready and is the same one as before."""
    before = {name: service.pid for name, service in target.cluster.services.items()}
    yield
    for name, service in target.cluster.services.items():
        assert service.is_running, service.log_tail()
        assert service.pid == before[name]
        assert service.page("/readyz")[0] == 200, service.log_tail()


@pytest.fixture(scope="module", autouse=True)
def still_works(target: Target) -> Iterator[None]:
    """After each module of attacks a normal write and read work, and memory has not grown."""
    cluster = target.cluster
    cluster.write("/by/before", SECRET)  # warms every process up
    assert cluster.read("/by/before") == SECRET
    before = target.memory()
    logged = {name: len(service.log_text()) for name, service in cluster.services.items()}
    yield
    cluster.write("/by/after", SECRET[::-1])
    assert cluster.read("/by/after") == SECRET[::-1]
    after = target.memory()
    grown = {name: size - before[name] for name, size in after.items()}
    assert max(grown.values()) < GROWTH_MAX_BYTES, grown
    assert max(after.values()) < RESIDENT_MAX_BYTES, after
    for name, service in cluster.services.items():
        new = service.log_text()[logged[name] :]
        assert "Traceback" not in new, new[max(0, new.find("Traceback") - 2000) :][:6000]
