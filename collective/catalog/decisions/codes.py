"""Join codes: who may make one, what it passes on, how many there may be, and what is refused: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.core import limits
from collective.core.errors import ConflictError, NameTakenError, PermissionDeniedError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.people import Invite, InviteKind
from collective.model.rights import GrantTerms, Right

_REFUSALS: Final = {
    "revoked": "This invite was revoked; ask for a new one.",
    "expired": "This invite has expired; ask for a new one.",
    "used up": "This invite is used up; ask for a new one.",
    "void": "This invite is void, since whoever made it lost the right to; ask for a new one.",
}

Sources = Sequence[Sequence[str]]
"""For each grant of a code, the ids of its maker's own grants that it comes from."""


class Authorised(NamedTuple):
    """A code that may be made."""

    code: Invite
    """As it is to be stored."""
    sources: Sources


class CodesMade(NamedTuple):
    """What the codes that are there come to."""

    today: int
    """Of this maker, within 24 hours."""
    today_bytes: int
    """What these take in the catalogue."""
    still_open: int
    """Of this maker, those that can be redeemed."""
    all_bytes: int
    """Of everybody's."""


def authorise(
    actor: Call, code: Invite, decider: Decider, book: GrantBook, now_s: float
) -> Authorised:
    """Return ``code`` as ``actor`` may make it: it ends with the first of the rights that it passes on.

    Raises:
        PermissionDeniedError: they may not share what it gives, or make a code of this kind; or another
            member vouches for them, by whose word nobody becomes known here.
    """
    if actor.via is not None:
        raise PermissionDeniedError(
            "People of a peer give grants and no invites; ask the operator for one."
        )
    stored = replace(code, created_by=actor.principal, created_s=code.created_s or now_s)
    if code.kind is InviteKind.DEVICE:
        if code.bound != actor.principal or code.grants or actor.is_operator:
            raise PermissionDeniedError("A device is added to one's own identity only.")
        return Authorised(stored, ())
    if actor.is_operator:
        return Authorised(stored, [() for _ in code.grants])
    if code.kind is not InviteKind.USER:
        decider.require_admin(f"make an invite for a {code.kind.value}")
        wanted = [GrantTerms(FilePath(), Right.READ | Right.WRITE | Right.SHARE)]
    else:
        wanted = list(code.grants)
        if not wanted:
            decider.require_admin("make an invite that grants nothing")
    sources = []
    for path, rights in wanted:
        decider.require_share(path, rights)
        sources.append(list(book.sources(actor.principal, path, rights, now_s) or ()))
    until_s = book.until(one for some in sources for one in some)
    if until_s < math.inf:
        stored = replace(stored, expires_s=min(stored.expires_s, until_s), grants_expire_s=until_s)
    return Authorised(stored, sources)


def require_room(made: CodesMade, weight_bytes: int) -> None:
    """Refuse a further code of ``weight_bytes`` where its maker, or everybody, has as many as may be."""
    if (
        made.today >= limits.CODES_PER_DAY_MAX
        or made.today_bytes + weight_bytes > limits.CODE_BYTES_PER_DAY_MAX
    ):
        raise ConflictError(
            "You have made as many invites as one may in 24 hours; make one with more uses, or wait."
        )
    if made.all_bytes + weight_bytes > limits.CODE_BYTES_MAX:
        raise ConflictError(
            "There are too many invites here for another; ask the operator for one, or wait a week."
        )
    if made.still_open >= limits.CODES_OPEN_MAX:
        raise ConflictError(
            f"You have {limits.CODES_OPEN_MAX} open invites already; revoke some of them first."
        )


def require_revocable(actor: Call, code: Invite | None, decider: Decider) -> None:
    """Refuse to end a code that is another's, whether or not there is one, or that has been ended."""
    if not decider.is_admin and (code is None or code.created_by != actor.principal):
        raise PermissionDeniedError(
            "Only an operator or its maker may revoke an invite; ask one of them."
        )
    if code is not None and code.revoked:
        raise ConflictError("This invite is revoked already.")


def require_open(code: Invite, now_s: float) -> None:
    """Refuse a code that cannot be redeemed, each time with its own sentence."""
    state = code.state(now_s)
    if state != "open":
        raise ConflictError(_REFUSALS[state])


def require_admissible(identity: SpiffeId, book: GrantBook) -> None:
    """Refuse an identity that was revoked here."""
    if book.is_revoked(identity):
        who = identity.global_id or identity
        raise NameTakenError(f"{who} was revoked here; ask the operator for another identity.")


def require_admissible_key(key_digest: bytes, book: GrantBook) -> None:
    """Refuse a key that was revoked here, whichever identity it wants."""
    if book.is_revoked_key(key_digest):
        raise ConflictError(
            "The key of this machine was revoked here; make another one with 'collective identity"
            " init --force', or ask the operator."
        )


def passed_on(
    code: Invite, sources: Sources, receiver: SpiffeId, ids: Sequence[str], book: GrantBook
) -> list[Grant]:
    """Return the grants that ``receiver`` gets by ``code``, with new ``ids``; each ends with its sources."""
    given = []
    for number, (path, rights) in enumerate(code.grants):
        came_from = tuple(sources[number]) if number < len(sources) else ()
        until_s = book.until(came_from)
        given.append(
            Grant(
                ids[number],
                path,
                rights,
                receiver,
                code.created_by,
                None if until_s == math.inf else until_s,
                came_from,
            )
        )
    return given
