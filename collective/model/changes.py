"""What changed in a folder, as one who watches it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from collective.core.paths import FilePath
from collective.model.entries import Entry

Cursor = NewType("Cursor", str)
"""Up to where somebody knows a folder: opaque, of one length, for that caller and that folder alone."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something in a folder that changed since a cursor, as it is now."""

    path: FilePath
    """In the folder, or the folder itself."""
    entry: Entry | None
    """What is there now; None: nothing is."""
    below: bool
    """Anything below it may have changed too, for it was moved, removed or made as a tree: list it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a cursor."""

    cursor: Cursor
    """What to ask with next; never seen before, whether anything changed or not."""
    changes: Sequence[Change]
    """Each path once, in the order in which they changed last; empty: nothing changed."""
    more: bool = False
    """There are more: ask again at once."""


@dataclass(frozen=True, slots=True)
class ListAnew:
    """What changed since a cursor is not known: list the folder after this answer, and go on from here.

    So it is with no cursor, with one of another caller or folder, after a restore, where it lies further back than
    changes are kept, and where the right that it was made under has ended, though there be another now.
    """

    cursor: Cursor
    """What to ask with next."""


Since = Changes | ListAnew
