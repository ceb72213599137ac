"""The files of a member, whichever member it is and however it is reached.

Every method takes the :class:`Call` that is judged, and plain values that were checked where they came in.
This member's own are :class:`MemberFiles`; a member elsewhere is ``rpc.remote`` over a connection.  Faces
know no more than this, and ask :mod:`collective.member.files.member_directory` which member has a thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collective.core.ids import ChunkId, NodeId, SpiffeId, UploadId
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


class Names(Protocol):
    """The tree of names; what each method needs of rights, the member decides."""

    async def stat(self, call: Call, path: FilePath, /) -> Entry:
        """Return what ``path`` names."""
        ...

    async def rights(self, call: Call, path: FilePath, /) -> Right:
        """Return what the caller may do at ``path``, whether anything is there or not."""
        ...

    async def list(
        self, call: Call, path: FilePath, /, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page of what is below ``path``; a file lists itself."""
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
        """Make a directory, or a datastore at top level; ``parents`` accepts what exists."""
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
        """Make a symbolic link, in the place of a file or link that may be there."""
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
        """Change time and mode of what is there; None leaves one as it is."""
        ...

    async def remove(
        self,
        call: Call,
        path: FilePath,
        /,
        *,
        recursive: bool,
        condition: Precondition,
        budget_s: float | None = None,
    ) -> Removed:
        """Remove; of a large tree a part, as much as ``budget_s`` allows (a peer: as it will)."""
        ...

    async def move(
        self, call: Call, source: FilePath, target: FilePath, /, *, condition: Precondition
    ) -> Entry:
        """Rename; a file or link at the target is replaced."""
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
        """Begin to write ``path``, and plan the first of it; not to be repeated."""
        ...

    async def check_upload(self, call: Call, upload: UploadId, /) -> None:
        """Return if ``call`` may still go on with an open upload; raises as its next step would."""
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
        """Lease a version (``if_version`` 0: the current one), and plan the first of a range.

        ``length`` 0: to the end.
        """
        ...


class Changes(Protocol):
    """What changes among the names, for those who watch a folder."""

    async def since(
        self, call: Call, folder: FilePath, cursor: str, /, *, wait_s: float, page_size: int
    ) -> Since:
        """Return what changed in ``folder`` since ``cursor``, with a new cursor.

        With nothing, wait up to ``wait_s`` seconds for a first change (a peer: for as long as it will).
        BusyError where too many wait.
        """
        ...


class Files(Protocol):
    """The files of one member."""

    @property
    def names(self) -> Names:
        """What is there."""
        ...

    @property
    def changes(self) -> Changes:
        """What changes there."""
        ...

    @property
    def uploads(self) -> Uploads:
        """What comes in."""
        ...

    @property
    def reads(self) -> Reads:
        """What goes out."""
        ...


class TakesComplaints(Protocol):
    """Where readers' reports of bad copies go; they are verified before they are believed."""

    def complain(self, node: NodeId, chunk: ChunkId, who: SpiffeId) -> bool:
        """Have the copy of ``chunk`` on ``node`` looked at; return whether it will be for ``who``."""
        ...
