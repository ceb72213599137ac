"""The server that runs commands for tests: each one is a process like any other."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.commands import HERE, run_command

COMMANDS = (
    ("--version",),
    ("no-such-command",),
    ("status",),
    ("ls", "relative"),
    ("identity", "init", "--global-id", "ann@home.alice"),
    ("identity", "show", "--json"),
    ("ls", "/", "--coordinator", "127.0.0.1:1"),
)


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder)}


def test_a_command_does_what_the_executable_does(tmp_path: Path) -> None:
    ours, theirs = environment(tmp_path / "ours"), environment(tmp_path / "theirs")
    for arguments in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "collective", *arguments],
            env=theirs, stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        code, out, err = run_command(
            arguments, stdin=b"", environment=ours, timeout_s=180, host=HERE
        )
        assert (code, err) == (done.returncode, done.stderr), arguments
        if arguments[0] != "identity":  # two identities have two keys
            assert out == done.stdout, arguments


def test_commands_at_the_same_time_know_nothing_of_each_other(tmp_path: Path) -> None:
    def whose(number: int) -> bytes:
        own = environment(tmp_path / str(number))
        who = f"person{number}@home.alice"
        for arguments in (("identity", "init", "--global-id", who), ("identity", "show")):
            code, out, err = run_command(
                arguments, stdin=b"", environment=own, timeout_s=180, host=HERE
            )
            assert code == 0, err
        return out

    with ThreadPoolExecutor(4) as pool:
        for number, shown in enumerate(pool.map(whose, range(8))):
            assert f"person{number}@home.alice".encode() in shown


def test_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    request = {
        "arguments": ["invite", "redeem", "-"],
        "environment": environment(tmp_path),
        "cwd": str(tmp_path),
    }
    reading, writing = os.pipe()
    try:
        running = HERE.commands.start(request, (reading, writing, writing))
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1.0)  # it reads what nobody writes
    finally:
        os.close(reading)
        os.close(writing)
