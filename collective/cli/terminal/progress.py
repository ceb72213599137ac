"""Progress on a terminal: one line on stderr, renewed while something goes on; nothing anywhere else.

The line is never wider than the terminal, is of letters that every terminal has, and is gone when the work
ends, however it ends.  What is on stdout has nothing of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final, TextIO

from collective.cli.terminal import output
from collective.cli.terminal.style import bar
from collective.core.clock import Clock
from collective.core.tasks import TaskScope
from collective.core.terminal import safe
from collective.core.units import format_size

REFRESH_S: Final = 0.2
BAR_CELLS: Final = 24
GAP: Final = "  "
_COLUMNS: Final = 80
"""Of a terminal that does not say how wide it is."""


class Unit(Enum):
    """What is counted; the value is its word."""

    BYTES = "bytes"
    NAMES = "names"
    COPIES = "copies"
    RECORDS = "records"

    def amount(self, count: float) -> str:
        """Return a count for people."""
        return format_size(count) if self is Unit.BYTES else f"{count:,.0f}"

    def pace(self, rate: float) -> str:
        """Return so many a second for people."""
        number = f"{rate:,.0f}" if rate >= 1 else f"{rate:.1f}"
        return f"{format_size(rate)}/s" if self is Unit.BYTES else f"{number}/s"


class Line:
    """One line of a terminal that is renewed in its place."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Show it on ``stream``, by default stderr, if that is a terminal."""
        self._stream = stream or sys.stderr
        self.is_shown: Final = self._stream.isatty()
        self._width = 0
        """Columns that are written on now."""

    @property
    def columns(self) -> int:
        """How many columns a text may have; the last one stays free, since some terminals wrap there."""
        try:
            wide = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            wide = 0
        return (wide or _COLUMNS) - 1

    def show(self, text: str) -> None:
        """Put ``text`` in the place of what the line says."""
        if not self.is_shown:
            return
        text = safe(text)[: self.columns]
        self._stream.write(f"\r{text:<{min(self._width, self.columns)}}")
        self._stream.flush()
        self._width = len(text)

    def clear(self) -> None:
        """Leave an empty line, with the cursor at its beginning."""
        if self._width:
            self.show("")
            self._stream.write("\r")
            self._stream.flush()


class Meter:
    """Counts what is done, and shows it: a bar where the whole is known, the count, its pace, the time left."""

    def __init__(
        self,
        clock: Clock,
        total: int | None = None,
        *,
        unit: Unit = Unit.BYTES,
        doing: str = "",
        also: Callable[[], str] | None = None,
        stream: TextIO | None = None,
    ) -> None:
        """Begin at nothing.

        Args:
            clock: says how fast it goes.
            total: all that there is to do; None: not known.
            unit: of what.
            doing: a word that goes before, such as "Removed".
            also: what else is said, asked for at each renewal.
            stream: where, if that is a terminal; by default stderr.
        """
        self._clock = clock
        self.total = total
        self._unit = unit
        self._doing = doing
        self._also = also
        self._line = Line(stream)
        self.done = 0
        self._started_s = clock.monotonic_s()
        self._next_s = self._started_s + REFRESH_S

    def __call__(self, count: int) -> None:
        """Add ``count``, and renew the line if that is due."""
        self.done += count
        if self._line.is_shown and self._clock.monotonic_s() >= self._next_s:
            self.renew()

    def renew(self) -> None:
        """Show how far it is now."""
        now_s = self._clock.monotonic_s()
        self._next_s = now_s + REFRESH_S
        self._line.show(self.text(now_s - self._started_s, self._line.columns))

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Renew the line meanwhile, also where nothing moves; it is gone afterwards."""
        renewing = TaskScope()
        if self._line.is_shown:
            renewing.spawn(self._renew())
        try:
            yield
        finally:
            await renewing.close()
            self.close()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            self.renew()

    def note(self, text: str) -> None:
        """Say something on a line of its own."""
        self._line.clear()
        output.note(text)

    def text(self, elapsed_s: float, columns: int = sys.maxsize) -> str:
        """Return the line for ``elapsed_s`` seconds since the start, with as much as fits ``columns``."""
        unit, rate = self._unit, self.done / elapsed_s if elapsed_s > 0 else 0.0
        counted = unit.amount(self.done)
        if unit is not Unit.BYTES:
            whole = "" if self.total is None else f" of {unit.amount(self.total)}"
            counted += f"{whole} {unit.value}"
        first = [f"{self._doing} {counted}" if self._doing else counted]
        rest = [unit.pace(rate)]
        drawn = ""
        if self.total is not None:
            share = min(1.0, self.done / self.total) if self.total else 1.0
            drawn = f"{bar(share, BAR_CELLS)} "
            first.insert(0, f"{share:4.0%}")
            if share < 1 and rate:
                rest.append(f"{_clock((self.total - self.done) / rate)} left")
        if self._also is not None and (told := self._also()):
            rest.insert(0, told)
        whole_line = drawn + GAP.join([*first, *rest])
        if len(whole_line) <= columns:
            return whole_line
        parts = [*first, *rest]  # the bar goes first, then what stands last
        while len(parts) > 1 and len(GAP.join(parts)) > columns:
            parts.pop()
        return GAP.join(parts).strip()

    def close(self) -> None:
        """Clear the line."""
        self._line.clear()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
