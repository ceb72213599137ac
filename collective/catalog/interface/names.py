"""What the catalogue promises about the tree of names."""

from __future__ import annotations

from typing import Protocol

from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.pages import EntryPage
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition, Removed


class Names(Protocol):
    """The tree of names."""

    async def make_directory(
        self,
        caller: Call,
        path: FilePath,
        *,
        parents: bool,
        attributes: Attributes | None = None,
    ) -> Entry:
        """Make a directory, or a datastore at top level (needs ``write``).

        ``attributes``: its time and mode, if it is made by this call; parents get the defaults.

        A missing parent is NotFoundError "Parent directory does not exist" with the mkdir to run,
        unless ``parents``; an existing name is ConflictError, unless ``parents`` and a directory.
        """
        ...

    async def make_link(
        self,
        caller: Call,
        path: FilePath,
        target: bytes,
        attributes: Attributes,
        condition: Precondition,
    ) -> Entry:
        """Make a symbolic link (needs ``write``), in the place of a file or link that may be there.

        It counts in quotas as a name and its target, and for no file.  Nothing ever follows it: a
        path that leads through it does not exist, and reading it is ConflictError.
        """
        ...

    async def set_attributes(
        self,
        caller: Call,
        path: FilePath,
        *,
        modified_ns: int | None,
        mode: int | None,
        condition: Precondition,
    ) -> Entry:
        """Change time and mode (None: as it is) of what is at ``path`` (needs ``write``).

        A file or link has a new version afterwards, with the same content.  A link has no mode, and
        ``/`` has neither.
        """
        ...

    async def stat(self, caller: Call, path: FilePath) -> Entry:
        """Return one entry; folders above a grant can be seen too (only as a way to it)."""
        ...

    async def rights(self, caller: Call, path: FilePath) -> Right:
        """Return what the caller may do at ``path``; it says nothing of what is there.

        None of the rights above the caller's grants, PermissionDeniedError outside of them.
        """
        ...

    async def list(
        self, caller: Call, path: FilePath, *, recursive: bool, page_size: int, token: str
    ) -> EntryPage:
        """Return one page below ``path`` (a file lists itself), only what the caller may see."""
        ...

    async def remove(
        self,
        caller: Call,
        path: FilePath,
        *,
        recursive: bool,
        condition: Precondition,
        budget_s: float | None = None,
    ) -> Removed:
        """Remove a file, a link, an empty directory, or a tree, whose deepest names go first.

        Of a large tree that takes longer than ``budget_s`` (None: however long) only a part goes.
        """
        ...

    async def move(
        self, caller: Call, source: FilePath, target: FilePath, *, condition: Precondition
    ) -> Entry:
        """Rename; a file or link at the target is replaced by one, anything else is a conflict.

        Rights: read+write at the source, write at the destination, and share at the source where
        anyone would gain access by it.  Moving a directory into itself is a conflict.
        """
        ...
