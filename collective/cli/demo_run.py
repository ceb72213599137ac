"""The demo: three members side by side on this machine, driven by the public commands.

Each member is one coordinator and three nodes, as separate processes with mutual TLS.  Each invites
a client, who writes, lists and reads real files; the demo kills a node, reads again, restarts
everything, reads again, and compares hashes.  Until peering exists the members know nothing of each
other.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from collective.cli.demo_client import Client
from collective.cli.demo_member import DemoError, Member, make_members
from collective.cli.demo_steps import Steps, run_steps
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
        clients = run_steps(members, folder.resolve(), steps)
        _show_endpoints(clients, steps.say)
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


def _show_endpoints(clients: list[Client], say: Callable[[str], None]) -> None:
    say("\nEndpoints (every connection but metrics is TLS 1.3, and but bootstrap mutual):")
    for client in clients:
        member = client.member
        say(f"  {member.name} ({member.domain})")
        say(f"    coordinator 127.0.0.1:{member.ports.coordinator}")
        say(f"    bootstrap   127.0.0.1:{member.ports.bootstrap}")
        say(f"    metrics     http://127.0.0.1:{member.ports.metrics}/metrics")
        config = " ".join(f"{name}={value}" for name, value in client.variables.items())
        say(f"    as guest:    {config} collective ls -R /shared")
        say(f"    as operator: collective status {' '.join(member.operator)}")


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
