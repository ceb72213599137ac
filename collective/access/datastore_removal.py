"""Who may take a datastore away: the policy of a datastore must not be shed by making it anew.

Pure, as everything here.  Whoever has ``write`` on a datastore may remove what is in it; the datastore
itself carries what an operator decided, and goes only by those whom that does not bind.
"""

from __future__ import annotations

from dataclasses import dataclass

from collective.access.permissions import Decider
from collective.core.errors import PermissionDeniedError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath


@dataclass(frozen=True, slots=True)
class Holding:
    """What decides who may remove, rename or move one datastore."""

    owner: SpiffeId | None
    """None: the member itself."""
    is_limited: bool
    """An operator has set its quota or its copies."""


def require_disposal(decider: Decider, path: FilePath, holding: Holding) -> None:
    """Check that the caller, who has the rights for it on ``path``, may take the datastore away.

    An admin always may.  A quota or a number of copies binds everybody else, its owner too; an
    owned datastore goes only by its owner; any other by whoever has the rights.
    Raises :class:`PermissionDeniedError`.
    """
    if decider.is_admin:
        return
    if holding.is_limited:
        raise PermissionDeniedError(
            f"An operator has set the policy of {path}, so only an operator may remove or move it;"
            " remove what is in it instead."
        )
    if holding.owner not in {None, decider.caller.principal}:
        raise PermissionDeniedError(
            f"{path} belongs to someone else; only its owner or an operator may remove or move it."
        )
