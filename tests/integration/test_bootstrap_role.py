"""The standalone bootstrap as a role: what it needs to start, and that it starts and stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collective.core.clock import SystemClock
from collective.core.errors import SettingsError
from collective.core.randomness import SystemRandomness
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.roles.bootstrap.app import BootstrapRole
from collective.roles.runtime.lifecycle import Runtime, Supervisor
from collective.roles.runtime.metrics import Metrics
from tests.integration.certificates import issued_bootstrap
from tests.worlds import LINKS, world_of

ADDRESS = Address("127.0.0.1", 0)


def runtime(cert_dir: str) -> Runtime:
    settings = ServeSettings(
        roles=frozenset(("bootstrap",)),
        bootstrap_address=ADDRESS,
        coordinator_address=Address("127.0.0.1", 1),
        cert_dir=cert_dir,
    )
    return Runtime(settings, Metrics(), world_of(SystemClock(), SystemRandomness()), LINKS, {})


async def test_role_without_a_certificate_says_which_command_makes_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="pki issue --bootstrap"):
        BootstrapRole(runtime(str(tmp_path)))


async def test_role_starts_and_stops_with_an_issued_certificate(tmp_path: Path) -> None:
    out = issued_bootstrap(tmp_path)
    role = BootstrapRole(runtime(out))
    assert not role.ready()
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group)
        await role.start(supervisor)
        assert role.ready()
        await role.drain()
        await role.stop()
        supervisor.cancel_all()
