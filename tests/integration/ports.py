"""TCP ports of 127.0.0.1 that no other process of any test run is given.

Owns the claim on a port from the moment it is chosen until this process ends, however it ends; the
server that the port is for may start, stop and start again meanwhile.  Ports are claimed in blocks,
each by a Unix socket with an abstract name: the kernel keeps those apart by network namespace, as it
does ports, and forgets them with their process.  A port that something else listens on is left out.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from typing import Final

RANGE: Final = range(12_000, 32_768)
"""Below the ports that the kernel hands out by itself for outgoing connections, which begin there."""

BLOCK: Final = 32
"""Ports a claim: a run of the suite needs some hundred, and should not hold as many sockets."""


class Ports:
    """Hands out each port of a range once; others with a claim in it get other ones."""

    def __init__(self, ports: range) -> None:
        """Hand out some of ``ports``."""
        self._ports = ports
        self._claims: list[socket.socket] = []
        self._free = self._handed_out()

    def take(self) -> int:
        """Return a port that is free and stays so for others; RuntimeError when there is none."""
        for port in self._free:
            return port
        raise RuntimeError(f"Other tests hold every port of {self._ports}.")

    def release(self) -> None:
        """Give up every claim: for tests of this class."""
        while self._claims:
            self._claims.pop().close()

    def _handed_out(self) -> Iterator[int]:
        blocks = [self._ports[first : first + BLOCK] for first in range(0, len(self._ports), BLOCK)]
        # Not by a seed that tests share: two runs would try the same blocks in the same order.
        random.SystemRandom().shuffle(blocks)
        for block in blocks:
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0collective-test-ports-{block.start}")
            except OSError:
                claim.close()
                continue
            self._claims.append(claim)
            yield from filter(_is_bindable, block)


def _is_bindable(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


_OWN: Final = Ports(RANGE)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is this process's until it ends."""
    return _OWN.take()
