"""What is looked at before a settings file is written."""

from __future__ import annotations

import pytest

from collective.cli.setup.preflight import shared_ports
from collective.core.errors import ExitCode
from collective.core.units import Address


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        ("0.0.0.0:8001", "0.0.0.0:8001", True),
        ("0.0.0.0:9001", "127.0.0.1:9001", True),
        ("127.0.0.1:9001", "[::]:9001", True),
        ("nas.lan:9001", "nas.lan:9001", True),
        ("10.0.0.1:9001", "127.0.0.1:9001", False),
        ("0.0.0.0:8001", "0.0.0.0:9001", False),
    ],
)
def test_two_settings_of_one_port_are_named(one: str, other: str, is_shared: bool) -> None:
    listening = {
        "coordinator_address": Address.parse(one),
        "bootstrap_address": Address.parse(other),
        "metrics_address": Address.parse("127.0.0.1:9090"),
    }
    found = shared_ports(listening)
    assert bool(found) == is_shared
    for finding in found:
        assert finding.exit_code is ExitCode.USAGE
        assert f"coordinator_address ({one}) and bootstrap_address ({other})" in finding.says
