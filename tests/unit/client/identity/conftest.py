from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collective.client.identity.config_dir import ConfigDir
from collective.client.identity.store import IdentityStore
from collective.core.clock import ManualClock
from collective.core.disk import Disk
from tests.unit.client.identity.bootstrap import Member
from tests.worlds import world_of


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> IdentityStore:
    return IdentityStore(ConfigDir(str(tmp_path / "config")), world_of(clock=clock))


@pytest.fixture
def alice(clock: ManualClock) -> Member:
    return Member("alice", "home.alice", clock)


@pytest.fixture
def bob(clock: ManualClock) -> Member:
    return Member("bob", "garage.bob", clock)


@pytest.fixture
def make_store(clock: ManualClock) -> Callable[..., IdentityStore]:
    def make(folder: Path, disk: Disk | None = None) -> IdentityStore:
        return IdentityStore(ConfigDir(str(folder / "c")), world_of(disk=disk, clock=clock))

    return make
