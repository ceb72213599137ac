"""The demo: three members on this machine that peer, driven by the public commands.

Each member is one coordinator and three nodes, as separate processes with mutual TLS.  Each invites
a client, who writes, lists and reads real files.  The members peer; people of one read files of another,
copy them, and read the copy while the other is away.  The demo kills a node, reads again, restarts
everything, reads again, and compares hashes.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from collective.cli.demo.client import Client
from collective.cli.demo.member import LOOPBACK, DemoError, Member, make_members
from collective.cli.demo.peers import COPIES, Visit
from collective.cli.demo.steps import Steps, run_steps
from collective.core.errors import ExitCode


def run_demo(directory: Path | None, *, once: bool) -> ExitCode:
    """Run the demo in ``directory``, or in a temporary folder; ``once``: until its steps are done."""
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    folder = directory or Path(tempfile.mkdtemp(prefix="collective-demo-"))
    signal.signal(signal.SIGTERM, _interrupt)
    steps = Steps(sys.stdout)
    members: list[Member] = []
    try:
        members.extend(make_members(folder.resolve(), steps.say))
        guests, visit = run_steps(members, folder.resolve(), steps)
        _show_endpoints(guests, steps.say)
        _show_commands(guests, visit, steps.say)
        if not once:
            steps.say("\nRunning until Ctrl-C.")
            _wait_for_ever(members)
    except DemoError as error:
        steps.fail(str(error))
        for member in members:
            steps.say(member.log_tails())
    except KeyboardInterrupt:
        steps.say("")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        steps.say("Stopping.")
        for member in members:
            member.stop()
        if directory is None:
            shutil.rmtree(folder, ignore_errors=True)
    if steps.failed:
        steps.say(f"FAILED: {steps.failed} of {steps.done + steps.failed} steps.")
        return ExitCode.FAILURE
    steps.say(f"All {steps.done} steps succeeded.")
    return ExitCode.DONE


def _show_endpoints(guests: list[Client], say: Callable[[str], None]) -> None:
    say("\nEndpoints (every connection but metrics is TLS 1.3, and but bootstrap mutual):")
    for guest in guests:
        member = guest.member
        say(f"  {member.name} ({member.domain})")
        say(f"    coordinator {LOOPBACK}:{member.ports.coordinator}")
        say(f"    bootstrap   {LOOPBACK}:{member.ports.bootstrap}")
        say(f"    metrics     http://{LOOPBACK}:{member.ports.metrics}/metrics")


def _show_commands(guests: list[Client], visit: Visit, say: Callable[[str], None]) -> None:
    """Say what can be tried, and as whom."""
    there = visit.there.rpartition("/")[0]
    say("\nTry, in another terminal:")
    say(f"    export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    say(f"  as {visit.reader.global_id}, whom alice gave a grant:")
    say(f"    {_exports(visit.reader)}")
    for command in ("ls /", f"ls -l {there}", f"cp -r {there} {COPIES}/media", f"ls -R {COPIES}"):
        say(f"    collective {command}")
    say(f"  as {visit.stranger.global_id}, whom nobody did (exit code 4):")
    say(f"    {_exports(visit.stranger)}")
    say(f"    collective read {visit.there}")
    for guest in guests:
        say(f"  as the guest of {guest.member.name}:")
        say(f"    {_exports(guest)}")
        say("    collective ls -R /shared")
    for guest in guests:
        say(f"  as the operator of {guest.member.name}:")
        for command in ("status", "peer list"):
            say(f"    collective {command} {shlex.join(guest.member.operator)}")


def _exports(client: Client) -> str:
    told = (f"{name}={shlex.quote(value)}" for name, value in client.variables.items())
    return f"export {' '.join(told)}"


def _wait_for_ever(members: list[Member]) -> None:
    """Return when a process ended by itself; Ctrl-C raises KeyboardInterrupt."""
    while True:
        for member in members:
            ended = member.ended()
            if ended:
                raise DemoError(f"{ended} of {member.name} ended by itself.")
        time.sleep(1.0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
