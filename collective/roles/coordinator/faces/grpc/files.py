"""The Files service: names, that is directories, listings, attributes, removal, moves."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from collective.core import limits
from collective.core.errors import BusyError, NotFoundError, UsageError
from collective.core.paths import FilePath
from collective.member.files.name_directory import NameDirectory
from collective.model.writing import Precondition, Removed
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.changes import since_message
from collective.rpc.conversions.entries import (
    attributes_from,
    entry_message,
    mode_from,
    modified_from,
)
from collective.rpc.conversions.rights import right_messages
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import files as files_pb
from collective.rpc.server import context

_PAGE_DEFAULT = 1000
_ANSWER_S: Final = 1.0
"""So long before its caller's deadline a wait ends."""
_REMOVAL_BUDGET_S: Final = 1.0
"""How long one call removes of a tree: its caller calls again, and can tell how far it is."""
_REMOVAL_PARTS_MAX: Final = 60
"""How many times that is done in one call for a caller that does not take parts."""


async def _remove_all(remove: Callable[[], Awaitable[Removed]]) -> Removed:
    """Remove part by part until nothing is left, for a caller that would take a part for all.

    BusyError where that takes too many parts.
    """
    gone = 0
    for _ in range(_REMOVAL_PARTS_MAX):
        try:
            part = await remove()
        except NotFoundError:
            if not gone:
                raise
            return Removed(gone, is_all=True)  # somebody else removed the rest
        gone += part.names
        if part.is_all:
            return Removed(gone, is_all=True)
    raise BusyError(f"{gone:,} names of it are removed, and more are there; repeat the call.")


class FilesService(files_pb.FilesBase):
    """Adapts names."""

    def __init__(self, names: NameDirectory, admission: Admission) -> None:
        """Serve ``names``, each wherever it is."""
        self._names = names
        self._admission = admission

    async def make_directory(self, message: files_pb.MakeDirectoryRequest) -> pb.Entry:
        """Make a directory or a datastore."""
        async with self._admission.call("mkdir", message.path) as call:
            path = FilePath.parse(message.path)
            entry = await self._names.make_directory(
                call,
                path,
                parents=message.parents,
                attributes=attributes_from(message.attributes),
            )
            return entry_message(entry)

    async def make_link(self, message: files_pb.MakeLinkRequest) -> pb.Entry:
        """Make a symbolic link."""
        async with self._admission.call("make_link", message.path) as call:
            path = FilePath.parse(message.path)
            entry = await self._names.make_link(
                call,
                path,
                message.target,
                attributes_from(message.attributes),
                Precondition(if_version=message.if_version, if_absent=message.if_absent),
            )
            return entry_message(entry)

    async def set_attributes(self, message: files_pb.SetAttributesRequest) -> pb.Entry:
        """Change time and mode of what is there."""
        async with self._admission.call("set_attributes", message.path) as call:
            path = FilePath.parse(message.path)
            entry = await self._names.set_attributes(
                call,
                path,
                modified_ns=modified_from(message.modified_s, message.modified_ns),
                mode=mode_from(message.mode),
                condition=Precondition(if_version=message.if_version),
            )
            return entry_message(entry)

    async def list(self, message: files_pb.ListRequest) -> files_pb.ListResponse:
        """Return one page of what the caller may see."""
        async with self._admission.call("list", message.path) as call:
            path = FilePath.parse(message.path)
            if len(message.page_token) > limits.PAGE_TOKEN_MAX_CHARS:
                raise UsageError("The page token is malformed; begin the listing again.")
            page = await self._names.list(
                call,
                path,
                recursive=message.recursive,
                page_size=min(message.page_size or _PAGE_DEFAULT, limits.LIST_PAGE_MAX_ENTRIES),
                token=message.page_token,
            )
            return files_pb.ListResponse(
                entries=[entry_message(entry) for entry in page.entries],
                next_page_token=page.next_token,
            )

    async def stat(self, message: files_pb.StatRequest) -> pb.Entry:
        """Return one entry."""
        async with self._admission.call("stat", message.path) as call:
            path = FilePath.parse(message.path)
            return entry_message(await self._names.stat(call, path))

    async def rights(self, message: files_pb.RightsRequest) -> files_pb.RightsResponse:
        """Return what the caller may do at a path."""
        async with self._admission.call("rights", message.path) as call:
            path = FilePath.parse(message.path)
            rights = await self._names.rights(call, path)
            return files_pb.RightsResponse(rights=right_messages(rights))

    async def changes(self, message: files_pb.ChangesRequest) -> files_pb.ChangesResponse:
        """Return what changed in a folder, or wait for a first change."""
        async with self._admission.call("changes", message.path) as call:
            path = FilePath.parse(message.path)
            if len(message.cursor) > limits.CURSOR_MAX_CHARS:
                raise UsageError("The cursor is malformed; watch the folder anew, without one.")
            until_late_s = context.remaining_s(math.inf) - _ANSWER_S
            found = await self._names.changes(
                call,
                path,
                message.cursor,
                wait_s=min(message.wait_ms / 1000, until_late_s),
                page_size=message.page_size or _PAGE_DEFAULT,
            )
            return since_message(found)

    async def remove(self, message: files_pb.RemoveRequest) -> files_pb.RemoveResponse:
        """Remove a file, an empty directory or a tree; of a large one a part, for a caller that takes parts."""
        async with self._admission.call("remove", message.path) as call:
            path = FilePath.parse(message.path)
            remove = partial(
                self._names.remove,
                call,
                path,
                recursive=message.recursive,
                condition=Precondition(if_version=message.if_version),
                budget_s=_REMOVAL_BUDGET_S,
            )
            done = await (remove() if message.takes_parts else _remove_all(remove))
            return files_pb.RemoveResponse(removed_count=done.names, is_unfinished=not done.is_all)

    async def move(self, message: files_pb.MoveRequest) -> pb.Entry:
        """Rename a file or a directory."""
        target = f"{message.source} -> {message.destination}"
        async with self._admission.call("move", target) as call:
            source, destination = (
                FilePath.parse(message.source),
                FilePath.parse(message.destination),
            )
            entry = await self._names.move(
                call,
                source,
                destination,
                condition=Precondition(if_version=message.if_version),
            )
            return entry_message(entry)
