"""Ports that several test processes take at the same time."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.ports import BLOCK, RANGE, Ports, free_port

TINY = range(11_900, 11_900 + 3 * BLOCK)
TAKE_ALL = f"""
import sys
from tests.integration.ports import Ports
ports = Ports(range({TINY.start}, {TINY.stop}))
taken = []
try:
    while True:
        taken.append(ports.take())
except RuntimeError:
    print(*taken, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """A process that takes every port it can get, and holds them until its stdin ends."""
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_ALL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as made:
        yield made
        made.kill()


def test_what_another_process_took_is_nobody_elses_until_it_ends(
    other: subprocess.Popen[str],
) -> None:
    ports = Ports(TINY)
    assert other.stdout is not None
    taken = {int(port) for port in other.stdout.readline().split()}
    assert taken
    assert taken <= set(TINY)
    with pytest.raises(RuntimeError, match="hold every port"):
        ports.take()
    other.kill()  # a process that is killed holds nothing either
    other.wait()
    again = Ports(TINY)
    assert {again.take() for _ in taken} == taken
    again.release()


def test_a_port_is_handed_out_once_and_not_while_something_listens_on_it() -> None:
    lone = range(11_800, 11_802)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", lone[0]))
        listener.listen()
        ports = Ports(lone)
        assert ports.take() == lone[1]
        with pytest.raises(RuntimeError):
            ports.take()
        ports.release()


def test_ports_lie_where_no_outgoing_connection_gets_one() -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        assert int(file.read().split()[0]) >= RANGE.stop
    assert free_port() in RANGE
