"""Who may give and end grants, and how many there may be: pure, over the book of all grants.

Places are bounded by giver (a peer is one, whoever its people are), by receiver, from one to the other, and in all.  Nobody can take all of
them: not a giver's own, not a receiver's, and those of admins are apart.  What has ended gives way
where a place is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.core import limits
from collective.core.errors import ConflictError, NotFoundError, PermissionDeniedError
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.grants import Grant


def is_admin(book: GrantBook, who: SpiffeId, now_s: float) -> bool:
    """Tell whether ``who`` is the operator or an admin at ``now_s`` (Unix); nobody revoked is."""
    if book.is_revoked(who):
        return False
    return Decider(Call(who, is_operator=who.role == "coordinator"), book, now_s).is_admin


def as_given(decider: Decider, book: GrantBook, wanted: Grant, now_s: float) -> Grant:
    """Return what the caller gives who asks to give ``wanted``: what was passed on ends with its sources.

    Raises:
        ConflictError: the receiver was revoked.
        PermissionDeniedError: it is more than the caller may pass on.
    """
    caller = decider.caller
    decider.require_share(wanted.path, wanted.rights)
    if book.is_revoked(wanted.principal):
        raise ConflictError(f"{wanted.principal.global_id or wanted.principal} was revoked here.")
    if caller.is_operator:
        return wanted
    sources = book.sources(caller.principal, wanted.path, wanted.rights, now_s) or ()
    until_s = min(book.until(sources), wanted.expires_s or math.inf)
    return replace(wanted, expires_s=None if until_s == math.inf else until_s, sources=sources)


def require_may_end(grant: Grant | None, caller: Call, *, is_admin: bool) -> Grant:
    """Return the grant that the caller may end, and whose absence only an admin is told.

    Raises:
        NotFoundError: to an admin.
        PermissionDeniedError: to others, also where there is none.
    """
    if grant is None and is_admin:
        raise NotFoundError("There is no such grant; run: collective grant list")
    if grant is None or not (is_admin or caller.principal in {grant.granted_by, grant.principal}):
        raise PermissionDeniedError(
            "Only an operator, its giver or its receiver may end a grant; ask one of them."
        )
    return grant


def require_places(
    book: GrantBook,
    call: Call,
    receiver: SpiffeId,
    more: int,
    *,
    now_s: float,
    did_much_today: Callable[[], bool],
) -> None:
    """Raise ConflictError unless the caller may give ``receiver`` so many grants more.

    Args:
        book: all grants.
        call: who gives; those of a peer have the places of one together.
        receiver: to whom.
        more: how many.
        now_s: Unix seconds.
        did_much_today: tells whether the giver has changed rights as often as one may in a day; it is
            asked only of those whom it binds.
    """
    giver, member = call.principal, call.via
    if len(book) + more > limits.GRANTS_MAX:
        raise ConflictError("There are too many grants here; remove some, or grant a folder above.")
    if is_admin(book, giver, now_s):
        return
    if did_much_today():
        raise ConflictError(
            f"{giver.global_id or giver} has changed who may do what as often as one may in 24 hours;"
            " wait, or ask the operator."
        )
    if len(book) + more > limits.GRANTS_PASSED_ON_MAX:
        raise ConflictError("There are too many grants here; ask the operator to remove some.")
    all_given = book.given_by(giver) if member is None else book.given_by_member(member)
    given = _live(book, all_given, limits.GRANTS_PER_GIVER_MAX - more, now_s)
    if len(given) + more > limits.GRANTS_PER_GIVER_MAX:
        raise ConflictError(
            f"{giver.global_id or giver} has given {limits.GRANTS_PER_GIVER_MAX} grants, which is the"
            " most; remove some, or grant a folder above."
        )
    who = receiver.global_id or receiver
    if sum(one.principal == receiver for one in given) + more > limits.GRANTS_PER_PAIR_MAX:
        raise ConflictError(
            f"{giver.global_id or giver} has given {who} {limits.GRANTS_PER_PAIR_MAX} grants, which is"
            " the most; remove some, or grant a folder above."
        )
    had = _live(book, book.given_to(receiver), limits.GRANTS_PER_RECEIVER_MAX - more, now_s)
    if len(had) + more > limits.GRANTS_PER_RECEIVER_MAX:
        raise ConflictError(
            f"{who} has {limits.GRANTS_PER_RECEIVER_MAX} grants, which is the most; have some removed."
        )


def _live(book: GrantBook, grants: Sequence[Grant], room: int, now_s: float) -> Sequence[Grant]:
    """Return those of ``grants`` that count: all of them, or where that is too many, the live ones."""
    if len(grants) <= room:
        return grants
    return [one for one in grants if book.is_live(one, now_s)]
