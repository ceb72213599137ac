"""How many grants there may be, and how often one may change them: the audit's part of it."""

from __future__ import annotations

from collective.catalog.decisions import grants
from collective.catalog.sqlite.audit.retention import RIGHTS
from collective.catalog.sqlite.store.writer import Transaction
from collective.core import limits
from collective.core.ids import SpiffeId


def require_places(tx: Transaction, giver: SpiffeId, receiver: SpiffeId, more: int) -> None:
    """Raise ConflictError unless ``giver`` may give ``receiver`` so many grants more."""
    grants.require_places(
        tx.book,
        giver,
        receiver,
        more,
        now_s=tx.now_s,
        did_much_today=lambda: _did_much_today(tx, giver),
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
