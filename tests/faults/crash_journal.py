"""What a file may be, by the journals of those who wrote it.

An acknowledged attempt leaves exactly its value.  An attempt that was cut off, or whose error leaves
it open, may have taken effect or not; one that was refused for want of copies must not have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

Value = str | None
"""SHA-256 of a file's content; None: no such file."""

WITHOUT_EFFECT: Final = frozenset(("not_enough_copies", "no_space", "not_found"))
"""Errors after which nothing of the attempt may be visible."""


@dataclass(slots=True)
class Manifest:
    """The values that each path may have, kept up to date from journals."""

    allowed: dict[str, frozenset[Value]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    acknowledged: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    cut_off: int = 0
    _read: dict[Path, int] = field(default_factory=dict)

    def follow(self, journal: Path) -> None:
        """Take over what was added to ``journal``; its writer must be dead."""
        if not journal.exists():
            return
        raw = journal.read_bytes()
        begun: dict[int, tuple[str, Value]] = {}
        for text in raw[self._read.get(journal, 0) :].splitlines():
            line = json.loads(text)
            if "begin" in line:
                begun[line["begin"]] = (line["path"], line["value"])
            elif "end" in line:
                path, value = begun.pop(line["end"])
                self._ended(path, value, line["code"], line.get("why", ""))
            else:
                self.wrong.append(line["wrong"])
        for path, value in begun.values():
            self.cut_off += 1
            self.allowed[path] = self.may_be(path) | {value}
        self._read[journal] = len(raw)

    def may_be(self, path: str) -> frozenset[Value]:
        """Return the values that ``path`` may have."""
        return self.allowed.get(path, frozenset((None,)))

    def settle(self, path: str, value: Value) -> None:
        """Note what a path was seen to be while nobody wrote."""
        self.allowed[path] = frozenset((value,))

    def _ended(self, path: str, value: Value, code: str, why: str) -> None:
        if code == "ok":
            self.acknowledged += 1
            self.allowed[path] = frozenset((value,))
            return
        self.refused[code] = self.refused.get(code, 0) + 1
        if code == "not_found" and None not in self.may_be(path):
            what = "remove" if value is None else "write"
            self.wrong.append(f"{path} is acknowledged and was not found by a {what}: {why}")
        if code not in WITHOUT_EFFECT:
            self.allowed[path] = self.may_be(path) | {value}
