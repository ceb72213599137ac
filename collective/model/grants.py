"""Grants: who may do what below a path."""

from __future__ import annotations

from dataclasses import dataclass

from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.rights import Right, words_of


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights on a path and everything below it."""

    id: str
    path: FilePath
    rights: Right
    principal: SpiffeId
    granted_by: SpiffeId
    expires_s: float | None = None
    """Unix seconds, or None for never."""
    sources: tuple[str, ...] = ()
    """Ids of the giver's own grants that this one came from: it ends when one of them does.

    Empty for what a coordinator gave."""

    @property
    def words(self) -> list[str]:
        """The rights as words."""
        return words_of(self.rights)
