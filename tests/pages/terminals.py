"""Terminals in which a page is followed: each a shell that keeps its folder, variables and jobs.

Only ports are others than on the page, the command is found in the reader's ``~/.local/bin``, and a block
that fails ends its terminal.  Nothing is typed on a keyboard: standard input is at its end.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.integration.ports import free_port
from tests.pages.blocks import Block

PATIENCE_S: Final = 280.0
"""How long one block may take; only a failure takes it."""
_HOST: Final = r"(127\.0\.0\.1|localhost)"
_CURL: Final = """\
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen(sys.argv[-1], timeout=60).read().decode())
"""
"""Not every machine has it."""
_LOOP: Final = """
while IFS= read -r block <&3; do
  set -e -o pipefail
  . "$block" 3<&- 4>&- </dev/null
  echo done >&4
done
"""


class Home:
    """A reader's machine: a folder that is everybody's home, and its ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""
        """All that was printed, in order."""
        self._ports: dict[str, int] = {}
        self._terminals: dict[str, Terminal] = {}
        python = shlex.quote(sys.executable)
        self._tool("collective", f'#!/bin/sh\nexec {python} -m collective "$@"\n')
        self._tool("curl", f"#!{sys.executable}\n{_CURL}")

    def _tool(self, name: str, text: str) -> None:
        path = self.folder / ".local" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def follow(self, blocks: Iterable[Block]) -> str:
        """Type the commands of ``blocks``, each in its terminal; return what they printed."""
        said = ""
        for block in blocks:
            if block.is_commands and block.reason is None:
                said += self._terminal(block.terminal).type(block, self.on_own_ports(block.text))
        self.said += said
        return said

    def port(self, number: str) -> int:
        """Return the port that stands for one of a page."""
        if number not in self._ports:
            self._ports[number] = free_port()
        return self._ports[number]

    def on_own_ports(self, script: str) -> str:
        """Return a script with ports of this machine in the place of the page's, also of ``810$n``."""
        listed = re.sub(
            rf"{_HOST}:(\d{{3}})\$n\b",
            lambda found: f"{found[1]}:$(echo {self._listed(found[2])} | cut -d' ' -f\"$n\")",
            script,
        )
        return re.sub(rf"{_HOST}:(\d{{4}})\b(?!\d)", self._own, listed)

    def close(self) -> None:
        """End all that was begun."""
        for terminal in self._terminals.values():
            terminal.close()

    def _own(self, found: re.Match[str]) -> str:
        return f"{found[1]}:{self.port(found[2])}"

    def _listed(self, stem: str) -> str:
        return " ".join(str(self.port(f"{stem}{digit}")) for digit in range(1, 10))

    def _terminal(self, name: str) -> Terminal:
        if name not in self._terminals:
            self._terminals[name] = Terminal(name, self.folder)
        return self._terminals[name]


class Terminal:
    """One shell."""

    def __init__(self, name: str, home: Path) -> None:
        self._folder = home / ".terminals" / name
        self._folder.mkdir(parents=True)
        self._count = 0
        self._output = (self._folder / "output").open("w+b")
        to_shell, self._to_shell = os.pipe()
        self._from_shell, from_shell = os.pipe()
        self._shell = subprocess.Popen(
            [
                "bash",
                "-c",
                f"exec 3<&{to_shell} 4>&{from_shell} {to_shell}<&- {from_shell}>&-\n{_LOOP}",
            ],
            cwd=home,
            env={"HOME": str(home), "PATH": f"{home}/.local/bin:/usr/sbin:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=(to_shell, from_shell),
            start_new_session=True,
        )
        os.close(to_shell)
        os.close(from_shell)

    def type(self, block: Block, script: str) -> str:
        """Type a block and wait for its end; return what was printed meanwhile."""
        self._count += 1
        path = self._folder / f"{self._count}.sh"
        path.write_text(script)
        began = self._output.seek(0, os.SEEK_END)
        os.write(self._to_shell, f"{path}\n".encode())
        is_readable, _, _ = select.select([self._from_shell], [], [], PATIENCE_S)
        done = bool(is_readable) and bool(os.read(self._from_shell, 5))
        self._output.seek(began)
        said = self._output.read().decode(errors="replace")
        assert done, f"{block}: {'failed' if is_readable else 'hangs'}:\n{script}\n{said}"
        assert "Traceback" not in said, f"{block}:\n{said}"
        return said

    def close(self) -> None:
        os.close(self._to_shell)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)  # it leads a session of its own
        self._shell.wait()
        os.close(self._from_shell)
        self._output.close()


@contextmanager
def home(folder: Path) -> Iterator[Home]:
    """A home whose processes end with it."""
    made = Home(folder)
    try:
        yield made
    finally:
        made.close()
