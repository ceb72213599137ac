"""SIGHUP: what is taken into use, what waits, and settings that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from structlog.testing import capture_logs

from collective.core.errors import SettingsError
from collective.core.settings import ServeSettings
from collective.core.world import InlineThreads
from collective.roles.runtime.notify import Notifier
from collective.roles.runtime.reloading import Reload, Source

BEFORE = ServeSettings(roles=frozenset({"node"}), storage_capacity_bytes=1 << 30)


class Told(Notifier):
    """Writes down what the service manager hears."""

    def __init__(self) -> None:
        super().__init__({})
        self.said: list[str] = []

    def _send(self, message: str) -> None:
        self.said.append(message.partition("\n")[0])


class Node:
    """A role that takes a capacity."""

    reloadable = frozenset({"storage_capacity_bytes"})

    def __init__(self) -> None:
        self.taken: list[ServeSettings] = []

    async def reload(self, settings: ServeSettings) -> None:
        self.taken.append(settings)


def reload_of(read: Callable[[], ServeSettings]) -> tuple[Reload, Node, Told, Source]:
    node, told, source = Node(), Told(), Source(read)
    return Reload(BEFORE, source, [node, object()], told, InlineThreads()), node, told, source


async def test_what_a_role_takes_is_taken_and_the_rest_is_named() -> None:
    now = replace(BEFORE, storage_capacity_bytes=1 << 31, copies=2)
    reload, node, told, source = reload_of(lambda: now)
    source.asked.set()
    with capture_logs() as logged:
        await reload.work()
    assert [one.storage_capacity_bytes for one in node.taken] == [1 << 31]
    assert node.taken[0].copies == BEFORE.copies, "a role sees nothing that it cannot take"
    assert told.said == ["RELOADING=1", "READY=1"]
    assert [(one["event"], one["changed"]) for one in logged] == [
        ("settings reloaded", ["storage_capacity_bytes"]),
        ("settings that need a restart", ["copies"]),
    ]
    source.asked.set()
    await reload.work()
    assert len(node.taken) == 1, "the same settings again change nothing"


async def test_settings_that_are_wrong_change_nothing() -> None:
    def read() -> ServeSettings:
        raise SettingsError("The settings file is no TOML.")

    reload, node, told, source = reload_of(read)
    source.asked.set()
    with capture_logs() as logged:
        await reload.work()
    assert node.taken == []
    assert reload.current is BEFORE
    assert told.said == ["RELOADING=1", "READY=1"]
    assert logged[0]["reason"] == "The settings file is no TOML."


async def test_nothing_is_read_that_nobody_asked_for() -> None:
    def read() -> ServeSettings:
        raise AssertionError

    reload, _, told, _ = reload_of(read)
    await reload.work()
    assert told.said == []


def test_a_start_asks_for_more_time_and_a_process_that_serves_does_not() -> None:
    sent: list[str] = []

    class Sent(Notifier):
        def _send(self, message: str) -> None:
            sent.append(message)

    notifier = Sent({"WATCHDOG_USEC": "1000000"})
    notifier.alive()
    notifier.ready("serving node")
    notifier.alive()
    assert sent == [
        "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=60000000",
        "READY=1\nSTATUS=serving node",
        "WATCHDOG=1",
    ]
