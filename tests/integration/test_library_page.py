"""The page for those who write programs: its examples run as they stand there, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cluster import PATIENCE_S, Cluster
from tests.integration.federation.houses import Houses, Person
from tests.pages.blocks import ROOT, blocks_of

PAGE = ROOT / "docs" / "library.md"


@pytest.fixture
def reader(cluster: Cluster) -> Person:
    cluster.cli("mkdir", "/shared")
    return Houses({"alice": cluster}).person("alice", "una", "/shared:read+write")


def test_every_example_does_what_the_page_says(reader: Person, tmp_path: Path) -> None:
    blocks = [one for one in blocks_of(PAGE) if one.language == "python"]
    assert len(blocks) >= 6
    program = tmp_path / "program.py"
    program.write_text("\n\n".join(one.text for one in blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        env=reader.environment | {"PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "b'hello'",
        "8890 bytes are durable",
        "b'0\\nli'",
        "b'line 0' b'999\\n'",
        "counted 1",
        "/shared/many/7 1",
        "/shared/many/none /shared/many/none does not exist; list /shared/many to see what does.",
        "the mirror has /shared/new.txt",
        "/shared/count 1",
        "/shared/from-a-script.txt 5",
        "/shared/hello.txt 5",
        "/shared/log.txt 8890",
        "/shared/many 0",
        "/shared/new.txt 4",
        "['/shared']",
    ]
