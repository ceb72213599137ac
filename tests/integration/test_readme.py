"""The README, followed to the letter: from an installed command to what an invited friend wrote.

Only the ports are others, ``make install`` is a stand-in, and both people have the home of the test.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.integration.ports import free_port

README = (Path(__file__).parents[2] / "README.md").read_text()


def commands(heading: str) -> str:
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))


def on_other_ports(script: str) -> str:
    for port in ("8001", "9001"):
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{PORTS[port]}")
    return re.sub(r"127\.0\.0\.1:810\$n", "127.0.0.1:$(eval echo '$PORT'$n)", script)


PORTS = {"8001": free_port(), "9001": free_port()}


def test_the_readme_leads_a_stranger_to_a_member_and_an_invited_friend(tmp_path: Path) -> None:
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
    script = f"""
set -eu
trap 'kill $(jobs -p)' EXIT
{on_other_ports(alice)}
env -i HOME="$HOME" PATH="$PATH" bash -eu <<'FRIEND'
{separator}{friend}FRIEND
collective read /shared/hello.txt
"""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Joined alice-homelab (home.alice) as bob@home.bob." in said
    assert said.count("Welcome to the collective!") == 2, said
    assert done.stdout.endswith("Hello from Bob\n"), said
