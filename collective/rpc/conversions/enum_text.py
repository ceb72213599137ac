"""Words of the wire, each one of an enumeration."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from collective.core.errors import UsageError

Word = TypeVar("Word", bound=Enum)


def word_of(words: type[Word], text: str, what: str) -> Word:
    """Return the one of ``words`` that is written ``text``; UsageError if there is none.

    ``what`` goes on: "No … is called".
    """
    try:
        return words(text)
    except ValueError as error:
        raise UsageError(f"No {what} is called {text!r}.") from error
