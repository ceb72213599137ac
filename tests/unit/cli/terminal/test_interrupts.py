"""Ctrl-C at moments when nothing of ours runs: inside somebody's import, and on Python's way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collective.core.ids import Domain, MemberId
from collective.core.units import Address
from collective.pki.cert_dir import CertDir
from collective.pki.coordinator_certificate import prepare_coordinator
from tests.worlds import REAL

SWALLOWED_IN_AN_IMPORT = """
import os, signal, sys, time
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "MODULE":
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
            except BaseException:
                pass
sys.meta_path.insert(0, Finder())
"""
ON_THE_WAY_OUT = """
import atexit, os, signal, threading, time
threading.Thread(target=time.sleep, args=(1,)).start()  # without one there is no such way
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
"""
IGNORED = (
    """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
"""
    + SWALLOWED_IN_AN_IMPORT
)


def run_with(
    folder: Path, first: str, *arguments: str, module: str = "typer"
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a Python that has run ``first`` before."""
    (folder / "sitecustomize.py").write_text(first.replace("MODULE", module))
    paths = [str(folder), *sys.path]
    return subprocess.run(
        [sys.executable, "-m", "collective", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("first", [SWALLOWED_IN_AN_IMPORT, ON_THE_WAY_OUT])
def test_an_interrupt_is_never_lost_and_always_silent(tmp_path: Path, first: str) -> None:
    ended = run_with(tmp_path, first, "--version")
    assert (ended.returncode, ended.stderr) == (130, b"")


@pytest.mark.parametrize("module", ["collective.client.collective", "uvloop"])
def test_nor_is_it_lost_in_what_a_transfer_loads(tmp_path: Path, module: str) -> None:
    place = CertDir(str(tmp_path / "certs"), MemberId("alice"))
    prepare_coordinator(place, Domain("home.alice"), (Address("127.0.0.1", 1),), REAL)
    ended = run_with(
        tmp_path,
        SWALLOWED_IN_AN_IMPORT,
        *("write", "/x/y", "--coordinator", "127.0.0.1:1"),
        *("--ca", place.ca_certificate),
        *("--cert", place.coordinator_certificate, "--key", place.coordinator_key),
        module=module,
    )
    assert (ended.returncode, ended.stderr) == (130, b"")


def test_an_interrupt_that_the_caller_ignores_is_ignored(tmp_path: Path) -> None:
    ended = run_with(tmp_path, IGNORED, "--version")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.startswith(b"collective ")
