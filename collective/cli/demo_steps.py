"""What the demo does, step by step, and how it tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from collective.cli.demo_client import Client
from collective.cli.demo_member import Member


@dataclass(slots=True)
class Steps:
    """Tells each step and counts how they ended."""

    out: TextIO
    done: int = 0
    failed: int = 0
    _started_s: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print a line at once."""
        self.out.write(text + "\n")
        self.out.flush()

    def fail(self, text: str) -> None:
        """Print a failure and count it."""
        self.failed += 1
        self.say(f"FAILED: {text}")

    def step(self, what: str, act: Callable[[], str | None]) -> None:
        """Do ``act`` and tell what it returned; :class:`DemoError` ends the demo."""
        self._told(what, act())

    def side_by_side(self, acts: Sequence[tuple[str, Callable[[], str | None]]]) -> None:
        """Do one step of each member at the same time, and tell them in order."""
        with ThreadPoolExecutor(len(acts)) as pool:
            running = [(what, pool.submit(act)) for what, act in acts]
            for what, future in running:
                self._told(what, future.result())

    def _told(self, what: str, note: str | None) -> None:
        self.done += 1
        elapsed_s = time.monotonic() - self._started_s
        self.say(f"[{elapsed_s:6.1f} s] {what}{': ' + note if note else ''}")


def run_steps(members: Sequence[Member], folder: Path, steps: Steps) -> list[Client]:
    """Do everything; raises :class:`DemoError` at the first step that fails."""
    clients = [Client(member, folder / f"guest-of-{member.name}") for member in members]

    def each(what: str, act: Callable[[Client], str | None]) -> None:
        steps.side_by_side(
            [(f"{client.member.name}: {what}", partial(act, client)) for client in clients]
        )

    steps.say(f"Three members, a coordinator and three nodes each, in {folder}.")
    for member in members:
        member.start()
    each("started, nodes enrolled and healthy", lambda client: _up(client.member))
    each("invite a client", Client.join)
    each("write", Client.write)
    each("list", Client.list_all)
    each("read", Client.read_all)
    for member in members:
        member.nodes[0].kill()
        steps.step(f"{member.name}: kill -9 {member.nodes[0].name}", lambda: None)
    each("read with two nodes", Client.read_all)
    steps.step("stop every process", partial(_stop, members))
    for member in members:
        member.start()
    each("started again", lambda client: _up(client.member))
    each("read after the restart", Client.read_all)
    each("status", Client.status)
    return clients


def _up(member: Member) -> str:
    member.wait_healthy()
    return f"coordinator 127.0.0.1:{member.ports.coordinator}"


def _stop(members: Sequence[Member]) -> str:
    count = sum(process.is_running for member in members for process in member.processes)
    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(Member.stop, members))
    return f"{count} processes"
