"""The names of every member that can be reached from here, as one tree: each call goes to who has its path."""

from __future__ import annotations

from collective.core.errors import ConflictError
from collective.core.paths import FilePath
from collective.member.files.interface import Names
from collective.member.files.member_directory import MemberDirectory
from collective.model.calls import Call
from collective.model.changes import Since
from collective.model.entries import Entry, EntryKind
from collective.model.pages import EntryPage
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition, Removed


class NameDirectory:
    """:class:`~collective.member.files.interface.Names` of all members together; peers stand in the root."""

    def __init__(self, owners: MemberDirectory) -> None:
        """Know the members that ``owners`` do."""
        self._owners = owners

    def _of(self, call: Call, path: FilePath) -> Names:
        return self._owners.of_path(call, path).names

    async def stat(self, call: Call, path: FilePath) -> Entry:
        """Return what ``path`` names."""
        return await self._of(call, path).stat(call, path)

    async def rights(self, call: Call, path: FilePath) -> Right:
        """Return what the caller may do at ``path``."""
        return await self._of(call, path).rights(call, path)

    async def list(
        self, call: Call, path: FilePath, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page of what is below ``path``; peers come beside the first page of the root."""
        page = await self._of(call, path).list(
            call, path, recursive=recursive, page_size=page_size, token=token
        )
        if not path.is_root or token:
            return page
        peers = [
            Entry(FilePath((f"@{domain}",)), EntryKind.PEER) for domain in self._owners.peers(call)
        ]
        return EntryPage([*peers, *page.entries], page.next_token)

    async def changes(
        self, call: Call, path: FilePath, cursor: str, *, wait_s: float, page_size: int
    ) -> Since:
        """Return what changed in ``path`` since ``cursor``, or wait for a first change."""
        owner = self._owners.of_path(call, path)
        return await owner.changes.since(call, path, cursor, wait_s=wait_s, page_size=page_size)

    async def make_directory(
        self,
        call: Call,
        path: FilePath,
        *,
        parents: bool,
        attributes: Attributes | None = None,
    ) -> Entry:
        """Make a directory, or a datastore at top level."""
        return await self._of(call, path).make_directory(
            call, path, parents=parents, attributes=attributes
        )

    async def make_link(
        self,
        call: Call,
        path: FilePath,
        target: bytes,
        attributes: Attributes,
        condition: Precondition,
    ) -> Entry:
        """Make a symbolic link."""
        return await self._of(call, path).make_link(call, path, target, attributes, condition)

    async def set_attributes(
        self,
        call: Call,
        path: FilePath,
        *,
        modified_ns: int | None,
        mode: int | None,
        condition: Precondition,
    ) -> Entry:
        """Change time and mode."""
        return await self._of(call, path).set_attributes(
            call, path, modified_ns=modified_ns, mode=mode, condition=condition
        )

    async def remove(
        self,
        call: Call,
        path: FilePath,
        *,
        recursive: bool,
        condition: Precondition,
        budget_s: float | None = None,
    ) -> Removed:
        """Remove; of a large tree a part, as much as ``budget_s`` allows."""
        return await self._of(call, path).remove(
            call, path, recursive=recursive, condition=condition, budget_s=budget_s
        )

    async def move(
        self, call: Call, source: FilePath, target: FilePath, *, condition: Precondition
    ) -> Entry:
        """Rename within one member; ConflictError between two."""
        names = self._of(call, source)
        if self._of(call, target) is not names:
            raise ConflictError("Nothing is moved from one member to another; copy it instead.")
        return await names.move(call, source, target, condition=condition)
