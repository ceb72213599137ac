"""The process that carries packets between the hosts of a :class:`~tests.lab.network.Network`.

Each host has one TUN device; a packet goes to the host whose address it names, after the link's delay,
unless it is lost: by chance, by a cut, or by the firewall of where it goes.  It hears one line a change
and answers each with an empty line once it counts.

While packets are lost by chance the kernel cuts segments into packets first: else one loss would take
what fills forty packets.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import select
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

from tests.tun import HEADER_BYTES, PACKET_MAX_BYTES, take_whole_segments

_SOURCE: Final = slice(HEADER_BYTES + 12, HEADER_BYTES + 16)
_TARGET: Final = slice(HEADER_BYTES + 16, HEADER_BYTES + 20)
_LEAST_BYTES: Final = HEADER_BYTES + 20
_BATCH: Final = 256
"""Packets of one device before the next one's turn."""


class Switch:
    """Hosts are numbered as their devices stand."""

    def __init__(self, devices: Sequence[int], seed: int) -> None:
        """Carry at once and everything, until told otherwise."""
        self._devices = devices
        self._chance = random.Random(seed)
        self._waiting: collections.deque[tuple[float, int, bytes]] = collections.deque()
        self._hosts: dict[bytes, int] = {}
        self._delay_s = 0.0
        self._loss = 0.0
        self._cuts: set[tuple[int, int]] = set()
        self._closed: set[tuple[int, int, int]] = set()

    def run(self) -> None:
        """Carry until standard input ends."""
        told = sys.stdin.fileno()
        while True:
            pause_s = None
            if self._waiting:
                pause_s = max(0.0, self._waiting[0][0] - time.monotonic())
            ready, _, _ = select.select([*self._devices, told], [], [], pause_s)
            if told in ready:
                lines = os.read(told, 65536).decode().splitlines()
                if not lines:
                    return
                for line in lines:
                    self._hear(line.split())
                    os.write(sys.stdout.fileno(), b"\n")
            for number, device in enumerate(self._devices):
                if device in ready:
                    self._take(number, device)
            self._give()

    def _hear(self, words: list[str]) -> None:
        match words:
            case ["address", address, host]:
                self._hosts[socket.inet_aton(address)] = int(host)
            case ["forget", address]:
                self._hosts.pop(socket.inet_aton(address), None)
            case ["link", delay_s, loss]:
                self._delay_s, self._loss = float(delay_s), float(loss)
                for device in self._devices:
                    take_whole_segments(device, is_wanted=not self._loss)
            case ["cut", one, other]:
                self._cuts.add((int(one), int(other)))
            case ["close", one, other, *ports]:
                self._closed |= {(int(one), int(other), int(port)) for port in ports}
            case ["heal"]:
                self._cuts.clear()
                self._closed.clear()
            case _:
                raise AssertionError(words)

    def _take(self, source: int, device: int) -> None:
        for _ in range(_BATCH):
            try:
                packet = os.read(device, PACKET_MAX_BYTES)
            except BlockingIOError:
                return
            if len(packet) < _LEAST_BYTES or packet[HEADER_BYTES] >> 4 != 4:  # not IPv4
                continue
            target = self._hosts.get(packet[_TARGET])
            if target is None or self._hosts.get(packet[_SOURCE]) != source:
                continue
            if (source, target) in self._cuts or self._is_refused(source, target, packet):
                continue
            if self._loss and self._chance.random() < self._loss:
                continue
            self._waiting.append((time.monotonic() + self._delay_s, target, packet))

    def _is_refused(self, source: int, target: int, packet: bytes) -> bool:
        if not self._closed:
            return False
        at = HEADER_BYTES + 4 * (packet[HEADER_BYTES] & 15) + 2
        return (source, target, int.from_bytes(packet[at : at + 2], "big")) in self._closed

    def _give(self) -> None:
        now_s = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now_s:
            _, target, packet = self._waiting.popleft()
            with contextlib.suppress(OSError):  # what the kernel does not take is lost
                os.write(self._devices[target], packet)


if __name__ == "__main__":
    Switch([int(one) for one in sys.argv[2:]], int(sys.argv[1])).run()
