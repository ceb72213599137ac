"""The catalogue's promises to the member that keeps it: its datastores, and the engine's upkeep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from collective.access.model import Caller
from collective.catalog.model import DatastoreRecord, Position
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath


class Datastores(Protocol):
    """Top-level paths with owner and policy; ``make_directory`` makes them with the default policy.

    A quota counts the bytes of current files.  It is enforced inside the transaction when an upload
    is opened, when it allocates (what other uploads allocated lately counts too), when it commits,
    and when a move brings files in: NoSpaceError, and nothing changes.
    """

    async def create_datastore(
        self,
        caller: Caller,
        path: FilePath,
        *,
        copies: int,
        quota_bytes: int,
        owner: SpiffeId | None,
    ) -> DatastoreRecord:
        """Make a datastore with a policy; admins only.  ``copies`` 0: the setting.

        An owner other than the member (None) gets every right on it.
        """
        ...

    async def datastores(self, caller: Caller) -> Sequence[DatastoreRecord]:
        """Return the datastores that the caller may read, in order of path."""
        ...

    async def set_datastore(
        self,
        caller: Caller,
        path: FilePath,
        *,
        copies: int | None = None,
        quota_bytes: int | None = None,
        owner: SpiffeId | Literal["member"] | None = None,
    ) -> DatastoreRecord:
        """Change a policy; admins only, None leaves as it is.  Copies count for new writes."""
        ...


class Upkeep(Protocol):
    """The catalogue's own life."""

    async def position(self) -> Position:
        """Return catalogue id, epoch and commit sequence."""
        ...

    async def observe_position(self, seen: Position) -> bool:
        """Learn what a node has seen; True if this catalogue is behind and is now *restored*."""
        ...

    async def is_restored(self) -> bool:
        """Tell whether collection waits for the operator."""
        ...

    async def confirm_restore(self, actor: Caller) -> int:
        """Let collection go on; return the epoch; ConflictError where nothing was restored."""
        ...

    async def expire(self) -> None:
        """End uploads, leases and pins whose time has passed."""
        ...

    async def notices(self) -> tuple[str, ...]:
        """Return what the operator must know: how it started, and whether its files are still there."""
        ...

    async def snapshot(self) -> str:
        """Write a consistent, checksummed snapshot into the data dir; return its path."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and release the files."""
        ...
