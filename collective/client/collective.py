"""One joined member, as a program uses it: names, files, status and grants.

Owns the connection to the coordinator, the connections to nodes and the buffers of transfers.
Refuses: printing, choosing credentials, and any file of its own except upload journals.
Every method raises the classes of ``core/errors.py`` and nothing else on purpose.  All of them may
be cancelled at any time: a cancelled write leaves no visible trace, a cancelled change may or may
not have been made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from collective.client.model import (
    Attributes,
    Entry,
    Precondition,
    Progress,
    Source,
    TransferOptions,
)
from collective.core.units import Address
from collective.rpc.gen.collective.v1 import Grant, NodeStatus, Status


class Collective:
    """A connection to one member.

    >>> async with Collective.connect(credentials) as home:
    ...     await home.write("/shared/a.txt", b"hello")
    ...     async with home.open_read("/shared/a.txt") as reader:
    ...         async for block in reader:
    ...             ...
    """

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        credentials: object,
        addresses: Sequence[Address] = (),
        *,
        options: TransferOptions | None = None,
    ) -> AsyncIterator[Self]:
        """Connect to the coordinator of the member whose CA is in ``credentials``.

        Addresses are tried in turn; with none given, those that the certificate itself carries.
        Raises NotJoinedError where there is no address, UnreachableError, RejectedError.
        """
        raise NotImplementedError
        yield

    async def stat(self, path: str) -> Entry:
        """Return what ``path`` names, or raise NotFoundError or PermissionDeniedError."""
        raise NotImplementedError

    def list(self, path: str, *, recursive: bool = False) -> AsyncIterator[Entry]:
        """Yield what is below ``path`` in order of path, fetched page by page."""
        raise NotImplementedError

    async def mkdir(self, path: str, *, parents: bool = False) -> Entry:
        """Make a directory, or a datastore at top level; ``parents`` accepts what exists."""
        raise NotImplementedError

    async def remove(self, path: str, *, recursive: bool = False, if_version: int = 0) -> int:
        """Remove a file, an empty directory or (``recursive``) a tree; return entries removed."""
        raise NotImplementedError

    async def move(self, source: str, destination: str, *, if_version: int = 0) -> Entry:
        """Rename; a file at the destination is replaced."""
        raise NotImplementedError

    async def write(
        self,
        path: str,
        source: Source,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
        progress: Progress | None = None,
    ) -> Entry:
        """Store all of ``source`` as ``path`` and return when it is durable.

        Memory is bounded whatever the size.  On any error, nothing is visible at ``path``.
        """
        raise NotImplementedError

    def open_read(self, path: str, *, offset: int = 0, length: int | None = None) -> object:
        """Return a reader (async context manager and async iterator of verified memoryviews)."""
        raise NotImplementedError

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file as bytes; for small files (all of it is held in memory)."""
        raise NotImplementedError

    async def put(self, local: str, path: str, *, progress: Progress | None = None) -> Entry:
        """Upload a local file; an upload that was interrupted goes on where it stopped."""
        raise NotImplementedError

    async def get(self, path: str, local: str, *, progress: Progress | None = None) -> Entry:
        """Download to a local file, which appears when all of it has been verified; resumes."""
        raise NotImplementedError

    async def status(self) -> Status:
        """Return the member's state as the caller may see it."""
        raise NotImplementedError

    async def nodes(self) -> Sequence[NodeStatus]:
        """Return the member's nodes."""
        raise NotImplementedError

    async def add_grant(
        self, path: str, rights: Sequence[str], principal: str, *, expires_ms: int = 0
    ) -> Grant:
        """Give ``principal`` (global id or SPIFFE id) rights (read, write, share) on ``path``."""
        raise NotImplementedError

    async def grants(self) -> Sequence[Grant]:
        """Return the grants that the caller may see."""
        raise NotImplementedError

    async def remove_grant(self, grant_id: str) -> None:
        """Take a grant back."""
        raise NotImplementedError
