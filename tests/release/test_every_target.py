"""Packages of every target; on each Python that is here the demo runs from the one file, and the wheel installs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.release.repository import ENVIRONMENT, ROOT, committed_tree
from tools.release.targets import PROCESSORS, PYTHONS

pytestmark = pytest.mark.slow

MINORS: Final = [minor for _, minor in PYTHONS]


def python_of(minor: int) -> Path:
    """Return an interpreter that can make a venv; skips where there is none."""
    named = shutil.which(f"python3.{minor}")
    kept = sorted((Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python3.{minor}"))
    for one in (*([Path(named)] if named else []), *kept):
        usable = (
            "import ensurepip, os, sys\n"
            f"sys.exit(sys.version_info[:2] != (3, {minor}) or print(os.path.realpath(sys.executable)))"
        )
        done = subprocess.run([one, "-c", usable], capture_output=True, check=False, text=True)
        if done.returncode == 0:
            return Path(done.stdout.strip())  # the interpreter itself, not a shim of it
    pytest.skip(f"Python 3.{minor} is not installed")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = committed_tree(tmp_path_factory.mktemp("release") / "tree", ci="exit 1\n")
    output = tmp_path_factory.mktemp("packages")
    subprocess.run(
        [sys.executable, "-m", "tools.release", "build", "--output", str(output)],
        cwd=repository,
        env=ENVIRONMENT,
        check=True,
    )
    return output


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_there_is_one_file_for_each_processor(packages: Path) -> None:
    for processor in PROCESSORS:
        assert only(packages, f"*-linux-{processor}").stat().st_mode & 0o111


@pytest.mark.parametrize("minor", MINORS)
def test_the_demo_runs_from_one_file(minor: int, packages: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "collective"
    program.parent.mkdir()
    program.symlink_to(only(packages, f"*-linux-{platform.machine()}"))
    (program.parent / "python3").symlink_to(python_of(minor))
    done = subprocess.run(
        [str(program), "demo", "--once"],
        env={"HOME": str(tmp_path), "PATH": str(program.parent), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_older_python_is_named_as_what_is_wrong(packages: Path, tmp_path: Path) -> None:
    older: Any = sorted((Path.home() / ".pyenv" / "versions").glob("3.10.*/bin/python3.10"))
    if not older:
        pytest.skip("Python 3.10 is not installed")
    (tmp_path / "python3").symlink_to(older[0])
    done = subprocess.run(
        [str(only(packages, f"*-linux-{platform.machine()}")), "--version"],
        env={"HOME": str(tmp_path), "PATH": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode != 0
    assert ">=3.11" in done.stderr


@pytest.mark.parametrize("minor", MINORS)
def test_the_wheel_installs_with_the_lock(minor: int, packages: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([python_of(minor), "-m", "venv", venv], check=True)
    python = str(venv / "bin" / "python")
    install = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    lock = str(ROOT / "requirements-run.lock")
    subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
    subprocess.run([*install, "--no-deps", str(only(packages, "*.whl"))], check=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for arguments in (["--version"], ["serve", "--help"], ["man", "put"]):
        subprocess.run(
            [venv / "bin" / "collective", *arguments],
            env=environment, cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip
