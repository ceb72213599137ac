"""What a file may be, by the journals of those who wrote it.

An acknowledged attempt leaves exactly its value.  An attempt that was cut off, or whose error leaves
it open, may have taken effect or not; one that was refused for want of copies must not have.

The order within a path decides what may be said: an attempt that was cut off took effect before the
next one at its path began, or never.  Its process is dead by then, and on one machine the coordinator
reads what a dead connection held before anything of a connection that is made after it.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

Value = str | None
"""SHA-256 of a file's content; None: no such file."""

WITHOUT_EFFECT: Final = frozenset(("not_enough_copies", "no_space"))
"""Errors after which nothing of the attempt may be visible."""
LINES_TOLD: Final = 12
"""The latest lines about a path that a complaint shows."""


@dataclass(slots=True)
class Manifest:
    """The values that each path may have, kept up to date from journals."""

    allowed: dict[str, frozenset[Value]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    acknowledged: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    cut_off: int = 0
    _read: dict[Path, int] = field(default_factory=dict)
    _lines: dict[str, deque[str]] = field(default_factory=dict)

    def follow(self, journal: Path) -> None:
        """Take over what was added to ``journal``; its writer must be dead."""
        if not journal.exists():
            return
        raw = journal.read_bytes()
        end = raw.rfind(b"\n") + 1  # a line that was cut off in the middle says nothing
        under_way: dict[str, tuple[int, Value]] = {}
        for text in raw[self._read.get(journal, 0) : end].decode().splitlines():
            line = json.loads(text)
            if "wrong" in line:
                self.wrong.append(line["wrong"])
                continue
            path = line["path"]
            self._lines.setdefault(path, deque(maxlen=LINES_TOLD)).append(text)
            if "begin" in line:
                # A path has one attempt at a time, so an open one is of a process that was killed.  It
                # counts from here on.  It once counted from the end of the journal: a remove that was
                # cut off after it took effect made the next one, which found nothing, look like a loss;
                # and what an acknowledged write had replaced since was allowed again.
                self._cut_off(path, under_way.pop(path, None))
                under_way[path] = (line["begin"], line["value"])
            else:
                number, value = under_way.pop(path)
                assert number == line["end"], f"attempts at {path} overlap"
                self._ended(path, value, line["code"], line.get("why", ""))
        for path, attempt in under_way.items():
            self._cut_off(path, attempt)
        self._read[journal] = end

    def may_be(self, path: str) -> frozenset[Value]:
        """Return the values that ``path`` may have."""
        return self.allowed.get(path, frozenset((None,)))

    def settle(self, path: str, value: Value) -> None:
        """Note what a path was seen to be while nobody wrote."""
        self.allowed[path] = frozenset((value,))

    def _cut_off(self, path: str, attempt: tuple[int, Value] | None) -> None:
        if attempt is not None:
            self.cut_off += 1
            self.allowed[path] = self.may_be(path) | {attempt[1]}

    def _ended(self, path: str, value: Value, code: str, why: str) -> None:
        if code == "ok":
            self.acknowledged += 1
            self.settle(path, value)
            return
        self.refused[code] = self.refused.get(code, 0) + 1
        if code == "not_found":
            self._not_found(path, value, why)
        elif code not in WITHOUT_EFFECT:
            self.allowed[path] = self.may_be(path) | {value}

    def _not_found(self, path: str, value: Value, why: str) -> None:
        """Judge the answer: a remove that found nothing says what the path is, a write must not get it.

        The folder is there, and only its writer ends an upload.
        """
        if value is not None:
            self._complain(path, f"a write was told: {why}")
        elif None in self.may_be(path):
            self.settle(path, None)
        else:
            self._complain(path, f"acknowledged, and not found by a remove: {why}")

    def _complain(self, path: str, what: str) -> None:
        self.wrong.append("\n  ".join((f"{path}: {what}", *self._lines[path])))
