"""Everything that is printed: text made safe for terminals, JSON, tables and progress.

Results go to stdout and everything else to stderr.  On a terminal whatever is not printable is
escaped, since a server could be hostile and names can turn the direction of text; on a pipe names
are kept exactly as they are, except for control characters, which no name can hold.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
import time
import traceback
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, Final, TextIO

from collective.catalog.model import Entry, EntryKind
from collective.core.units import format_size

REFRESH_S: Final = 0.2
BAR_CELLS: Final = 24
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def safe(text: str) -> str:
    """Return ``text`` with everything that is not printable escaped (``\\x1b``, ``\\u202e``)."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode()
        for char in text.encode("utf-8", "backslashreplace").decode()
    )


def exact(text: str) -> str:
    """Return ``text`` as programs get it: only control characters and lone surrogates escaped."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def line(text: str = "") -> None:
    """Print one line of a result."""
    sys.stdout.write((safe if sys.stdout.isatty() else exact)(text) + "\n")


def lines(block: Iterable[str]) -> None:
    """Print several lines of a result."""
    for text in block:
        line(text)


def note(text: str) -> None:
    """Print one line for people only."""
    sys.stderr.write(safe(text) + "\n")


def trace(error: BaseException) -> None:
    """Print where an error came from, for ``-v``; what it says may be a server's words."""
    for text in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        note(text)


def escaped_log(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Make a log line's texts safe for a terminal (a processor of ``structlog``)."""
    for name, value in event.items():
        if isinstance(value, str):
            rows = value.split("\n") if name == "exception" else [value]
            event[name] = "\n".join(map(safe, rows))
    return event


def as_json(value: Any, *, compact: bool = False) -> None:
    """Print ``value`` as JSON; pure ASCII, so that no terminal acts on it."""
    indent, separators = (None, (",", ":")) if compact else (2, None)
    sys.stdout.write(json.dumps(value, indent=indent, separators=separators) + "\n")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their content."""
    grid = [list(headings), *([safe(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in grid) for column in range(len(headings))]
    for row in grid:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        line("  ".join(padded).rstrip())


def when(unix_ms: int) -> str | None:
    """Return a time as ISO 8601 in UTC, or None for 0 (never)."""
    if not unix_ms:
        return None
    try:
        moment = dt.datetime.fromtimestamp(unix_ms / 1000, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(unix_ms: int) -> str:
    """Return a time for people: UTC, by the second, as ``2026-11-22T18:00:00Z``; "" for 0."""
    exact_time = when(unix_ms)
    return f"{exact_time[:19]}Z" if exact_time else ""


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON has it; every field always present."""
    return {
        "path": str(entry.path),
        "kind": entry.kind.value,
        "size": entry.size_bytes,
        "modified": when(entry.modified_ms),
        "mode": entry.mode,
        "content_type": entry.content_type,
        "metadata": dict(entry.metadata),
        "digest": entry.digest.hex(),
        "version": entry.version,
        "chunk_count": entry.chunk_count,
        "copies_wanted": entry.copies_wanted,
        "copies_least": entry.copies_least,
    }


def shown_name(entry: Entry, name: str) -> str:
    """Return ``name`` with a ``/`` after it if the entry holds others."""
    return name if entry.kind is EntryKind.FILE else f"{name}/"


class Meter:
    """Progress of a transfer on a terminal: bytes, rate and time left; silent elsewhere."""

    def __init__(self, total_bytes: int | None = None, *, stream: TextIO | None = None) -> None:
        """Show progress towards ``total_bytes`` (None: unknown) on ``stream`` if it is a terminal."""
        self._total = total_bytes
        self._stream = stream or sys.stderr
        self._is_shown = self._stream.isatty()
        self._done = 0
        self._started_s = time.monotonic()
        self._next_s = self._started_s + REFRESH_S

    def __call__(self, count: int) -> None:
        """Add ``count`` bytes."""
        self._done += count
        if self._is_shown and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + REFRESH_S
            self._stream.write(f"\r\x1b[K{self.text(time.monotonic() - self._started_s)}")
            self._stream.flush()

    def text(self, elapsed_s: float) -> str:
        """Return the line for ``elapsed_s`` seconds since the start."""
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        text = f"{format_size(self._done)}  {format_size(rate)}/s"
        if self._total is None:
            return text
        share = min(1.0, self._done / self._total) if self._total else 1.0
        bar = "#" * round(share * BAR_CELLS)
        left_s = (self._total - self._done) / rate if rate else 0.0
        text = f"[{bar:<{BAR_CELLS}}] {share:4.0%}  {text}"
        return f"{text}  {_clock(left_s)} left" if share < 1 else text

    def close(self) -> None:
        """Clear the line."""
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
