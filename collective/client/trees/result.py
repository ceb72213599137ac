"""What a tree's transfer did, and what it had to leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from collective.core.errors import (
    CollectiveError,
    NotJoinedError,
    ShutOutError,
    UnreachableError,
)

OF_THE_WHOLE: Final = (UnreachableError, NotJoinedError, ShutOutError)
"""Errors that every other name would meet, too."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of a tree that was left out, alone or with all that is below it."""

    name: str
    """As this machine (put) or the member (get) calls it; perhaps not printable."""
    error: CollectiveError


@dataclass(slots=True)
class TreeResult:
    """What a tree's transfer did."""

    files: int = 0
    """Files whose content was carried."""
    links: int = 0
    """Links that were made."""
    directories: int = 0
    """Directories that were made."""
    attributes: int = 0
    """Things of which a time or mode was carried, and nothing else."""
    unchanged: int = 0
    """Files and links that were there as they are."""
    bytes: int = 0
    """Of these files, holes included."""
    left_out: list[LeftOut] = field(default_factory=list)


class Record:
    """Counts what is done, and names what is left out as it comes."""

    def __init__(
        self,
        named: Callable[[LeftOut], None] | None,
        result: TreeResult | None = None,
        shown_above: str = "",
    ) -> None:
        """Have ``named`` hear of everything that is left out; count in ``result``, if it is given.

        Each name has ``shown_above`` before it.
        """
        self.result = result or TreeResult()
        self._shown_above = shown_above
        self._named = named

    def leave_out(self, name: str, error: CollectiveError) -> None:
        """Note that ``name`` was left out."""
        one = LeftOut(self._shown_above + name, error)
        self.result.left_out.append(one)
        if self._named is not None:
            self._named(one)

    @contextmanager
    def about(self, name: str) -> Iterator[None]:
        """Have an error inside leave ``name`` out, unless all the others would meet it, too."""
        try:
            yield
        except OF_THE_WHOLE:
            raise
        except CollectiveError as error:
            self.leave_out(name, error)
