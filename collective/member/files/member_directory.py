"""Which member has a file: by a path's first name, or the domain in the id of an upload or a lease.

Today every file is this member's.  What names another is not found, and that is decided before
anything is looked up.
"""

from __future__ import annotations

from typing import Final

from collective.core.errors import NotFoundError
from collective.core.ids import Domain, LeaseId, UploadId
from collective.core.paths import FilePath
from collective.member.files.interface import Files


class MemberDirectory:
    """The members whose files can be reached from here."""

    def __init__(self, domain: Domain, files: Files) -> None:
        """Know the member of ``domain``, which is this one."""
        self.domain: Final = domain
        self._files = files

    def of_path(self, path: FilePath) -> Files:
        """Return the files that have ``path``; NotFoundError for ``/@DOMAIN`` of a stranger."""
        if path.names and path.names[0].startswith("@"):
            raise _stranger(path.peer_domain)
        return self._files

    def of_id(self, named: UploadId | LeaseId) -> Files:
        """Return the files that an upload or a lease is of; NotFoundError for a stranger's."""
        if named.domain != self.domain:
            raise _stranger(named.domain)
        return self._files


def _stranger(domain: Domain | None) -> NotFoundError:
    return NotFoundError(f"No peer {domain} is known here; ask the operator to peer with it first.")
