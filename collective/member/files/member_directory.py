"""Which member has a file: by a path's first name, or the domain in the id of an upload or a lease.

That is decided before anything is looked up.  A call that came from another member goes to this one's own
files or nowhere: it is never passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from collective.core.errors import ConflictError, NotFoundError
from collective.core.ids import Domain, LeaseId, UploadId
from collective.core.paths import FilePath
from collective.member.files.interface import Files
from collective.model.calls import Call


class OtherMembers(Protocol):
    """The members that this one is peered with."""

    def domains(self) -> Sequence[Domain]:
        """Return the domain of each, in order; answered from what is known, without asking any."""
        ...

    def files(self, domain: Domain) -> Files:
        """Return the files of a peer; NotFoundError for a stranger's."""
        ...


class MemberDirectory:
    """The members whose files can be reached from here."""

    def __init__(self, domain: Domain, files: Files, others: OtherMembers) -> None:
        """Know the member of ``domain``, which is this one, and its peers."""
        self.domain: Final = domain
        self._files = files
        self._others = others

    def of_path(self, call: Call, path: FilePath) -> Files:
        """Return the files that have ``path``; NotFoundError for ``/@DOMAIN`` of a stranger.

        ConflictError where ``call`` came from another member for what is a third one's.
        """
        domain = path.peer_domain
        return self._files if domain is None else self._of(call, domain)

    def of_id(self, call: Call, named: UploadId | LeaseId) -> Files:
        """Return the files that an upload or a lease is of; raises as :meth:`of_path`."""
        return self._files if named.domain == self.domain else self._of(call, named.domain)

    def peers(self, call: Call) -> Sequence[Domain]:
        """Return the peers that ``call`` sees beside the datastores: none, where it came from one."""
        return () if call.via is not None else self._others.domains()

    def _of(self, call: Call, domain: Domain) -> Files:
        if call.via is not None:
            raise ConflictError("A call is passed on to one other member, and no further.")
        if domain == self.domain:
            raise NotFoundError(
                f"{domain} is this member itself; leave /@{domain} out of the path."
            )
        return self._others.files(domain)
