"""The README, followed to the letter: from an installed command to what an invited friend wrote, and on to
another member that peers and copies it.

Only the ports are others, ``make install`` is a stand-in, and all people have the home of the test.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.integration.ports import free_port

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(heading: str) -> list[str]:
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


def commands(heading: str) -> str:
    return "".join(blocks(heading))


def in_another_terminal(script: str) -> str:
    return f'env -i HOME="$HOME" PATH="$PATH" bash -eu <<\'TERMINAL\'\n{script}TERMINAL\n'


def on_other_ports(script: str) -> str:
    for port, free in PORTS.items():
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
    return re.sub(r"127\.0\.0\.1:810\$n", "127.0.0.1:$(eval echo '$PORT'$n)", script)


PORTS = {port: free_port() for port in ("8001", "9001", "8002", "9002", "8104")}


def test_the_readme_leads_a_stranger_to_a_member_an_invited_friend_and_a_peer(
    tmp_path: Path,
) -> None:
    tool = tmp_path / ".local" / "bin" / "collective"
    tool.parent.mkdir(parents=True)
    tool.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m collective "$@"\n')
    tool.chmod(0o755)
    environment = {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        **{f"PORT{number}": str(free_port()) for number in (1, 2, 3)},
    }
    install = commands("Install").split("\n", 1)[1]  # without `make install` itself
    invite, separator, friend = commands("Let a friend in").partition("export PATH")
    alice = "\n".join([install, commands("Run a member"), commands("Use it"), invite])
    start_bob, invite_bob, accept, grant, ben = blocks("Peer with another member")
    peering = "".join(
        [start_bob, invite_bob, in_another_terminal(accept), grant, in_another_terminal(ben)]
    )
    script = f"""
set -eu
trap 'kill $(jobs -p)' EXIT
{on_other_ports(alice)}
{in_another_terminal(separator + friend)}
collective read /shared/hello.txt
{on_other_ports(peering)}
"""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=480,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Joined alice-homelab (home.alice) as mia@friends.net." in said
    assert "home.alice is a peer; its files are at /@home.alice." in said
    assert "Joined bob-homelab (garage.bob) as ben@garage.bob." in said
    assert said.count("Welcome to the collective!") == 3, said
    assert done.stdout.count("Hello from Mia\n") == 2, said
    assert done.stdout.endswith("Hello from Mia\n"), said
