"""Wheels: our own and the source archive, made of the tree; those of others, as the lock names them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.release.source import Source
from tools.release.targets import Target

LOCK: Final = "requirements-run.lock"
"""What a user needs, with hashes; in the source tree."""


def build_wheel_and_sdist(source: Source, folder: Path) -> list[Path]:
    """Make both with the build backend, in this environment: no newer backend is fetched."""
    subprocess.run(  # noqa: S603 - our own interpreter
        [
            *(sys.executable, "-m", "hatchling", "build"),
            *("-t", "sdist", "-t", "wheel", "-d", str(folder)),
        ],
        cwd=source.tree,
        env=os.environ | {"SOURCE_DATE_EPOCH": str(source.time_s)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    made = [
        folder / f"collective-{source.version}-py3-none-any.whl",
        folder / f"collective-{source.version}.tar.gz",
    ]
    assert all(one.is_file() for one in made), made
    return made


def download(source: Source, target: Target, folder: Path) -> None:
    """Fetch every wheel of the lock that fits ``target``; each has one of the lock's hashes.

    Raises CalledProcessError where one is not to be had: nothing is compiled here.
    """
    platforms = [part for one in target.platforms for part in ("--platform", one)]
    subprocess.run(  # noqa: S603 - our own interpreter
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"),
            *("download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *("--requirement", str(source.tree / LOCK), "--dest", str(folder)),
            *("--implementation", "cp", "--python-version", target.version),
            *("--abi", target.interpreter, "--abi", "abi3", "--abi", "none"),
            *platforms,
        ],
        check=True,
    )
