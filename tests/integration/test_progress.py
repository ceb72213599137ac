"""What is seen of long work on a terminal, with real commands; and that scripts see nothing of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster import PATIENCE_S, Cluster, running_cluster

COLUMNS = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("progress") / "member", node_count=4) as made:
        made.cli("mkdir", "/d")
        tree = tmp_path_factory.mktemp("tree")
        for number in range(12):
            (tree / f"{number}").write_bytes(bytes([number]) * 5000)
        made.cli("put", str(tree), "/d/tree")
        yield made


@dataclass
class Seen:
    """A command whose stderr is a terminal."""

    process: subprocess.Popen[bytes]
    terminal: int
    text: str = ""

    def until(self, wanted: str) -> None:
        """Return when the terminal shows ``wanted``."""
        while wanted not in self.text:
            piece = os.read(self.terminal, 65536)
            assert piece, f"no {wanted!r} in {self.text!r}"
            self.text += piece.decode()

    def end(self) -> tuple[int, str]:
        """Return the exit code and stdout, once it has ended."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        with contextlib.suppress(OSError):  # its other end is gone
            while piece := os.read(self.terminal, 65536):
                self.text += piece.decode()
        return self.process.returncode, out.decode()


@contextlib.contextmanager
def on_a_terminal(cluster: Cluster, *arguments: str) -> Iterator[Seen]:
    """Run one command as the operator; what it writes on a terminal never exceeds its width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = cluster.client_environment | {"TERM": "dumb", "LANG": "C", "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "collective", *arguments, *cluster.operator],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        seen = Seen(process, ours)
        try:
            yield seen
        finally:
            process.kill()
            os.close(ours)
    assert "\x1b" not in seen.text
    assert seen.text.isascii()
    for renewed in seen.text.replace("\n", "").split("\r"):
        assert len(renewed) < COLUMNS or renewed.startswith(("Warning: ", "Error: "))


def left_of(text: str) -> str:
    """Return what stands on the line where the cursor is, after all of ``text``."""
    line = text.replace("\r\n", "\n").split("\n")[-1]
    cells: list[str] = []
    for part in line.split("\r"):
        cells[: len(part)] = part
    return "".join(cells).strip()


@contextlib.contextmanager
def hung(cluster: Cluster) -> Iterator[None]:
    """Have the coordinator answer nothing meanwhile: the command has something to wait for."""
    cluster.coordinator.pause()
    try:
        yield
    finally:
        cluster.coordinator.resume()


def test_a_copied_tree_leaves_nothing_on_the_terminal_and_json_alone_on_stdout(
    cluster: Cluster,
) -> None:
    with on_a_terminal(cluster, "cp", "-r", "/d/tree", "/d/copy", "--json") as seen:
        code, out = seen.end()
    assert code == 0, seen.text
    assert json.loads(out)["files"] == 12
    assert left_of(seen.text) == ""


def test_a_removal_says_how_many_names_went(cluster: Cluster) -> None:
    with hung(cluster), on_a_terminal(cluster, "rm", "-r", "/d/copy", "--json") as seen:
        seen.until("Removed 0 names")
        cluster.coordinator.resume()
        code, out = seen.end()
    assert code == 0, seen.text
    assert json.loads(out) == {"removed": 13}
    assert left_of(seen.text) == ""


def test_ctrl_c_leaves_a_clean_line(cluster: Cluster) -> None:
    with hung(cluster), on_a_terminal(cluster, "rm", "-r", "/d/tree") as seen:
        seen.until("Removed 0 names")
        seen.process.send_signal(signal.SIGINT)
        code, out = seen.end()
    assert (code, out) == (130, "")
    assert left_of(seen.text) == ""
    assert "Traceback" not in seen.text


def fullest(cluster: Cluster) -> dict[str, Any]:
    """Return the node with the most copies."""
    nodes: list[dict[str, Any]] = cluster.cli("node", "list", "--json").json()
    found = max(nodes, key=lambda node: int(node["copies_left"]))
    assert found["copies_left"] > 0
    return found


def test_a_drain_that_is_waited_for_shows_copies_and_ends_when_none_is_left(
    cluster: Cluster,
) -> None:
    victim = fullest(cluster)
    with on_a_terminal(cluster, "node", "drain", victim["id"], "--wait") as seen:
        seen.until(f" of {victim['copies_left']} copies")
        code, out = seen.end()
    assert code == 0, seen.text
    assert out == (
        f"Node {victim['id']} is empty; to end it for good: collective node remove {victim['id']}\n"
    )
    assert left_of(seen.text) == ""
    cluster.cli("node", "drain", victim["id"], "--stop")


def test_a_wait_ends_where_somebody_stops_the_drain(cluster: Cluster) -> None:
    name = fullest(cluster)["id"]
    others = [one.name for one in cluster.nodes if one.name != name]
    for one in others[:2]:  # one other is left: no place for three copies
        cluster.cli("node", "drain", one)
    try:
        with on_a_terminal(cluster, "node", "drain", name, "--wait") as seen:
            seen.until(f"Node {name} cannot be emptied")
            cluster.cli("node", "drain", name, "--stop")
            code, _ = seen.end()
        assert code == 8
        assert f"Node {name} is not emptied any more" in seen.text
    finally:
        for one in (name, *others[:2]):
            cluster.cli("node", "drain", one, "--stop")


def test_scripts_see_nothing_of_it(cluster: Cluster, tmp_path: Path) -> None:
    for command in (
        ("cp", "-r", "/d/tree", "/d/other"),
        ("get", "/d/other", str(tmp_path / "tree")),
        ("rm", "-r", "/d/other"),
        ("ls", "-R", "/d", "--json"),
    ):
        done = cluster.cli(*command)
        assert done.err == "", command
