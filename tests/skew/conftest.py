from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.skew.houses import SkewHouses, running_skew_houses
from tests.skew.newer import ROOT, Version, make_newer


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Version]:
    """The version that says what this one does not know."""
    version = Version(make_newer(tmp_path_factory.mktemp("newer")))
    yield version
    version.commands.close()


@pytest.fixture(scope="module")
def houses(newer: Version, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkewHouses]:
    """Alice's coordinator is of this version, Bob's of the newer one; each has a node of both."""
    with running_skew_houses(tmp_path_factory.mktemp("skew"), newer) as made:
        yield made


@pytest.fixture(scope="module")
def released_houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkewHouses]:
    """The same with the last release in the newer one's place; skips where none is tagged."""
    folder = unpack_last_release(tmp_path_factory.mktemp("released"))
    version = Version(folder)
    with running_skew_houses(tmp_path_factory.mktemp("skew"), version) as made:
        yield made
    version.commands.close()


def unpack_last_release(folder: Path) -> Path:
    tags = git("tag", "--list", "v*", "--sort=-version:refname").decode().split()
    if not tags:
        pytest.skip("no release is tagged in this repository yet")
    with tarfile.open(fileobj=BytesIO(git("archive", tags[0]))) as tar:
        tar.extractall(folder, filter="tar")
    return folder


def git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no history here: {done.stderr.decode().strip()}")
    return done.stdout
