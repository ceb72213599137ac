"""Whose a key is: pure.

An identity has the keys that it was claimed or lent by.  A key is *vouched for* where somebody who
could know said so: an admin by a certificate of their own making, or a device of the identity that is
vouched for itself.  A key that came by a user's invite is not: whoever held the invite chose the name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from collective.access.grant_book import GrantBook
from collective.catalog.decisions.codes import require_admissible_key
from collective.catalog.decisions.grants import is_admin
from collective.core.errors import ConflictError, NameTakenError, ShutOutError
from collective.core.ids import SpiffeId
from collective.model.people import InviteKind

Keys = Mapping[bytes, bool]
"""SHA-256 of each key of an identity, and whether it is vouched for."""


def require_renewable(identity: SpiffeId, key_digest: bytes, book: GrantBook) -> None:
    """Raise ConflictError where a certificate would renew one whose identity or key was revoked."""
    require_admissible_key(key_digest, book)
    if book.is_revoked(identity):
        raise ConflictError(f"{identity.shown} was revoked here; ask the operator.")


def require_not_shut_out(key_digest: bytes, book: GrantBook) -> None:
    """Raise ShutOutError for a certificate whose key was revoked, whichever identity it names."""
    if book.is_revoked_key(key_digest):
        raise ShutOutError


def has_bound_keys(identity: SpiffeId) -> bool:
    """Tell whether keys are bound to such an identity: to a user's, of which there may be several."""
    return identity.role == "user"


def was_given_by_admins(identity: SpiffeId, book: GrantBook, now_s: float) -> bool:
    """Tell whether an admin gave ``identity`` rights before it joined: it is somebody's then."""
    return any(is_admin(book, one.granted_by, now_s) for one in book.given_to(identity))


def require_claimable(
    identity: SpiffeId, keys: Keys, key_digest: bytes, kind: InviteKind, *, has_rights: bool
) -> None:
    """Raise NameTakenError where a user's invite would add a key to an identity that is not the holder's.

    Rights that an admin gave before it joined here count as much as a key (its certificate may be of
    'pki issue'): whoever holds any invite could otherwise take them over by naming it.  One sentence
    for both, so that an invite does not tell who is known here.

    Args:
        identity: that is claimed.
        keys: that it has.
        key_digest: of the key that claims it.
        kind: of the invite.
        has_rights: an admin gave it some; of no account where it has keys, or the invite is for a device.
    """
    if kind is InviteKind.USER and key_digest not in keys and (keys or has_rights):
        raise NameTakenError(
            f"{identity.global_id} cannot be had by this invite; choose another global id, or, if"
            " it is yours, run 'collective identity add-device' on a machine that has it, or have"
            " the operator issue its certificate with 'collective pki issue'."
        )


def is_vouched_device(keys: Keys, kind: InviteKind, created_key: bytes | None) -> bool:
    """Tell whether a key that comes by an invite is vouched for: a device is, by the one that made it.

    Args:
        keys: that the identity has.
        kind: of the invite.
        created_key: that made the invite; None where that was not kept.
    """
    likely = bool(keys) and all(keys.values())
    return kind is InviteKind.DEVICE and keys.get(created_key or b"", likely)


def is_new_from_outside(
    identity: SpiffeId, keys: Keys, key_digest: bytes, is_revoked: Callable[[bytes], bool]
) -> bool:
    """Tell whether a key whose certificate was made outside of the member is to be bound.

    Raises:
        ConflictError: somebody has claimed the identity by an invite, with another key.
    """
    if key_digest in keys:
        return False
    claimed = [one for one, vouched in keys.items() if not vouched and not is_revoked(one)]
    if claimed:
        raise ConflictError(
            f"{identity.global_id} was claimed by an invite with another key, so this certificate"
            " does not count beside it; the operator decides: collective identity list, then"
            f" collective identity revoke key:{claimed[0].hex()}, or another global id."
        )
    return True
