"""Hosts on one machine: each a network of its own, joined by a link with delay, loss and partitions.

Owns the networks from when it is entered until it is left.  They have no names, and no way out: what is
sent there reaches the other hosts or nobody.  Nothing of them outlives the process that made them,
however it ends.  Needs root, ``iproute2`` and ``/dev/net/tun``; no bridge, no firewall and no netem.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests import tun
from tests.integration.commands import CommandServer

_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_RANGE: Final = "10.83.0.0/16"
_INTERFACE: Final = "house0"


def why_not() -> str:
    """Return why no hosts can be made here; empty where they can."""
    if reason := tun.why_not():
        return reason
    if shutil.which("ip") is None:
        return "needs iproute2"
    try:
        with ThreadPoolExecutor(1) as thread:
            os.close(thread.submit(_new_network).result())
    except OSError as error:
        return f"no network of its own: {error.strerror}"
    return ""


def _enter(network: int) -> None:
    if _LIBC.setns(network, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network")


def _own_network() -> int:
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)


def _new_network() -> int:
    """Return a new network; this thread is in it from then on."""
    if _LIBC.unshare(_CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return _own_network()


class Host:
    """One machine, and the version of the program that is installed there."""

    def __init__(self, network: Network, number: int, code: Path | None) -> None:
        """``code``: the folder of another version; None: this one."""
        self.code = code
        self.number = number
        self.address = ""
        self._network = network
        self._commands: CommandServer | None = None
        with ThreadPoolExecutor(1) as thread:
            self._id, self.device = thread.submit(self._make).result()

    def _make(self) -> tuple[int, int]:
        network, device = _new_network(), tun.open_tun(_INTERFACE)
        _ip("link", "set", "lo", "up")
        _ip("link", "set", _INTERFACE, "txqueuelen", "10000", "up")
        _ip("route", "add", _RANGE, "dev", _INTERFACE)
        return network, device

    @property
    def commands(self) -> CommandServer:
        """Where commands of this host start."""
        if self._commands is None:
            self._commands = CommandServer(self)
        return self._commands

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """What this thread starts or connects meanwhile is on the host."""
        before = _own_network()
        try:
            _enter(self._id)
            yield
        finally:
            _enter(before)
            os.close(before)

    def move(self, address: str) -> None:
        """Have this address from now on, and no other."""
        with self.inside():
            if self.address:
                _ip("address", "del", f"{self.address}/32", "dev", _INTERFACE)
                self._network.tell("forget", self.address)
            _ip("address", "add", f"{address}/32", "dev", _INTERFACE)
            # Else what goes to the host itself could leave it.
            _ip("route", "replace", _RANGE, "dev", _INTERFACE, "src", address)
        self._network.tell("address", address, self.number)
        self.address = address

    def close(self) -> None:
        """End the command server, and give the network up."""
        if self._commands is not None:
            self._commands.close()
        os.close(self.device)
        os.close(self._id)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Network:
    """So many hosts, while entered, at ``10.83.N.1``; at first nothing is delayed or lost."""

    def __init__(self, count: int, *, code: dict[int, Path] | None = None, seed: int = 1) -> None:
        """``code``: folders of other versions, by the number of the host that has them."""
        self._count = count
        self._code = code or {}
        self._seed = seed
        self._moves = 0
        self.hosts: list[Host] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            for number in range(self._count):
                host = Host(self, number, self._code.get(number))
                undo.callback(host.close)
                self.hosts.append(host)
            devices = [host.device for host in self.hosts]
            self._switch = subprocess.Popen(
                [sys.executable, "-m", "tests.lab.switch", str(self._seed), *map(str, devices)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=devices,
            )
            undo.callback(self._stop)
            for host in self.hosts:
                host.move(f"10.83.{host.number + 1}.1")
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def _stop(self) -> None:
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.close()
        self._switch.wait()
        self._switch.stdout.close()

    def tell(self, *words: object) -> None:
        """Change how packets go; it counts when this returns."""
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.write(f"{' '.join(map(str, words))}\n".encode())
        self._switch.stdin.flush()
        assert self._switch.stdout.readline() == b"\n", "the switch has ended"

    def link(self, *, one_way_s: float, loss: float) -> None:
        """Delay every packet by so much, and lose that share of them by chance."""
        self.tell("link", one_way_s, loss)

    def cut(self, source: Host, target: Host) -> None:
        """Lose all that ``source`` sends to ``target``; what goes the other way arrives."""
        self.tell("cut", source.number, target.number)

    def part(self, host: Host, *, is_one_way: bool = False) -> None:
        """Lose all that ``host`` sends, and what others send to it unless ``is_one_way``."""
        for other in self.hosts:
            if other is not host:
                self.cut(host, other)
                if not is_one_way:
                    self.cut(other, host)

    def close_ports(self, source: Host, target: Host, *ports: int) -> None:
        """Let the firewall of ``target`` drop what ``source`` sends to these ports."""
        self.tell("close", source.number, target.number, *ports)

    def heal(self) -> None:
        """End every cut, and open every port."""
        self.tell("heal")

    def new_address(self) -> str:
        """Return one that no host has had."""
        self._moves += 1
        return f"10.83.{100 + self._moves}.1"
