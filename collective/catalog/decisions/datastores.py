"""Which policy a datastore may have, whose it is, and what a change of either unsettles: pure.

What fits into one is decided in ``quotas``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from collective.access.grant_book import GrantBook
from collective.access.permissions import ALL_RIGHTS, Decider
from collective.core import limits
from collective.core.errors import ConflictError, NotFoundError, PermissionDeniedError, UsageError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant

MEMBER: Final = "member"
"""Stands for an owner where the datastore is to be the member's own."""


def require_policy(path: FilePath, *, copies: int, quota_bytes: int) -> None:
    """Raise UsageError unless a datastore at ``path`` may have this policy (0: the setting, no quota)."""
    if len(path.names) != 1 or path.names[0].startswith("@"):
        raise UsageError("A datastore is a top-level path, like /media.")
    if not 0 <= copies <= limits.COPIES_MAX:
        raise UsageError(
            f"A datastore may have 1 to {limits.COPIES_MAX} copies, or 0: the setting."
        )
    if not 0 <= quota_bytes <= limits.FILE_MAX_BYTES:
        raise UsageError("A quota is a number of bytes; 0 means none.")


def there_already(path: FilePath) -> ConflictError:
    """Return the error where something has the name of a datastore that is to be made."""
    return ConflictError(f"{path} exists already; use 'collective datastore set'.")


def no_datastore(path: FilePath) -> NotFoundError:
    """Return the error for a path that is no datastore."""
    return NotFoundError(f"{path} is no datastore; run: collective datastore list")


def require_admissible_owner(owner: SpiffeId | None, book: GrantBook) -> None:
    """Raise ConflictError for an owner who was revoked here; None, the member, always may be."""
    if owner is not None and book.is_revoked(owner):
        raise ConflictError(f"{owner.global_id or owner} was revoked here; name another owner.")


def owner_grant(
    grant_id: str, owner: SpiffeId, path: FilePath, giver: Call, book: GrantBook, now_s: float
) -> Grant:
    """Return what an owner has by owning ``path``: every right, which ends with the giver's own."""
    sources: tuple[str, ...] = ()
    if not giver.is_operator:
        sources = book.sources(giver.principal, path, ALL_RIGHTS, now_s) or ()
    return Grant(grant_id, path, ALL_RIGHTS, owner, giver.principal, None, sources)


class Holder(NamedTuple):
    """Whose a datastore is."""

    owner: SpiffeId | None
    """None: the member's."""
    has_grant: bool
    """They have still what they should have by owning it."""


def is_given(before: Holder, wanted: SpiffeId | Literal["member"] | None) -> bool:
    """Tell whether a datastore is given to ``wanted`` (None: nobody is named).

    It is not where it is theirs already, unless the owner has lost what they should have by that.
    """
    if wanted is None:
        return False
    owner = None if wanted == MEMBER else wanted
    return owner != before.owner or (owner is not None and not before.has_grant)


def keeps_owner_on_rename(*, is_admin: bool) -> bool:
    """Tell whether its owner goes with a datastore that is renamed: only where an admin does it.

    Rights are given by path, and a rename must give nobody any.  Where the owner renames it, it is the
    member's from then on, and they have at the new path what grants give there.
    """
    return is_admin


def copies_asked(own: int, default: int) -> int:
    """Return how many copies a datastore asks for: its ``own`` number, or (0) the setting."""
    return own or default


def unsettles_policy(before: int, after: int | None) -> bool:
    """Tell whether what lies in a datastore wants another number of copies (None: it was not named)."""
    return after is not None and after != before


class Asked(NamedTuple):
    """What is asked for a file where it lies."""

    copies: int
    datastore: int
    """In which its chunks count."""


def unsettles_place(before: Asked, after: Asked) -> bool:
    """Tell whether what came to another place has to be gone through: chunks want and count there."""
    return before != after


def wanted_now(asked: int, wanted: int) -> int:
    """Return how many copies a chunk wants that lost a use, where its other uses ask for ``asked``.

    It is never raised by that; where nothing asks (0), collection decides about the chunk.
    """
    return asked if 0 < asked < wanted else wanted


def most_asked(asked: int, enough: int, *, is_all: bool) -> int:
    """Return what is believed of the uses seen: ``enough`` where they ask for that, or more are unseen."""
    return enough if asked >= enough or not is_all else asked


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
