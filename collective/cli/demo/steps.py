"""What the demo does, step by step, and how it tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from collective.cli.demo.client import Client
from collective.cli.demo.member import Member
from collective.cli.demo.peers import Visit, pairs, peer, wait_peers


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


def run_steps(members: Sequence[Member], folder: Path, steps: Steps) -> tuple[list[Client], Visit]:
    """Do everything; raises :class:`DemoError` at the first step that fails."""
    guests = [
        Client(member, folder / f"guest-of-{member.name}", f"guest@friends.of.{member.name}")
        for member in members
    ]
    alice, bob, *_ = members
    visit = Visit.to(guests[0], bob, folder)

    def each(what: str, act: Callable[[Client], str | None]) -> None:
        steps.side_by_side(
            [(f"{guest.member.name}: {what}", partial(act, guest)) for guest in guests]
        )

    def peered(what: str) -> None:
        each(what, lambda guest: wait_peers(guest.member, members))

    steps.say(f"Three members, a coordinator and three nodes each, in {folder}.")
    for member in members:
        member.start()
    each("started, nodes enrolled and healthy", lambda guest: _up(guest.member))
    each("invite a client", Client.join)
    each("write", Client.write)
    each("list", Client.list_all)
    each("read", Client.read_all)

    steps.side_by_side(
        [
            (f"{accepter.name} peers with {inviter.name}", partial(peer, inviter, accepter))
            for inviter, accepter in pairs(members)
        ]
    )
    peered("sees its peers")
    steps.side_by_side(
        [("bob: invite a client", one.join) for one in (visit.reader, visit.stranger)]
    )
    steps.step("alice: grant one of them", visit.grant)
    steps.step("bob: read a file of alice's", visit.read)
    steps.step("bob: refused without a grant", visit.refuse)
    steps.step("bob: copy it from alice to bob", visit.fetch)
    steps.step("stop all of alice", partial(_stop, [alice]))
    steps.step("bob: sees that alice is away", partial(_miss, bob, alice, members))
    steps.step("bob: read the copy without alice", visit.read_without_owner)
    alice.start()
    steps.step("alice: back, healthy", partial(_up, alice))
    peered("sees its peers again")
    steps.step("bob: read it at alice again", visit.read)

    for member in members:
        member.nodes[0].kill()
        steps.step(f"{member.name}: kill -9 {member.nodes[0].name}", lambda: None)
    each("read with two nodes", Client.read_all)
    steps.step("stop every process", partial(_stop, members))
    for member in members:
        member.start()
    each("started again", lambda guest: _up(guest.member))
    each("read after the restart", Client.read_all)
    peered("sees its peers after the restart")
    each("status", Client.status)
    return guests, visit


def _up(member: Member) -> str:
    member.wait_healthy()
    return f"coordinator 127.0.0.1:{member.ports.coordinator}"


def _miss(member: Member, away: Member, members: Sequence[Member]) -> str:
    others = [one.domain for one in members if one not in (member, away)]
    member.wait_peers(others, away=[away.domain])
    return f"{away.domain} is away, {' and '.join(others)} is there"


def _stop(members: Sequence[Member]) -> str:
    count = sum(process.is_running for member in members for process in member.processes)
    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(Member.stop, members))
    return f"{count} processes"
