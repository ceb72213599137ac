"""How many grants there may be: by giver, by receiver, from one to the other, and in all.

Nobody can take all places: not a giver's own, not a receiver's, and those of admins are apart.  What
has ended gives way where a place is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

from collective.access.permissions import Decider
from collective.catalog.sqlite.retention import RIGHTS
from collective.catalog.sqlite.writer import Transaction
from collective.core import limits
from collective.core.errors import ConflictError
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.grants import Grant


def is_admin(tx: Transaction, who: SpiffeId) -> bool:
    """Tell whether ``who`` is the operator or an admin now; nobody revoked is."""
    if tx.book.is_revoked(who):
        return False
    return Decider(Call(who, is_operator=who.role == "coordinator"), tx.book, tx.now_s).is_admin


def require_places(tx: Transaction, giver: SpiffeId, receiver: SpiffeId, more: int) -> None:
    """Raise ConflictError unless ``giver`` may give ``receiver`` so many grants more."""
    if len(tx.book) + more > limits.GRANTS_MAX:
        raise ConflictError("There are too many grants here; remove some, or grant a folder above.")
    if is_admin(tx, giver):
        return
    if _did_much_today(tx, giver):
        raise ConflictError(
            f"{giver.global_id or giver} has changed who may do what as often as one may in 24 hours;"
            " wait, or ask the operator."
        )
    if len(tx.book) + more > limits.GRANTS_PASSED_ON_MAX:
        raise ConflictError("There are too many grants here; ask the operator to remove some.")
    given = _live(tx, tx.book.given_by(giver), limits.GRANTS_PER_GIVER_MAX - more)
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
    had = _live(tx, tx.book.given_to(receiver), limits.GRANTS_PER_RECEIVER_MAX - more)
    if len(had) + more > limits.GRANTS_PER_RECEIVER_MAX:
        raise ConflictError(
            f"{who} has {limits.GRANTS_PER_RECEIVER_MAX} grants, which is the most; have some removed."
        )


def _did_much_today(tx: Transaction, giver: SpiffeId) -> bool:
    """Tell whether the audit has as much of ``giver`` as may be in a day: it must last for years."""
    since_ms = tx.value(
        f"SELECT at_ms FROM audit WHERE {RIGHTS} AND actor = ?"  # noqa: S608 - a constant
        " ORDER BY id DESC LIMIT 1 OFFSET ?",
        str(giver),
        limits.RIGHTS_CHANGES_PER_DAY_MAX - 1,
    )
    return since_ms is not None and since_ms > tx.now_ms - 86_400_000


def _live(tx: Transaction, grants: Sequence[Grant], room: int) -> Sequence[Grant]:
    """Return those of ``grants`` that count: all of them, or where that is too many, the live ones."""
    if len(grants) <= room:
        return grants
    return [one for one in grants if tx.book.is_live(one, tx.now_s)]
