"""Which member a grant is of: by its path, or by the domain in the id of one at a peer (``HEX@home.bob``).

Who may give and end grants, the member decides that they are of.
"""

from __future__ import annotations

from typing import Protocol

from collective.core.errors import ConflictError, NotFoundError
from collective.core.ids import Domain, parse_domain
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.pages import Page
from collective.model.rights import Right


class Grants(Protocol):
    """The grants of one member."""

    async def add_grant(
        self, call: Call, path: FilePath, rights: Right, who: str, expires_s: float | None
    ) -> Grant:
        """Give rights on a path; ``who`` as :mod:`~.receivers` reads it at that member."""
        ...

    async def grants(self, call: Call, *, token: str = "") -> Page[Grant]:
        """Return a page of the caller's grants and what came from them; of all for an admin."""
        ...

    async def remove_grant(self, call: Call, grant_id: str) -> None:
        """End a grant."""
        ...


class GrantsElsewhere(Protocol):
    """The grants of peers."""

    def grants(self, domain: Domain) -> Grants:
        """Return those of a peer; NotFoundError for a stranger's."""
        ...


class GrantDirectory:
    """The members whose grants can be reached from here."""

    def __init__(self, domain: Domain, own: Grants, others: GrantsElsewhere) -> None:
        """Know the member of ``domain``, which is this one, and its peers."""
        self._domain = domain
        self._own = own
        self._others = others

    def of_path(self, call: Call, path: FilePath) -> Grants:
        """Return the grants that one on ``path`` is among."""
        return self.of_domain(call, path.peer_domain)

    def of_id(self, call: Call, text: str) -> tuple[Grants, str]:
        """Return the grants that the one of this id is among, and its id there."""
        grant_id, at, domain = text.partition("@")
        return self.of_domain(call, parse_domain(domain) if at else None), grant_id

    def of_domain(self, call: Call, domain: Domain | None) -> Grants:
        """Return the grants of a member; None: this one.

        Raises NotFoundError for a stranger's, ConflictError for a third member's in a call that came from
        another.
        """
        if domain is None:
            return self._own
        if call.via is not None:
            raise ConflictError("A call is passed on to one other member, and no further.")
        if domain == self._domain:
            raise NotFoundError(f"{domain} is this member itself; leave it out.")
        return self._others.grants(domain)
