"""Ctrl-C at moments when nothing of ours runs: inside somebody's import, and on Python's way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SWALLOWED_IN_AN_IMPORT = """
import os, signal, sys, time
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
            except BaseException:
                pass
sys.meta_path.insert(0, Finder())
"""
ON_THE_WAY_OUT = """
import atexit, os, signal
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
"""
IGNORED = (
    """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""
    + SWALLOWED_IN_AN_IMPORT
)


def version_with(folder: Path, first: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``collective --version`` in a Python that has run ``first`` before."""
    (folder / "sitecustomize.py").write_text(first)
    paths = [str(folder), *sys.path]
    return subprocess.run(
        [sys.executable, "-m", "collective", "--version"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("first", [SWALLOWED_IN_AN_IMPORT, ON_THE_WAY_OUT])
def test_an_interrupt_is_never_lost_and_always_silent(tmp_path: Path, first: str) -> None:
    ended = version_with(tmp_path, first)
    assert (ended.returncode, ended.stderr) == (130, b"")


def test_an_interrupt_that_the_caller_ignores_is_ignored(tmp_path: Path) -> None:
    ended = version_with(tmp_path, IGNORED)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.startswith(b"collective ")
