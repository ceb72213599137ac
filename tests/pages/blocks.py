"""The code blocks of a page, and what its markers say of them.

A marker is a comment of HTML on the line before a block, which no reader sees:

``<!-- terminal: mia -->``
    typed in a terminal of that name; without it in the first one.
``<!-- not run: REASON -->``
    typed by nobody.  The reasons that there may be stand in :data:`REASONS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FIRST_TERMINAL: Final = "first"

REASONS: Final[Mapping[str, str]] = {
    "installs": "tests/integration/test_setup.py and CI install; it takes minutes and the network",
    "systemd": "tests/systemd does it in a booted systemd",
    "as on a how-to's page": "tests/integration/test_pages.py runs the same commands there",
    "containers": "tests/compose does it where an engine starts",
    "make": "CI runs it",
    "packages": "tests/release makes the packages of a tag again in a clone, and compares",
}
"""Why a block is not run, and who tries it then.  Short on purpose: mend the page before you add one."""

_BLOCK: Final = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_MARKER: Final = re.compile(r"<!-- (not run|terminal): ([^>]+?) -->\s*\Z")
_COMMAND: Final = re.compile(
    r"^(?:\w+\$ +)?(?:sudo +)?(?:collective|make|systemctl|journalctl|docker) ", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """One code block."""

    page: str
    line: int
    """Of its first line in the page."""
    language: str
    text: str
    reason: str | None
    """Why it is not run."""
    terminal: str

    @property
    def is_commands(self) -> bool:
        """Whether somebody would type it."""
        if self.language in {"bash", "sh", "shell", "console"}:
            return True
        return self.language in {"", "text"} and _COMMAND.search(self.text) is not None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [_block(str(page.relative_to(ROOT)), text, found) for found in _BLOCK.finditer(text)]


def _block(page: str, text: str, found: re.Match[str]) -> Block:
    reason, terminal = None, FIRST_TERMINAL
    before = text[: found.start()]
    while marker := _MARKER.search(before):
        if marker[1] == "not run":
            reason = marker[2]
        else:
            terminal = marker[2]
        before = before[: marker.start()]
    indent = found["indent"]
    lines = found["text"].splitlines(keepends=True)
    return Block(
        page,
        text.count("\n", 0, found.start()) + 2,
        found["language"],
        "".join(line.removeprefix(indent) for line in lines),
        reason,
        terminal,
    )
