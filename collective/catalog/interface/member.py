"""The catalogue's promises to the member that keeps it: its datastores, and the engine's upkeep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, Protocol

from collective.catalog.interface.values import Health
from collective.core.ids import NodeId, SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.datastores import Datastore
from collective.model.nodes import Adoption, NodeClaim, Position


class Datastores(Protocol):
    """Top-level paths with owner and policy; ``make_directory`` makes them with the default policy.

    A quota counts the bytes of current files.  It is enforced inside the transaction when an upload
    is opened, when it allocates (what other uploads allocated lately counts too), when it commits,
    and when a move brings files in: NoSpaceError, and nothing changes.
    """

    async def create_datastore(
        self,
        caller: Call,
        path: FilePath,
        *,
        copies: int,
        quota_bytes: int,
        owner: SpiffeId | None,
    ) -> Datastore:
        """Make a datastore with a policy; admins only.  ``copies`` 0: the setting.

        An owner other than the member (None) gets every right on it.
        """
        ...

    async def datastores(self, caller: Call) -> Sequence[Datastore]:
        """Return the datastores that the caller may read, in order of path."""
        ...

    async def set_datastore(
        self,
        caller: Call,
        path: FilePath,
        *,
        copies: int | None = None,
        quota_bytes: int | None = None,
        owner: SpiffeId | Literal["member"] | None = None,
    ) -> Datastore:
        """Change a policy; admins only, None leaves as it is.  Copies count for new writes."""
        ...


class Upkeep(Protocol):
    """The catalogue's own life."""

    async def position(self) -> Position:
        """Return catalogue id, epoch, commit sequence and life."""
        ...

    async def has_been_at(self, seen: Position) -> bool:
        """Tell whether :meth:`observe_position` has nothing to learn: it is this catalogue's own past.

        False for a position of another catalogue, a higher one, and one of a life that this
        catalogue did not have, or not as far.
        """
        ...

    async def observe_position(self, seen: Position) -> bool:
        """Learn what a node has seen; True if this catalogue lost a future and is now *restored*.

        What shows it is what :meth:`has_been_at` denies.  Once is enough in each life of the catalogue, unless
        a position is higher than its own.  Open codes end with it, since they may have been used up.  The position of another catalogue
        is noted once: that this one was made anew does not make it restored.
        """
        ...

    async def is_restored(self) -> bool:
        """Tell whether collection waits for the operator."""
        ...

    async def is_replaced(self, catalog_id: str) -> bool:
        """Tell whether this catalogue was adopted in the place of that one."""
        ...

    async def adopt(
        self,
        actor: Call,
        nodes: AbstractSet[NodeId] | None,
        *,
        obeyed: AbstractSet[str],
        claims: Sequence[NodeClaim],
    ) -> Adoption:
        """Have nodes obey this catalogue in the place of those in ``obeyed``; admins only.

        ``nodes`` None: all, and a restored catalogue goes on collecting.  The nodes of ``claims`` are
        enrolled, approved if they are named, else on probation.  Nothing is deleted.  ConflictError
        where there is nothing to adopt.
        """
        ...

    def health(self) -> Health:
        """Tell whether changes get through; never blocks."""
        ...

    async def prove(self) -> None:
        """Make a change that says nothing durable; raises as any change where that fails."""
        ...

    def interrupt(self) -> None:
        """Give up what runs and what waits, before :meth:`close`; nothing of it was acknowledged."""
        ...

    async def expire(self) -> None:
        """End uploads, leases and pins whose time has passed."""
        ...

    def watch_writer(self, observe: Callable[[str, float], None]) -> None:
        """Tell ``observe`` the ``work`` and the ``flush`` of each batch in seconds, on any thread."""
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
