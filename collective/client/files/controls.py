"""What this library asks of a member, in plain values: over the network or in the member's own process.

``rpc.remote`` answers it over a connection, ``member.files`` in the coordinator's process; neither is imported
here.  Each method takes the :class:`Call` that is judged, and raises the classes of ``core/errors.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from collective.core.ids import Domain, LeaseId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.changes import Since
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.pages import EntryPage
from collective.model.rights import Right
from collective.model.routes import RouteMode
from collective.model.transfers import OpenedRead, OpenedUpload
from collective.model.writing import Attributes, Precondition, Removed
from collective.transfer.engine.control import ReadControl, UploadControl
from collective.transfer.engine.engine import Engine


class NameControl(Protocol):
    """The tree of names."""

    async def stat(self, call: Call, path: FilePath, /) -> Entry:
        """Return what ``path`` names."""
        ...

    async def rights(self, call: Call, path: FilePath, /) -> Right:
        """Return what the caller may do at ``path``, whether anything is there or not."""
        ...

    async def list(
        self, call: Call, path: FilePath, /, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page of what is below ``path``."""
        ...

    async def changes(
        self, call: Call, path: FilePath, cursor: str, /, *, wait_s: float, page_size: int
    ) -> Since:
        """Return what changed in ``path`` since ``cursor``, or wait for a first change."""
        ...

    async def make_directory(
        self,
        call: Call,
        path: FilePath,
        /,
        *,
        parents: bool,
        attributes: Attributes | None = None,
    ) -> Entry:
        """Make a directory, or a datastore at top level."""
        ...

    async def make_link(
        self,
        call: Call,
        path: FilePath,
        target: bytes,
        attributes: Attributes,
        condition: Precondition,
        /,
    ) -> Entry:
        """Make a symbolic link."""
        ...

    async def set_attributes(
        self,
        call: Call,
        path: FilePath,
        /,
        *,
        modified_ns: int | None,
        mode: int | None,
        condition: Precondition,
    ) -> Entry:
        """Change time and mode."""
        ...

    async def remove(
        self, call: Call, path: FilePath, /, *, recursive: bool, condition: Precondition
    ) -> Removed:
        """Remove; of a large tree a part."""
        ...

    async def move(
        self, call: Call, source: FilePath, target: FilePath, /, *, condition: Precondition
    ) -> Entry:
        """Rename."""
        ...


class Uploads(UploadControl, Protocol):
    """Files on their way in."""

    async def open_upload(
        self,
        call: Call,
        path: FilePath,
        attributes: Attributes,
        condition: Precondition,
        extents: Sequence[Extent],
        holes: Sequence[Hole] = (),
        /,
        *,
        mode: RouteMode,
    ) -> OpenedUpload:
        """Begin to write ``path``, and plan the first of it."""
        ...


class Reads(ReadControl, Protocol):
    """Files on their way out."""

    async def open_read(
        self,
        call: Call,
        path: FilePath,
        /,
        *,
        offset: int,
        length: int,
        if_version: int = 0,
        mode: RouteMode,
    ) -> OpenedRead:
        """Lease a version, and plan the first of a range (``length`` 0: to the end)."""
        ...


class Preparation(Protocol):
    """What comes before bytes are moved at a member."""

    async def prepare(self, path: FilePath, /) -> None:
        """Have the nodes of the member that has ``path`` count here."""
        ...


class Engines(Protocol):
    """What moves bytes, apart for each member."""

    def of(self, domain: Domain, /) -> Engine:
        """Return the engine for a member."""
        ...


class Leases(Protocol):
    """Where leases go in the end."""

    def give_back(self, lease: LeaseId, /) -> Awaitable[None]:
        """Take a lease that its reader is done with."""
        ...
