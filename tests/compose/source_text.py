"""The text that this product is made to: its blocks of commands, in their order, under their headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TEXT: Final = Path(__file__).with_name("source-text.md")
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#{2,4} (.+)$", re.MULTILINE)
_QUERY: Final = re.compile(r"^(collective_|sum by )")


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it stands there, without its comment; a query where it is one for Prometheus."""

    heading: str
    text: str

    @property
    def is_query(self) -> bool:
        return _QUERY.match(self.text) is not None


def commands() -> list[Command]:
    """Return every command of every ``bash`` block."""
    text = TEXT.read_text()
    found = []
    for block in _FENCE.finditer(text):
        if block[1] == "bash":
            heading = _HEADING.findall(text, 0, block.start())[-1]
            found += [Command(heading, one) for one in _split(block[2])]
    return found


def settings() -> list[str]:
    """Return the variables that the text sets, as ``NAME=VALUE``."""
    block = next(one[2] for one in _FENCE.finditer(TEXT.read_text()) if one[1] == "yaml")
    return re.findall(r"(COLLECTIVE_\w+=\S+)", block)


def _split(block: str) -> list[str]:
    joined = re.sub(r" *\\\n *", " ", block)
    lines = (re.sub(r"\s+# .*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
