"""What a short command takes from start to end: ``python -m tests.bench.startup``.

Each round runs a process that only imports what no command can do without, and then each command, so
that whatever else the machine does meets all alike.  A figure is the median over rounds, and a ratio the
median of the rounds' own ratios.  The ratio of CPU time leaves out what the coordinator takes, and what
others on the machine do.
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import collective as collective_package
from tests.integration.cluster import Cluster, running_cluster

BARE = "import asyncio, ssl, cryptography.x509, grpclib.client"
ROUNDS = 21
SMALL = b"x" * 4096


@dataclass(frozen=True, slots=True)
class Timing:
    """One command, in whole processes."""

    name: str
    median_ms: float
    ratio: float
    """To the bare imports."""
    cpu_ms: float
    cpu_ratio: float


class _Taken(NamedTuple):
    wall_ms: float
    cpu_ms: float


def executable() -> list[str]:
    """Return how the command is started: by its script, as users do, where it is installed."""
    script = os.path.join(os.path.dirname(sys.executable), "collective")
    return [script] if os.path.exists(script) else [sys.executable, "-m", "collective"]


def measure_startup(cluster: Cluster, rounds: int = ROUNDS) -> list[Timing]:
    """Time commands of a client that has joined ``cluster``; the bare imports come first."""
    cluster.cli("mkdir", "/startup")
    made = cluster.cli("invite", "generate", "--grant", "/startup:read+write", "--json").json()
    cluster.cli("invite", "redeem", made["code"], credentials=())
    compileall.compile_dir(Path(collective_package.__file__).parent, quiet=1)  # as installers do
    collective = executable()
    commands: Mapping[str, tuple[Sequence[str], bytes]] = {
        "bare imports": ([sys.executable, "-c", BARE], b""),
        "collective --version": ([*collective, "--version"], b""),
        "collective --help": ([*collective, "--help"], b""),
        "collective ls": ([*collective, "ls", "/startup"], b""),
        "collective write, 4 KiB": ([*collective, "write", "/startup/a"], SMALL),
        "collective read, 4 KiB": ([*collective, "read", "/startup/a"], b""),
    }
    found: dict[str, list[_Taken]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, (command, stdin) in commands.items():
            taken = _run(command, stdin, cluster.client_environment)
            if number:  # the first round compiles and fills caches
                found[name].append(taken)
    bare = found["bare imports"]
    return [
        Timing(
            name,
            statistics.median(one.wall_ms for one in taken),
            statistics.median(a.wall_ms / b.wall_ms for a, b in zip(taken, bare, strict=True)),
            statistics.median(one.cpu_ms for one in taken),
            statistics.median(a.cpu_ms / b.cpu_ms for a, b in zip(taken, bare, strict=True)),
        )
        for name, taken in found.items()
    ]


def _run(command: Sequence[str], stdin: bytes, environment: Mapping[str, str]) -> _Taken:
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        began_s = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=given, env=dict(environment), stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_ms = (time.perf_counter() - began_s) * 1e3
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return _Taken(wall_ms, (usage.ru_utime + usage.ru_stime) * 1e3)


def main() -> None:
    """Start a member, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="collective-startup-") as folder,
        running_cluster(Path(folder), extra={"COLLECTIVE_LOG_LEVEL": "warning"}) as cluster,
    ):
        for timing in measure_startup(cluster, options.rounds):
            print(  # noqa: T201 - this is a command
                f"{timing.name:<26} {timing.median_ms:6.0f} ms  {timing.ratio:5.2f} x"
                f"  CPU {timing.cpu_ms:6.0f} ms  {timing.cpu_ratio:5.2f} x"
            )


if __name__ == "__main__":
    main()
