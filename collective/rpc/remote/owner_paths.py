"""What stands below ``/@DOMAIN``, as the member of that domain calls it, and back.

The owner hears of ``/…``; what it answers is put below ``/@DOMAIN`` again.  What it cannot have been asked for
is not taken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from collective.core import limits
from collective.core.errors import RejectedError
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.model.changes import Changes, ListAnew, Since
from collective.model.entries import Entry, EntryKind
from collective.model.grants import Grant
from collective.model.pages import EntryPage


class OwnerPaths:
    """The names of one owner's things, here and there."""

    def __init__(self, domain: Domain) -> None:
        """Translate for the member of ``domain``."""
        self.domain: Final = domain
        self.root: Final = FilePath((f"@{domain}",))

    def at_owner(self, path: FilePath) -> FilePath:
        """Return what the owner calls a path below ``/@DOMAIN``."""
        assert path.starts_with(self.root)
        return FilePath(path.names[1:])

    def path_here(self, path: FilePath) -> FilePath:
        """Return a path of the owner's as it is called here."""
        return FilePath((*self.root.names, *path.names))

    def here(self, entry: Entry) -> Entry:
        """Return an entry of the owner's as it is called here."""
        kind = EntryKind.PEER if entry.path.is_root else entry.kind
        return entry._replace(path=self.path_here(entry.path), kind=kind)

    def answered(self, entry: Entry, path: FilePath) -> Entry:
        """Return the entry that the owner answers for ``path``, as it is called here.

        RejectedError where it is of another path.
        """
        found = self.here(entry)
        if found.path != path:
            raise RejectedError(f"{self.domain} answers with another path than it was asked for.")
        return found

    def listed(self, page: EntryPage, path: FilePath) -> EntryPage:
        """Return a page of a listing of ``path`` as it is called here.

        RejectedError where something lies outside of ``path``, or the token is too long.
        """
        found = [self.here(entry) for entry in page.entries]
        if not all(entry.path.starts_with(path) for entry in found):
            raise RejectedError(f"{self.domain} lists what is not in the folder it was asked for.")
        if len(page.next_token) > limits.PAGE_TOKEN_MAX_CHARS:
            raise RejectedError(f"{self.domain} answers with a page token that is too long.")
        return EntryPage(found, page.next_token)

    def since_here(self, found: Since) -> Since:
        """Return what changed at the owner as it is called here."""
        if isinstance(found, ListAnew):
            return found
        changes = [
            replace(
                one,
                path=self.path_here(one.path),
                entry=None if one.entry is None else self.here(one.entry),
            )
            for one in found.changes
        ]
        return replace(found, changes=changes)

    def changed(self, found: Since, folder: FilePath) -> Since:
        """Return what the owner answers of changes in ``folder``, as it is called here.

        RejectedError where something lies outside of ``folder``.
        """
        here = self.since_here(found)
        if isinstance(here, Changes) and not all(
            one.path.starts_with(folder) and (one.entry is None or one.entry.path == one.path)
            for one in here.changes
        ):
            raise RejectedError(
                f"{self.domain} tells of what is not in the folder that is watched."
            )
        return here

    def id_here(self, grant_id: str) -> str:
        """Return the id of a grant of the owner's as it is called here."""
        return f"{grant_id}@{self.domain}"

    def grant_here(self, grant: Grant) -> Grant:
        """Return a grant of the owner's as it is called here."""
        return replace(
            grant,
            id=self.id_here(grant.id),
            path=self.path_here(grant.path),
            sources=tuple(self.id_here(one) for one in grant.sources),
        )
