"""What the catalogue promises about datastores: top-level paths with owner and policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.datastores import Datastore


class Datastores(Protocol):
    """Top-level paths with owner and policy; ``names.make_directory`` makes them with the default policy.

    A quota counts the bytes of current files.  It is enforced inside the transaction when an upload
    is opened, when it allocates (what other uploads allocated lately counts too), when it commits,
    and when a move brings files in: NoSpaceError, and nothing changes.
    """

    async def create(
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

    async def list(self, caller: Call) -> Sequence[Datastore]:
        """Return the datastores that the caller may read, in order of path."""
        ...

    async def set(
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

    async def settle_copies(self) -> bool:
        """Go one bounded step on with what moves and policies left; True if something is left.

        A chunk wants as many copies as the datastore asks for that asks for most of those which
        hold a file with it.
        """
        ...
