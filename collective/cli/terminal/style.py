"""How a terminal shows what is well and what is not: colours, bars, lines as wide as fits.

Colour never says anything alone: each coloured word says it too.  None is used on a pipe, with
``--no-color``, where ``NO_COLOR`` is set (no-color.org), or on a terminal that calls itself dumb.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from collective.core.terminal import safe

BAR_CELLS: Final = 20
LABEL_COLUMNS: Final = 13
WIDTH: Final = 100
"""Columns of a terminal that does not say how wide it is."""
LEAST_COLUMNS: Final = 40


class Tone(Enum):
    """What a word says; the value is the colour's number in ECMA-48, one of those each theme sets itself."""

    GOOD = 32
    POOR = 33
    BAD = 31


class Field(NamedTuple):
    """A line of an overview; of several with one label only the first shows it."""

    label: str
    text: str
    tone: Tone | None = None


class Style(NamedTuple):
    """What the terminal of stdout can show."""

    has_colours: bool = False
    columns: int | None = None
    """None: a pipe, where each line stays one."""

    @classmethod
    def of_stdout(cls, environment: Mapping[str, str], *, no_color: bool = False) -> Style:
        """Return the style for stdout as it is now."""
        if not sys.stdout.isatty():
            return cls()
        has_colours = not (
            no_color or environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
        )
        return cls(has_colours, shutil.get_terminal_size((WIDTH, 0)).columns)

    def paint(self, text: str, tone: Tone | None) -> str:
        """Return ``text`` in the colour of ``tone``, where there are colours."""
        if tone is None or not self.has_colours or not text:
            return text
        return f"\x1b[{tone.value}m{text}\x1b[0m"

    def fields(self, fields: Iterable[Field]) -> list[str]:
        """Return the lines of an overview, wrapped below the text where the terminal is narrow."""
        lines: list[str] = []
        for one in fields:
            label, text = one.label.ljust(LABEL_COLUMNS), safe(one.text)
            room = max(LEAST_COLUMNS, self.columns or 0) - LABEL_COLUMNS
            parts = [text] if self.columns is None else textwrap.wrap(text, room) or [""]
            for number, part in enumerate(parts):
                before = label if number == 0 else " " * LABEL_COLUMNS
                lines.append(f"{before}{self.paint(part, one.tone)}".rstrip())
        return lines


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """Return ``share`` (0 to 1) as ``[####      ]``, in letters that every terminal has."""
    return f"[{'#' * round(min(1.0, max(0.0, share)) * cells):<{cells}}]"
