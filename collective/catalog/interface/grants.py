"""What the catalogue promises about grants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collective.core import limits
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.pages import Page
from collective.model.rights import Right


class Grants(Protocol):
    """Rights on paths, given by one identity to another."""

    async def add(
        self,
        caller: Call,
        path: FilePath,
        rights: Right,
        principal: SpiffeId,
        expires_s: float | None,
    ) -> Grant:
        """Give rights; needs ``share`` and at most one's own rights, or the operator."""
        ...

    async def list(
        self, caller: Call, *, token: str = "", max_bytes: int = limits.ANSWER_MAX_BYTES
    ) -> Page[Grant]:
        """Return a page of the caller's live grants and what came from them; of all for an admin."""
        ...

    async def own(self, caller: Call) -> Sequence[Grant]:
        """Return the live grants of the caller alone, in order of path."""
        ...

    async def remove(self, caller: Call, grant_id: str) -> None:
        """End a grant, and what came from it; an admin, its giver and its receiver may."""
        ...
