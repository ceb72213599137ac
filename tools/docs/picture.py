"""Makes the picture of the README from a real run: ``make picture``.

It starts the demo, types a few commands as one of its people in a terminal of 98 columns, and draws what was
printed.  The picture changes whenever it is made, for it has times and sizes in it; so it is committed, and
made anew when the commands look different.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

TARGET: Final = Path(__file__).parents[2] / "docs" / "images" / "terminal.svg"
COLUMNS: Final = 98
TYPED: Final[Sequence[Sequence[str]]] = (
    ("status",),
    ("ls", "/"),
    ("ls", "-l", "/@home.alice/shared/media"),
    ("cp", "-r", "/@home.alice/shared/media", "/copies/media"),
    ("ls", "-R", "/copies"),
)
PROMPT: Final = "ben@garage.bob $ "
_INDENTED: Final = re.compile(
    r'x="(?P<x>[\d.]+)"(?P<y>[^>]*?) textLength="(?P<length>[\d.]+)"(?P<rest>[^>]*)>'
    r"(?P<spaces>(?:&#160;)+)(?P<text>[^<]+)"
)
_FONT: Final = re.compile(r"@font-face\s*\{[^}]*\}\s*")
_READY: Final = "Running until Ctrl-C."


def main() -> int:
    """Run the demo and draw; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        demo = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "collective", "demo", "--dir", f"{folder}/demo"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert demo.stdout is not None
        try:
            if not any(_READY in line for line in demo.stdout):
                sys.stderr.write("The demo did not come up; run it by itself: make demo\n")
                return 1
            environment = dict(os.environ) | {
                "COLLECTIVE_CONFIG_DIR": f"{folder}/demo/ben/config",
                "TERM": "xterm-256color",
                "LC_ALL": "C.UTF-8",
            }
            TARGET.write_text(_drawn([(one, _typed(one, environment)) for one in TYPED]))
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate()
    return 0


def _typed(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run one command on a terminal of its own, and return what it printed, colours and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "collective", *words]
    process = subprocess.Popen(  # noqa: S603 - ourselves
        command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}: {b''.join(parts)!r}")
    return b"".join(parts).decode().replace("\r\n", "\n")


def _drawn(typed: Sequence[tuple[Sequence[str], str]]) -> str:
    """Return the picture; it names fonts of the viewer's machine and fetches none."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(width=COLUMNS, record=True, file=nowhere, force_terminal=True)
        for words, said in typed:
            console.print(
                Text(PROMPT, style="bold green") + Text(f"collective {' '.join(words)}", "bold")
            )
            for line in said.strip("\r\n").split("\n") if said.strip() else ():
                # what a line of progress left behind was overwritten by the last one
                shown = Text.from_ansi(line.rpartition("\r")[2] or line.strip("\r"))
                console.print(shown)
        drawn = console.export_svg(title="collective", theme=MONOKAI, unique_id="terminal")
    drawn = _INDENTED.sub(_begun_later, _FONT.sub("", drawn)).replace("Fira Code", "monospace")
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def _begun_later(found: re.Match[str]) -> str:
    """Return a piece of text that begins where its first letter is: not every viewer keeps spaces."""
    spaces = len(html.unescape(found["spaces"]))
    letters = len(html.unescape(found["text"]))
    length = float(found["length"])
    width = length / (spaces + letters)
    x, rest = float(found["x"]) + spaces * width, length - spaces * width
    return f'x="{x:g}"{found["y"]} textLength="{rest:g}"{found["rest"]}>{found["text"]}'


if __name__ == "__main__":
    sys.exit(main())
