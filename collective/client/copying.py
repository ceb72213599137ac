"""Copying of files as a client asks for it: by what can reach both ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from collective.client.owners import Owner
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.progress import Progress
from collective.model.writing import Precondition


class Copying(Protocol):
    """Makes copies from one owner to one owner; paths are as they are called here."""

    async def copy(
        self,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        *,
        unless_same: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Entry, bool]:
        """Copy a file; return the entry at ``target``, and whether it was left as it was.

        It is left where ``unless_same`` says so and it has the same content.  Raises as reading the one and
        writing the other.
        """
        ...


@dataclass(frozen=True, slots=True)
class CoordinatorCopying:
    """Copies that one coordinator makes: what one identity reaches through it."""

    owner: Owner

    async def copy(
        self,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        *,
        unless_same: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Entry, bool]:
        """Have the coordinator copy; see :meth:`RemoteCopying.copy`."""
        owner = self.owner
        made, is_same = await owner.connection.copying.copy(
            owner.there(source),
            owner.there(target),
            condition,
            unless_same=unless_same,
            progress=progress,
        )
        return owner.here(made), is_same
