"""Rights, and on which path."""

from __future__ import annotations

from enum import IntFlag
from typing import Final, NamedTuple

from collective.core.paths import FilePath


class Right(IntFlag):
    """What a grant allows; stored as the integer, written as ``read+write``."""

    NONE = 0
    READ = 1
    WRITE = 2
    SHARE = 4


WORDS: Final = {"read": Right.READ, "write": Right.WRITE, "share": Right.SHARE}
"""Each right by the word that people, JSON and files have for it."""


def words_of(rights: Right) -> list[str]:
    """Return ``rights`` as words."""
    return [word for word, right in WORDS.items() if right in rights]


class GrantTerms(NamedTuple):
    """What a grant gives, not yet to anybody: as an invite promises it."""

    path: FilePath
    rights: Right

    @property
    def words(self) -> list[str]:
        """The rights as words."""
        return words_of(self.rights)
