"""The line that shows how far something is: what stands on it, how wide it is, and that it goes away."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from collective.cli.terminal.progress import Line, Meter, Unit
from collective.core.clock import ManualClock

MIB = 1 << 20


class Terminal:
    """A terminal of some width, and what was written on it."""

    def __init__(self, columns: int) -> None:
        self._ours, theirs = pty.openpty()
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        self.stream: TextIO = os.fdopen(theirs, "w")

    def written(self) -> str:
        """Return all that was written since the last time: it may come in pieces, so an end is put to it."""
        self.stream.write("\0")
        self.stream.flush()
        text = ""
        while not text.endswith("\0"):
            text += os.read(self._ours, 65536).decode()
        return text[:-1]

    def close(self) -> None:
        self.stream.close()
        os.close(self._ours)


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    made = Terminal(columns)
    try:
        yield made
    finally:
        made.close()


def shown(written: str, columns: int) -> str:
    """Return what a terminal shows after ``written``; fails where a line would wrap."""
    cells: list[str] = []
    at = 0
    for char in written:
        if char == "\r":
            at = 0
            continue
        assert at < columns - 1, f"{written!r} does not fit {columns} columns"
        cells[at : at + 1] = [char]
        at += 1
    return "".join(cells).rstrip()


def test_bytes_of_a_whole_have_a_bar_a_pace_and_the_time_left() -> None:
    meter = Meter(ManualClock(), 100 * MIB, stream=io.StringIO())
    meter(25 * MIB)
    assert meter.text(5.0) == "[######                  ]  25%  25.0 MiB  5.0 MiB/s  0:15 left"
    meter(75 * MIB)
    assert meter.text(10.0) == f"[{'#' * 24}] 100%  100.0 MiB  10.0 MiB/s"


def test_names_copies_and_files_say_what_they_are() -> None:
    gone = Meter(ManualClock(), unit=Unit.NAMES, doing="Removed", stream=io.StringIO())
    gone(12_345)
    assert gone.text(10.0) == "Removed 12,345 names  1,234/s"
    moved = Meter(ManualClock(), 400, unit=Unit.COPIES, doing="Moved", stream=io.StringIO())
    moved(100)
    told = moved.text(200.0)
    assert told == "[######                  ]  25%  Moved 100 of 400 copies  0.5/s  10:00 left"
    tree = Meter(ManualClock(), also=lambda: "7 files", stream=io.StringIO())
    tree(MIB)
    assert tree.text(1.0) == "1.0 MiB  7 files  1.0 MiB/s"


@pytest.mark.parametrize("columns", range(1, 90))
def test_no_terminal_is_too_narrow(columns: int) -> None:
    clock = ManualClock()
    with terminal(columns + 1) as there:
        meter = Meter(clock, 100 * MIB, also=lambda: "7 files", stream=there.stream)
        meter(25 * MIB)
        clock.advance(5.0)
        meter(0)
        text = shown(there.written(), columns + 2)
        assert len(text) <= columns
        meter.close()


def test_twenty_columns_have_what_matters_most() -> None:
    clock = ManualClock()
    with terminal(20) as there:
        meter = Meter(clock, 100 * MIB, stream=there.stream)
        clock.advance(5.0)
        meter(25 * MIB)
        assert shown(there.written(), 21) == "25%  25.0 MiB"


def test_a_shorter_text_leaves_nothing_of_the_one_before_and_the_end_leaves_nothing() -> None:
    with terminal(80) as there:
        line = Line(there.stream)
        line.show("a long text that is replaced")
        line.show("short")
        first = there.written()
        assert shown(first, 81) == "short"
        line.clear()
        rest = there.written()
        assert shown(first + rest, 81) == ""
        assert rest.endswith("\r"), "the next text begins at the left"
        assert "\x1b" not in first + rest, "for terminals that know no escapes"


def test_a_note_stands_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    with terminal(80) as there:
        meter = Meter(clock, unit=Unit.NAMES, stream=there.stream)
        clock.advance(1.0)
        meter(5)
        meter.note("Left out 'x'.")
        assert shown(there.written(), 81) == ""
    assert capsys.readouterr().err == "Left out 'x'.\n"


def test_it_is_renewed_a_few_times_a_second_however_often_it_is_told() -> None:
    clock = ManualClock()
    with terminal(80) as there:
        meter = Meter(clock, unit=Unit.NAMES, stream=there.stream)
        for _ in range(1000):
            clock.advance(0.001)
            meter(1)
        assert 1 <= there.written().count("\r") <= 10


async def test_off_a_terminal_nothing_is_written() -> None:
    clock, told = ManualClock(), io.StringIO()
    meter = Meter(clock, 100, stream=told)
    async with meter.shown():
        clock.advance(10.0)
        meter(50)
        meter.renew()
    assert told.getvalue() == ""


async def test_the_line_goes_away_also_where_the_work_fails() -> None:
    clock = ManualClock()
    with terminal(80) as there:
        meter = Meter(clock, unit=Unit.NAMES, stream=there.stream)

        async def fail() -> None:
            async with meter.shown():
                clock.advance(1.0)
                meter(5)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert shown(there.written(), 81) == ""
