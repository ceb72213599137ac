"""Everything that is printed: text made safe for terminals, JSON and tables.

Results go to stdout and everything else to stderr.  On a terminal whatever is not printable is
escaped, since a server could be hostile and names can turn the direction of text; on a pipe names
are kept exactly as they are, except for control characters, which no name can hold.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from collective.cli.terminal.style import WIDTH, Style, Tone
from collective.core.moments import moment_text
from collective.core.terminal import safe
from collective.model.entries import Entry

if TYPE_CHECKING:
    from collective.cli.json_shapes import EntryJson

GAP: Final = "  "
_CONTROL: Final = "[\x00-\x1f\x7f-\x9f\ud800-\udfff]"


def exact(text: str) -> str:
    """Return ``text`` as programs get it: only control characters and lone surrogates escaped."""
    if text.isprintable():
        return text
    return re.sub(_CONTROL, lambda found: found[0].encode("unicode_escape").decode(), text)


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


def as_json(value: Any, *, compact: bool = False) -> None:
    """Print ``value`` as JSON; pure ASCII, so that no terminal acts on it."""
    indent, separators = (None, (",", ":")) if compact else (2, None)
    sys.stdout.write(json.dumps(value, indent=indent, separators=separators) + "\n")


def plain(block: Iterable[str]) -> None:
    """Print lines that were made safe already, with colours where there are any."""
    for text in block:
        sys.stdout.write(text + "\n")


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    style: Style = Style(),
    tones: Mapping[tuple[int, int], Tone] = MappingProxyType({}),
) -> None:
    """Print columns: on a terminal as wide as fits, on a pipe each row on one line.

    ``tones``: what cells say, by row and column.
    """
    limit = shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else sys.maxsize
    plain(table_lines(headings, rows, limit, style=style, tones=tones))


def table_lines(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int = WIDTH,
    *,
    style: Style = Style(),
    tones: Mapping[tuple[int, int], Tone] = MappingProxyType({}),
) -> list[str]:
    """Return a table of at most ``width`` columns, as far as words and the first column allow."""
    grid = [list(headings), *([safe(cell) for cell in row] for row in rows)]
    columns = [[row[number] for row in grid] for number in range(len(headings))]
    widths = [max(map(len, column)) for column in columns]
    least = [
        max(len(word) for cell in column for word in [*cell.split(), ""]) for column in columns
    ]
    least[0] = widths[0]
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        spare = [number for number, most in enumerate(widths) if most > least[number]]
        if not spare:
            break
        widths[max(spare, key=lambda number: widths[number])] -= 1
    found = []
    for number, row in enumerate(grid, start=-1):  # the headings come first
        cells = [_wrapped(cell, most) for cell, most in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (
                style.paint(part, tones.get((number, column))) + " " * (widths[column] - len(part))
                for column, part in enumerate(parts)
            )
            found.append(GAP.join(padded).rstrip())
    return found


def _wrapped(cell: str, width: int) -> list[str]:
    """Return ``cell`` in pieces of at most ``width``, cut between words; as it is where it fits."""
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False)


def when(unix_ms: int) -> str | None:
    """Return a time as ISO 8601 in UTC, or None for 0 (never)."""
    if not unix_ms:
        return None
    try:
        moment = dt.datetime.fromtimestamp(unix_ms / 1000, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(unix_ms: int, otherwise: str = "") -> str:
    """Return a time for people: UTC, by the second, as ``2026-11-22T18:00:00Z``; else ``otherwise``."""
    return shown_time(when(unix_ms), otherwise)


def shown_time(json_time: str | None, otherwise: str = "") -> str:
    """Return a time that is :func:`when`'s or :func:`exact_time`'s for people: by the second."""
    if not json_time:
        return otherwise
    seconds = json_time.partition(".")[0].removesuffix("Z")
    return seconds if seconds.startswith("@") else f"{seconds}Z"


def exact_time(moment_ns: int | None) -> str | None:
    """Return a file's time to the nanosecond, or None where it is not known."""
    return None if moment_ns is None else moment_text(moment_ns)


def target(entry: Entry) -> str:
    """Return where a link points to, as text."""
    return entry.target.decode("utf-8", "surrogateescape")


def entry_json(entry: Entry) -> EntryJson:
    """Return an entry as JSON has it; every field always present."""
    return {
        "path": str(entry.path),
        "kind": entry.kind.value,
        "size": entry.size_bytes,
        "modified": exact_time(entry.modified_ns),
        "mode": entry.mode,
        "content_type": entry.content_type,
        "metadata": dict(entry.metadata),
        "digest": entry.digest.hex(),
        "version": entry.version,
        "chunk_count": entry.chunk_count,
        "copies_wanted": entry.copies_wanted,
        "copies_least": entry.copies_least,
        "target": target(entry) if entry.target else None,
    }


def shown_name(entry: Entry, name: str) -> str:
    """Return ``name`` with a ``/`` after it if the entry holds others."""
    return name if entry.kind.is_leaf else f"{name}/"
