"""Rights, and on which path."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import Final, NamedTuple

from collective.core.errors import UsageError
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


def rights_of(words: Iterable[str]) -> Right:
    """Return the union of rights by their words; UsageError for none, and for what is none."""
    named = [WORDS.get(word) for word in words]
    rights = Right.NONE
    for right in named:
        rights |= right or Right.NONE
    if not named or None in named:
        raise UsageError("Rights are read, write and share, joined by '+'.")
    return rights


class GrantTerms(NamedTuple):
    """What a grant gives, not yet to anybody: as an invite promises it."""

    path: FilePath
    rights: Right

    @property
    def words(self) -> list[str]:
        """The rights as words."""
        return words_of(self.rights)
