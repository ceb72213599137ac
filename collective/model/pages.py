"""Listings page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from collective.model.entries import Entry

T = TypeVar("T")


class Page(list[T]):
    """One page of a listing, bounded in bytes, with the token of the next; empty at the end."""

    next_token: str = ""


class EntryPage(NamedTuple):
    """One page of a listing in order of path."""

    entries: Sequence[Entry]
    next_token: str
    """Opaque; empty at the end."""
