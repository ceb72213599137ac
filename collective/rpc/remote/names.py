"""The names of a member, as its coordinator serves them.

The connection says who calls, so the :class:`Call` that each method takes is not sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from collective.core.paths import FilePath, check_target
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.pages import EntryPage
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition, Removed
from collective.rpc.conversions.entries import attributes_message, entry_from, modified_fields
from collective.rpc.conversions.rights import rights_held
from collective.rpc.gen.collective.v1.files import (
    ChangesRequest,
    FilesStub,
    ListRequest,
    MakeDirectoryRequest,
    MakeLinkRequest,
    MoveRequest,
    RemoveRequest,
    RightsRequest,
    SetAttributesRequest,
    StatRequest,
)
from collective.rpc.links import Channel
from collective.rpc.remote.answers import AllTaken, taken
from collective.rpc.remote.connection import Control, Remote

if TYPE_CHECKING:  # imported when a folder is watched: a short command does not
    from collective.model.changes import Since


class RemoteNames(Remote[FilesStub]):
    """The tree of names at one coordinator."""

    SERVICE = FilesStub

    def __init__(self, control: Control, files: FilesStub, *, persists: bool = False) -> None:
        """Call ``files`` by ``control``.

        ``persists``: what may be repeated outlives a coordinator that restarts.  A removal or a move
        never is: the second time it would meet what was written there meanwhile.
        """
        super().__init__(control, files)
        self._ask = control.begin if persists else control.call

    @classmethod
    def over(cls, channel: Channel, control: Control, *, persists: bool = False) -> Self:
        """Return what calls over ``channel`` with the deadlines of ``control``."""
        return cls(control, channel.stub(cls.SERVICE), persists=persists)

    async def stat(self, _call: Call, path: FilePath) -> Entry:
        """Return what ``path`` names."""
        request = StatRequest(path=str(path))
        return taken(entry_from, await self._ask(self._stub.stat, request))

    async def rights(self, _call: Call, path: FilePath) -> Right:
        """Return what the caller may do at ``path``."""
        return rights_held(
            (await self._ask(self._stub.rights, RightsRequest(path=str(path)))).rights
        )

    async def list(
        self, _call: Call, path: FilePath, *, recursive: bool, page_size: int = 0, token: str = ""
    ) -> EntryPage:
        """Return one page of what is below ``path``; an entry that makes no sense is refused when it is looked at."""
        request = ListRequest(
            path=str(path), recursive=recursive, page_size=page_size, page_token=token
        )
        answer = await self._ask(self._stub.list, request)
        return EntryPage(AllTaken(entry_from, answer.entries), answer.next_page_token)

    async def changes(
        self, _call: Call, path: FilePath, cursor: str, *, wait_s: float, page_size: int
    ) -> Since:
        """Return what changed in ``path`` since ``cursor``, or wait for a first change."""
        request = ChangesRequest(
            path=str(path), cursor=cursor, wait_ms=round(wait_s * 1000), page_size=page_size
        )
        from collective.rpc.conversions.changes import since_from  # noqa: PLC0415 - as above

        answer = await self._control.call(self._stub.changes, request, waits_s=wait_s)
        return taken(since_from, answer)

    async def make_directory(
        self,
        _call: Call,
        path: FilePath,
        *,
        parents: bool,
        attributes: Attributes | None = None,
    ) -> Entry:
        """Make a directory or datastore; ``attributes`` are for one that this call makes."""
        request = MakeDirectoryRequest(
            path=str(path),
            parents=parents,
            attributes=attributes_message(attributes or Attributes()),
        )
        ask = self._ask if parents else self._control.call  # the second time it is there
        return taken(entry_from, await ask(self._stub.make_directory, request))

    async def make_link(
        self,
        _call: Call,
        path: FilePath,
        target: bytes,
        attributes: Attributes,
        condition: Precondition,
    ) -> Entry:
        """Make a symbolic link, in the place of a file or link that may be there."""
        check_target(target)
        request = MakeLinkRequest(
            path=str(path),
            target=target,
            attributes=attributes_message(attributes),
            if_version=condition.if_version,
            if_absent=condition.if_absent,
        )
        return taken(entry_from, await self._ask(self._stub.make_link, request))

    async def set_attributes(
        self,
        _call: Call,
        path: FilePath,
        *,
        modified_ns: int | None,
        mode: int | None,
        condition: Precondition,
    ) -> Entry:
        """Change time and mode of what is there; None leaves one as it is."""
        seconds, nanoseconds = modified_fields(modified_ns)
        request = SetAttributesRequest(
            path=str(path),
            modified_s=seconds,
            modified_ns=nanoseconds,
            mode=mode,
            if_version=condition.if_version,
        )
        return taken(entry_from, await self._ask(self._stub.set_attributes, request))

    async def remove(
        self, _call: Call, path: FilePath, *, recursive: bool, condition: Precondition
    ) -> Removed:
        """Remove; of a large tree a part, as its owner sees fit."""
        request = RemoveRequest(
            path=str(path),
            recursive=recursive,
            if_version=condition.if_version,
            takes_parts=True,
        )
        answer = await self._control.call(self._stub.remove, request)
        return Removed(answer.removed_count, not answer.is_unfinished)

    async def move(
        self, _call: Call, source: FilePath, target: FilePath, *, condition: Precondition
    ) -> Entry:
        """Rename."""
        request = MoveRequest(
            source=str(source), destination=str(target), if_version=condition.if_version
        )
        return taken(entry_from, await self._control.call(self._stub.move, request))
