"""How many grants there may be, and how often one may change them: the audit's part of it."""

from __future__ import annotations

from collective.catalog.decisions import grants
from collective.catalog.sqlite.audit.retention import RIGHTS
from collective.catalog.sqlite.store.writer import Transaction
from collective.core import limits
from collective.core.ids import SpiffeId
from collective.model.calls import Call


def require_places(tx: Transaction, giver: Call, receiver: SpiffeId, more: int) -> None:
    """Raise ConflictError unless ``giver`` may give ``receiver`` so many grants more."""
    grants.require_places(
        tx.book,
        giver,
        receiver,
        more,
        now_s=tx.now_s,
        did_much_today=lambda: _did_much_today(tx, giver),
    )


def _did_much_today(tx: Transaction, giver: Call) -> bool:
    """Tell whether the audit has as much of ``giver`` as may be in a day: it must last for years."""
    first = last = str(giver.principal)
    if giver.via is not None:
        first, last = f"spiffe://{giver.via}/", f"spiffe://{giver.via}0"  # '0' follows '/'
    changes: int = tx.value(
        f"SELECT count(*) FROM (SELECT 1 FROM audit WHERE {RIGHTS}"  # noqa: S608 - a constant
        " AND actor BETWEEN ? AND ? AND at_ms > ? LIMIT ?)",
        first,
        last,
        tx.now_ms - 86_400_000,
        limits.RIGHTS_CHANGES_PER_DAY_MAX,
    )
    return changes >= limits.RIGHTS_CHANGES_PER_DAY_MAX
