"""Real shells, with the scripts that ``collective completion`` prints, complete commands and options."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.integration.cluster import PATIENCE_S

BIN: Final = str(Path(sys.executable).parent)
SHELLS: Final = ("bash", "zsh", "fish")
TYPED: Final = (
    ("collective nod", "node"),
    ("collective node appr", "approve"),
    ("collective put --check", "--checksum"),
)


def environment(home: Path, program_dir: str = BIN) -> dict[str, str]:
    return {"HOME": str(home), "PATH": f"{program_dir}:{os.environ['PATH']}", "TERM": "dumb"}


def completed(shell: str, typed: str, script: Path, variables: Mapping[str, str]) -> str:
    """Return what ``shell`` makes of ``typed`` and TAB."""
    if shell == "zsh":
        return by_terminal(typed, script, variables)
    words = " ".join(f"'{one}'" for one in typed.split(" "))
    call = {
        "bash": f"source '{script}'; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1));"
        " _collective_completion collective; printf '%s\\n' \"${COMPREPLY[@]}\"",
        "fish": f"source '{script}'; complete -C '{typed}'",
    }[shell]
    done = subprocess.run(
        [shell, "-c", call], env=dict(variables), capture_output=True, check=True, text=True
    )
    return done.stdout


def by_terminal(typed: str, script: Path, variables: Mapping[str, str]) -> str:
    """Type into zsh on a terminal, with the script as a file of its fpath; return the whole line."""
    site = script.parent / "site-functions"
    site.mkdir(exist_ok=True)
    shutil.copy(script, site / "_collective")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], dict(variables))
    try:
        setup = (
            f"fpath=('{site}' $fpath); autoload -Uz compinit; compinit -u -D; PS1=; echo READ''Y\n"
        )
        os.write(terminal, setup.encode())
        read_until(terminal, r"READY\s")
        os.write(terminal, typed.encode() + b"\t")
        return read_until(terminal, re.escape(typed) + r"\S+ ")
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(terminal: int, pattern: str) -> str:
    text = ""
    while not re.search(pattern, text):
        ready, _, _ = select.select([terminal], [], [], PATIENCE_S)
        assert ready, f"no {pattern!r} in {text!r}"
        text += os.read(terminal, 4096).decode(errors="replace")
    return text


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_and_options(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    variables = environment(tmp_path)
    printed = subprocess.run(
        ["collective", "completion", shell], env=variables, capture_output=True, check=True
    ).stdout
    script = tmp_path / f"script.{shell}"
    script.write_bytes(printed)
    for typed, wanted in TYPED:
        assert wanted in completed(shell, typed, script, variables)


def test_a_shell_that_is_not_known_is_wrong_usage(tmp_path: Path) -> None:
    done = subprocess.run(
        ["collective", "completion", "tcsh"],
        env=environment(tmp_path),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 2
    assert "bash" in done.stderr
