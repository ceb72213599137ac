"""Whom a change concerns, and how many are kept: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collective.core.paths import FilePath


class Touched(NamedTuple):
    """A name that a change touched."""

    path: FilePath
    below: bool
    """Anything below it may have changed too."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A change in its order."""

    number: int
    touched: Touched


def seen_in(folder: FilePath, touched: Touched) -> Touched | None:
    """Return a change as one who watches ``folder`` is told of it; None: it does not concern them.

    What became of a folder above is told of the folder itself: no name above or beside it shows.
    """
    if touched.path.starts_with(folder):
        return touched
    if touched.below and folder.starts_with(touched.path):
        return Touched(folder, below=True)
    return None


def together(found: Iterable[Numbered]) -> Sequence[Numbered]:
    """Return each path once, with its last number, in the order of these."""
    last: dict[FilePath, Numbered] = {}
    for one in found:
        before = last.pop(one.touched.path, None)
        below = one.touched.below or (before is not None and before.touched.below)
        last[one.touched.path] = Numbered(one.number, Touched(one.touched.path, below))
    return list(last.values())


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of the changes is kept."""

    rows_max: int
    bytes_max: int
    kept_ms: int

    def is_over(self, *, rows: int, size_bytes: int, age_ms: int) -> bool:
        """Tell whether the oldest is to go, where so much is kept from it on, and it is so old."""
        return rows > self.rows_max or size_bytes > self.bytes_max or age_ms > self.kept_ms
