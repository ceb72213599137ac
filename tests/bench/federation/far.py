"""A link to far-away members, all of them on this machine: delay, loss of all that goes to one, bytes on the wire.

Two ranges of addresses stand for each other.  Who listens on ``NEAR.n`` is found at ``FAR.n``: a packet to
there leaves by a TUN device, waits as long as the link says, and comes back in with both its addresses
exchanged for their counterparts.  Neither IP's nor TCP's checksum changes by that, for one address gains
what the other loses.  Everything stays in a network of this process's own, so it needs root and nothing
else: no bridge, no second host, no netem.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests import tun

NEAR: Final = "10.9.0"
FAR: Final = "10.9.1"
HOSTS_MAX: Final = 24
_DEVICE: Final = "far0"
_CLONE_NEWNET: Final = 0x40000000
_IP_SOURCE: Final = tun.HEADER_BYTES + 12
_IP_TARGET: Final = tun.HEADER_BYTES + 16


def own_network() -> str:
    """Move this process, and all that it starts, into a network of its own with loopback.

    Call it before any thread is started.  Returns why it cannot be done; empty where it was.
    """
    if reason := tun.why_not():
        return reason
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        return f"no network of its own: {os.strerror(ctypes.get_errno())}"
    try:
        _ip("link", "set", "lo", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"needs iproute2 ({error})"
    return ""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class FarLink:
    """The link, while entered; at first it neither delays nor drops."""

    def __enter__(self) -> Self:
        self._device = tun.open_tun(_DEVICE)
        os.set_inheritable(self._device, True)
        for host in range(1, HOSTS_MAX + 1):
            _ip("address", "add", f"{NEAR}.{host}/32", "dev", _DEVICE)
        _ip("link", "set", _DEVICE, "txqueuelen", "10000", "up")
        _ip("route", "add", f"{FAR}.0/24", "dev", _DEVICE, "src", f"{NEAR}.1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.federation.far", str(self._device)],
            stdin=subprocess.PIPE,
            pass_fds=(self._device,),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        os.close(self._device)

    def delay(self, one_way_s: float) -> None:
        """Delay what is sent from now on."""
        self._tell(f"delay {one_way_s}")

    def drop(self, host: int) -> None:
        """Lose everything to and from ``FAR.host``."""
        self._tell(f"drop {host}")

    def heal(self) -> None:
        """Lose nothing any more."""
        self._tell("heal")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    @staticmethod
    def carried_bytes() -> int:
        """Return the bytes that went over the link so far, IP headers included, each counted once."""
        for line in Path("/proc/self/net/dev").read_text().splitlines():
            name, _, figures = line.strip().partition(":")
            if name == _DEVICE:
                return int(figures.split()[8])
        raise AssertionError(_DEVICE)


class _Carrier:
    """Carries packets from the device back into it."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._waiting: collections.deque[tuple[float, bytearray]] = collections.deque()
        self._delay_s = 0.0
        self._dropped: set[int] = set()

    def run(self) -> None:
        """Carry until standard input ends."""
        while True:
            pause_s = None
            if self._waiting:
                pause_s = max(0.0, self._waiting[0][0] - time.monotonic())
            ready, _, _ = select.select([self._device, sys.stdin.fileno()], [], [], pause_s)
            if sys.stdin.fileno() in ready:
                told = os.read(sys.stdin.fileno(), 4096)
                if not told:
                    return
                for line in told.decode().splitlines():
                    self._hear(line)
            if self._device in ready:
                self._take()
            self._give()

    def _hear(self, line: str) -> None:
        word, _, value = line.partition(" ")
        if word == "delay":
            self._delay_s = float(value)
        elif word == "drop":
            self._dropped.add(int(value))
        else:
            self._dropped.clear()

    def _take(self) -> None:
        while True:
            try:
                packet = bytearray(os.read(self._device, tun.PACKET_MAX_BYTES))
            except BlockingIOError:
                return
            if len(packet) < _IP_TARGET + 4 or packet[tun.HEADER_BYTES] >> 4 != 4:
                continue
            if packet[_IP_SOURCE + 3] in self._dropped or packet[_IP_TARGET + 3] in self._dropped:
                continue
            packet[_IP_SOURCE + 2] += 1  # NEAR to FAR
            packet[_IP_TARGET + 2] -= 1
            self._waiting.append((time.monotonic() + self._delay_s, packet))

    def _give(self) -> None:
        now_s = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now_s:
            with contextlib.suppress(
                OSError
            ):  # one that the kernel does not take is one that is lost
                os.write(self._device, self._waiting.popleft()[1])


if __name__ == "__main__":
    _Carrier(int(sys.argv[1])).run()
