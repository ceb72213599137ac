"""What an older version left is used as it lies there: catalogue, chunk stores, certificates, a client.

``data/make_old_member.py`` tells how the archives were made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from blake3 import blake3

from tests.integration.cluster import Cluster

ARCHIVES: Final = sorted((Path(__file__).parent / "data").glob("member-*.tar.xz"))


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.split(".")[0])
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    scratch: Path = tmp_path_factory.mktemp("upgrade")
    with tarfile.open(request.param) as tar:
        tar.extractall(scratch, filter="tar")
    return scratch / "member"


@pytest.fixture(scope="module")
def upgraded(folder: Path) -> Iterator[Cluster]:
    """Coordinator and nodes of today, on what lies there; no certificate is made for them."""
    before = certificates(folder)
    cluster = Cluster(folder)
    try:
        cluster.start()
        assert certificates(folder) == before, "the old certificates are in use"
        yield cluster
    finally:
        cluster.kill_all()


def certificates(folder: Path) -> dict[str, bytes]:
    """Return all but the coordinator's own, which it makes anew for the ports of this run."""
    found = {
        str(path): path.read_bytes()
        for path in folder.glob("*/certs/*/*.crt")
        if path.parent.name != "coordinators"
    }
    assert len(found) == 1 + 3 * 2
    return found


def expected(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((folder / "expected.json").read_text())
    return found


def test_every_file_is_read_back_as_it_was_written(folder: Path, upgraded: Cluster) -> None:
    files = expected(folder)
    for path, told in files.items():
        content = upgraded.read(path)
        assert (len(content), blake3(content).hexdigest()) == (told["size"], told["blake3"]), path
    status = upgraded.status()
    assert status["files"]["total"] == len(files)
    assert status["chunks"]["unavailable"] == 0
    assert upgraded.cli("stat", "/shared/removed", check=False).code == 3


def test_it_is_written_to_and_restarted(folder: Path, upgraded: Cluster) -> None:
    upgraded.write("/shared/new", b"of today")
    upgraded.kill_all()
    upgraded.start()
    assert upgraded.read("/shared/new") == b"of today"
    for path, told in expected(folder).items():
        assert blake3(upgraded.read(path)).hexdigest() == told["blake3"], path
    upgraded.cli("rm", "/shared/new")


def test_a_client_that_joined_reads_and_writes(folder: Path, upgraded: Cluster) -> None:
    def as_carol(*command: str, stdin: bytes = b"") -> bytes:
        address = f"127.0.0.1:{upgraded.coordinator_port}"
        done = subprocess.run(
            [sys.executable, "-m", "collective", *command, "--coordinator", address],
            input=stdin,
            capture_output=True,
            env=os.environ | {"HOME": str(folder / "home")},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert as_carol("read", "/shared/small.txt") == b"Welcome to the collective!\n"
    as_carol("write", "/shared/carol", stdin=b"hers")
    assert as_carol("read", "/shared/carol") == b"hers"
    as_carol("rm", "/shared/carol")
