"""``invite generate`` on a terminal: the QR code is that of the URL, and the code stays last."""

from __future__ import annotations

import datetime as dt
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import segno

from tests.integration.cluster import Cluster, running_cluster

COLUMNS = 80
INVERSE, PLAIN = "\033[7m", "\033[0m"
_ESCAPE = re.compile(r"\033\[[0-9;]*[A-Za-z]")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("terminal") / "member", node_count=0) as made:
        yield made


def on_a_terminal(cluster: Cluster, *arguments: str) -> str:
    """Run one command as the operator with a terminal for its output; return what it wrote."""
    ours, theirs = pty.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:  # the terminal's other end is gone
            return

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [sys.executable, "-m", "collective", *arguments, *cluster.operator],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=cluster.client_environment | {"TERM": "xterm", "COLUMNS": str(COLUMNS)},
        timeout=120,
        check=False,
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0, done.stderr
    return b"".join(pieces).decode().replace("\r\n", "\n")


def matrix_of(text: str) -> list[list[int]]:
    """Return the modules that half blocks show, 1 for dark, without the quiet zone."""
    rows: list[list[int]] = []
    for line in text.split("\n"):
        blocks = _ESCAPE.sub("", line)
        if not blocks or set(blocks) - set(" \u2580\u2584\u2588"):
            continue
        rows.append([int(one in "\u2580\u2588") for one in blocks])
        rows.append([int(one in "\u2584\u2588") for one in blocks])
    return rows


def shown_as(rows: list[list[int]], width: int) -> Iterator[list[list[int]]]:
    """Yield every square of ``width`` modules in what is shown, and its negative."""
    for top in range(len(rows) - width + 1):
        for left in range(len(rows[0]) - width + 1):
            square = [row[left : left + width] for row in rows[top : top + width]]
            yield square
            yield [[1 - one for one in row] for row in square]


def test_an_invite_on_a_terminal_shows_its_url_as_a_qr_code(cluster: Cluster) -> None:
    text = on_a_terminal(cluster, "invite", "generate", "--grant", "/shared:read")
    (url,) = re.findall(r"^Join URL (\S+)$", text, re.MULTILINE)
    code = text.rstrip("\n").rpartition("\n")[2]
    assert code in url
    wanted = [list(row) for row in segno.make(url, error="l").matrix]
    rows = matrix_of(text)
    assert rows, text
    assert max(len(row) for row in rows) <= COLUMNS, "a line would wrap"
    assert any(square == wanted for square in shown_as(rows, len(wanted)))


def test_an_invite_on_a_pipe_shows_no_qr_code(cluster: Cluster) -> None:
    text = cluster.cli("invite", "generate", "--grant", "/shared:read").text
    assert not matrix_of(text)
    assert not _ESCAPE.search(text)


@pytest.mark.parametrize("moment", ["2001-01-01", "2001-01-01T00:00", "soon", "2030-13-01", ""])
def test_a_grant_with_a_senseless_end_is_refused(cluster: Cluster, moment: str) -> None:
    said = cluster.cli(
        "grant", "add", "/shared:read", "ann@home.alice", "--expires", moment, check=False
    )
    assert said.code == 2, said.err
    assert "--expires" in said.err


def test_a_grant_expires_at_the_moment_that_was_named(cluster: Cluster) -> None:
    """As a date, in UTC, and with a zone: it is shown, and ends then."""
    for name, moment, shown in (
        ("day", "2035-01-31", "2035-01-31T00:00:00"),
        ("time", "2035-01-31T18:30", "2035-01-31T18:30:00"),
        ("zone", "2035-01-31T18:30+02:00", "2035-01-31T16:30:00"),
    ):
        cluster.cli("grant", "add", "/shared:read", f"{name}@home.alice", "--expires", moment)
        listed = cluster.cli("grant", "list", "--json").json()
        (found,) = [one for one in listed if f"/{name}" in one["principal"]]
        assert found["expires"].startswith(shown), found
    end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=4)
    cluster.cli(
        "grant", "add", "/shared:read", "brief@home.alice",
        "--expires", end.strftime("%Y-%m-%dT%H:%M:%S"),
    )  # fmt: skip
    while dt.datetime.now(dt.UTC) < end:
        time.sleep(0.2)
    listed = cluster.cli("grant", "list", "--json").json()
    assert not [one for one in listed if "/brief" in one["principal"]]
