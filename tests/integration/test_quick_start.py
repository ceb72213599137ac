"""The example's text as a script: its commands, one by one, against a real loopback federation.

The commands stand here as they stand in the text.  ``./bin/collective``, ``docker exec … cat``,
``curl`` and ``jq`` are small stand-ins in a folder of the test's; only ``/tmp/`` is moved into that
folder, and the codes are those that the commands before printed.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.cluster import PATIENCE_S, Cluster, Result, running_cluster

MOVIE_BYTES = 9 * 1024 * 1024 + 17
JQ = """#!{python}
import json, sys
wanted = {{
    ".local_nodes[] | {{id: .id, capacity: .total_capacity, used: .used_capacity}}": {{
        "id": "id", "capacity": "total_capacity", "used": "used_capacity"}},
    ".local_nodes[] | {{id: .id, chunks: .chunk_count}}": {{"id": "id", "chunks": "chunk_count"}},
}}[sys.argv[1]]
for node in json.load(sys.stdin)["local_nodes"]:
    print(json.dumps({{name: node[key] for name, key in wanted.items()}}))
"""


@dataclass(slots=True)
class Shell:
    """Someone's terminal: a folder, a home, and commands of the text."""

    folder: Path
    alice: Cluster
    bob: Cluster

    def prepare(self) -> None:
        python = sys.executable
        (self.folder / "home" / "Downloads").mkdir(parents=True)
        (self.folder / "home" / "Downloads" / "movie.mp4").write_bytes(self.movie)
        (self.folder / "tmp").mkdir()
        self._tool("bin/collective", f'#!/bin/sh\nexec {shlex.quote(python)} -m collective "$@"\n')
        cases = "".join(
            f"  {one.member}-coordinator) certs={shlex.quote(str(one.cert_dir('coordinator')))};;\n"
            for one in (self.alice, self.bob)
        )
        self._tool(
            "tools/docker",
            f'#!/bin/sh\n[ "$1 $3" = "exec cat" ] || exit 9\ncase "$2" in\n{cases}'
            '  *) exit 9;;\nesac\nexec cat "$certs${4#/collective/certs}"\n',
        )
        ports = f"9091: {self.alice.coordinator.metrics_port}, 9092: {self.bob.coordinator.metrics_port}"
        self._tool(
            "tools/curl",
            f"#!{python}\nimport sys, urllib.parse, urllib.request\n"
            f"port = {{{ports}}}[urllib.parse.urlsplit(sys.argv[1]).port]\n"
            "with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=120) as page:\n"
            "    sys.stdout.buffer.write(page.read())\n",
        )
        self._tool("tools/jq", JQ.format(python=python))

    @property
    def movie(self) -> bytes:
        return bytes(range(251)) * (MOVIE_BYTES // 251)

    def _tool(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, command: str, code: int = 0) -> Result:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("COLLECTIVE_")
        }
        environment |= {
            "HOME": str(self.folder / "home"),
            "PATH": f"{self.folder / 'tools'}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        environment.pop("XDG_CONFIG_HOME", None)
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", command.replace("/tmp/", f"{self.folder}/tmp/")],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=PATIENCE_S,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))
        assert "Traceback" not in result.err, result.err
        assert result.code == code, (
            f"{command}: {result.code}: {result.text}{result.err}\n{self.alice.logs()}"
        )
        return result


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("quick")
    with ExitStack() as stack:
        alice = stack.enter_context(running_cluster(folder / "alice"))
        bob = stack.enter_context(
            running_cluster(folder / "bob", member="bob", domain="garage.bob", node_count=1)
        )
        made = Shell(folder, alice, bob)
        made.prepare()
        yield made


def last_line(result: Result) -> str:
    return result.text.rstrip("\n").rsplit("\n", 1)[-1]


def test_quick_start_step_2_joining_as_an_external_client(shell: Shell) -> None:
    run = shell.run
    shown = run("./bin/collective identity init --global-id yourname@homelab.collective.local")
    assert "yourname@homelab.collective.local" in shown.text
    for line in (
        "docker exec alice-coordinator cat /collective/certs/ca/alice-ca.crt > /tmp/alice-ca.crt",
        (
            "docker exec alice-coordinator cat /collective/certs/coordinators/alice-coordinator.crt"
            " > /tmp/alice-coordinator.crt  "
        ),
        (
            "docker exec alice-coordinator cat /collective/certs/coordinators/alice-coordinator.key"
            " > /tmp/alice-coordinator.key"
        ),
    ):
        run(line)
    code = last_line(
        run(
            """./bin/collective invite generate \\
  --grant "/shared:read+write" \\
  --grant "/media:read" \\
  --max-uses 1 \\
  --validity 24h \\
  --ca /tmp/alice-ca.crt \\
  --cert /tmp/alice-coordinator.crt \\
  --key /tmp/alice-coordinator.key"""
        )
    )
    assert " " not in code
    told = run(f"./bin/collective invite redeem {code}").text
    for part in ("alice-homelab", "/shared", "read+write", "/media", "home.alice"):
        assert part in told
    status = run("./bin/collective status").text
    assert "alice" in status
    assert "yourname@homelab.collective.local" in status


def test_quick_start_step_3_working_with_files(shell: Shell) -> None:
    run = shell.run
    for line in (
        "./bin/collective mkdir /shared",
        "./bin/collective mkdir /shared/media",
        "./bin/collective mkdir /shared/documents",
        'echo "Welcome to the collective!" | ./bin/collective write /shared/README.txt',
        'echo "Important document" | ./bin/collective write /shared/documents/important.txt',
        "cat ~/Downloads/movie.mp4 | ./bin/collective write /shared/media/movie.mp4",
    ):
        run(line)
    assert run("./bin/collective read /shared/README.txt").out == b"Welcome to the collective!\n"
    assert run("./bin/collective read /shared/media/movie.mp4").out == shell.movie
    listed = run("./bin/collective ls /shared").text.split()
    assert sorted(listed) == ["README.txt", "documents/", "media/"]
    assert run("./bin/collective ls /shared/media").text.split() == ["movie.mp4"]
    run("./bin/collective mkdir /elsewhere", code=4)
    run("./bin/collective mkdir /media", code=4)


def test_quick_start_step_4_monitoring(shell: Shell) -> None:
    run = shell.run
    assert "alice-node-01" in run("./bin/collective status").text
    nodes = run(
        "./bin/collective status --json | jq '.local_nodes[] | "
        "{id: .id, capacity: .total_capacity, used: .used_capacity}'"
    ).text
    assert nodes.count("alice-node-0") == 3
    chunks = run(
        "./bin/collective status --json | jq '.local_nodes[] | {id: .id, chunks: .chunk_count}'"
    ).text
    assert '"chunks": 0' not in chunks
    alice = run("curl http://localhost:9091/metrics | grep collective_").text
    assert 'collective_cluster_health{member="alice"} 1' in alice
    bob = run("curl http://localhost:9092/metrics | grep collective_").text
    assert 'member="bob"' in bob


def test_managing_invitations(shell: Shell) -> None:
    run = shell.run
    operator = """ \\
  --ca /tmp/alice-ca.crt \\
  --cert /tmp/alice-coordinator.crt \\
  --key /tmp/alice-coordinator.key"""
    code = last_line(
        run(
            """./bin/collective invite generate \\
  --grant "/media:read" \\
  --grant "/backups:write" \\
  --max-uses 5 \\
  --validity 7d \\
  --description "Media team access\""""
            + operator
        )
    )
    listed = run("./bin/collective invite list" + operator).text
    assert "Media team access" in listed
    assert "/backups" in listed
    assert code not in listed
    run(f"./bin/collective invite revoke {code}" + operator)
    refused = run(f"./bin/collective invite redeem {code}", code=8)
    assert "revoked" in refused.err
    assert "Media team access" not in run("./bin/collective invite list" + operator).text


def test_working_with_multiple_collectives(shell: Shell) -> None:
    run = shell.run
    for line in (
        "docker exec bob-coordinator cat /collective/certs/ca/bob-ca.crt > /tmp/bob-ca.crt",
        (
            "docker exec bob-coordinator cat /collective/certs/coordinators/bob-coordinator.crt"
            " > /tmp/bob-coordinator.crt"
        ),
        (
            "docker exec bob-coordinator cat /collective/certs/coordinators/bob-coordinator.key"
            " > /tmp/bob-coordinator.key"
        ),
    ):
        run(line)
    code = last_line(
        run(
            """./bin/collective invite generate \\
  --grant "/garage:read+write" \\
  --ca /tmp/bob-ca.crt \\
  --cert /tmp/bob-coordinator.crt \\
  --key /tmp/bob-coordinator.key"""
        )
    )
    assert "bob-homelab" in run(f"./bin/collective invite redeem {code}").text
    assert run("./bin/collective ls /").text.split() == ["shared/"]
    run("./bin/collective identity switch alice-homelab")
    assert run("./bin/collective read /shared/README.txt").out == b"Welcome to the collective!\n"
    run("./bin/collective identity switch bob-homelab")
    run("./bin/collective mkdir /garage")
    assert run("./bin/collective ls /").text.split() == ["garage/"]
    names = run("./bin/collective identity list-collectives").text
    assert "alice-homelab" in names
    assert "bob-homelab" in names
