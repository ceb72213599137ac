"""What holds for every test."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.integration.commands import CommandServer
from tests.order import sort_longest_first
from tests.virtual_time import VirtualTimeLoop

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what runs in its background, and every process below inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples are bounded by count; how long one takes says more about the machine than about the code.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=bool(os.environ.get("CI")),  # a change is judged by what it changed
)
settings.load_profile("suite")
CommandServer.forks_services = True


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Give tests that are marked so a loop on virtual time."""
    del config
    if item.get_closest_marker("virtual_time") is not None:
        return {"virtual time": VirtualTimeLoop}
    return {"real time": asyncio.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Log everything again: a test before this one may have had structlog leave lines out."""
    structlog.reset_defaults()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    sort_longest_first(items)
