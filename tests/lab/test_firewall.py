"""A friend outside, nodes behind a firewall that drops: only the coordinator's port is open."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.integration.cluster import Result, command
from tests.lab.houses import Lab

pytestmark = pytest.mark.slow

SMALL, LARGE = random.Random(4).randbytes(4000), random.Random(5).randbytes(60 * 1000 * 1000)


class Friend:
    """Somebody on bob's machine with a certificate of alice, and an empty home."""

    def __init__(self, lab: Lab, home: Path) -> None:
        self.lab, alice = lab, lab.houses["alice"]
        address = f"{lab.host('alice').address}:{alice.coordinator_port}"
        self.options = ("--coordinator", address, *alice.operator[2:])
        self.environment = lab.houses["bob"].client_environment | {"HOME": str(home)}

    def cli(self, what: str, *arguments: str, stdin: bytes = b"") -> Result:
        """Run a command, which must succeed, and keep how long it took."""
        began_s = time.monotonic()
        host = self.lab.host("bob")
        done = command(
            *arguments, *self.options, environment=self.environment, stdin=stdin, host=host
        )
        self.lab.tell(what, time.monotonic() - began_s)
        assert done.code == 0, done.err
        return done


def test_nodes_that_cannot_be_reached_cost_a_moment_and_are_remembered(
    lab: Lab, tmp_path: Path
) -> None:
    friend = Friend(lab, tmp_path)
    lab.houses["alice"].cli("mkdir", "/wall")
    for way in ("open", "open again"):
        friend.cli(f"write 4 kB, {way}", "write", "/wall/small", stdin=SMALL)
        assert friend.cli(f"read 4 kB, {way}", "read", "/wall/small").out == SMALL
    friend.cli("write 60 MB, open", "write", "/wall/large", stdin=LARGE)
    notes = tmp_path / ".local/state/collective/routes.json"
    assert not notes.exists(), "nothing to remember"
    ports = lab.houses["alice"].node_ports.values()
    lab.network.close_ports(lab.host("bob"), lab.host("alice"), *ports)
    try:
        assert friend.cli("read 4 kB, the first time", "read", "/wall/small").out == SMALL
        assert "home.alice from " in notes.read_text()
        assert friend.cli("read 4 kB, remembered", "read", "/wall/small").out == SMALL
        friend.cli("write 4 kB, remembered", "write", "/wall/small", stdin=SMALL[:3999])
        notes.unlink()
        friend.cli("write 4 kB, the first time", "write", "/wall/small", stdin=SMALL[:3998])
        notes.unlink()
        friend.cli("write 60 MB, the first time", "write", "/wall/large", stdin=LARGE[::-1])
        assert friend.cli("read 60 MB, remembered", "read", "/wall/large").out == LARGE[::-1]
    finally:
        lab.network.heal()
    notes.unlink()
    assert friend.cli("read 60 MB, open", "read", "/wall/large").out == LARGE[::-1]
    assert not notes.exists(), "straight again"
