"""Dropping the audit's oldest rows of its most frequent actor, in transactions of bounded size.

What is to go is worked out once, from one count of each actor's rows; then it goes step by step, so
that other writes have their turn between.  Each actor's drop leaves one row that says how many have
gone so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from collective.catalog.sqlite.store.writer import Transaction

STEP_ROWS_MAX: Final = 100
"""Rows that one transaction drops or writes."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The oldest rows of one sort and actor, of which some may have gone already."""

    about: str
    """The sort, for the row that tells of it."""
    drop: str
    """Statement that deletes an actor's oldest rows, as many as said."""
    actor: str
    left: int
    gone: int = 0
    row: int | None = None
    """The row that tells of it."""


def shares(counts: Mapping[str, int], excess: int) -> dict[str, int]:
    """Return how many rows go of each actor, ``excess`` in all: those with most come to one level."""
    tallies = sorted(counts.items(), key=lambda tally: -tally[1])
    above = 0  # what goes if the first ones come down to the next one's count
    for place, (_, count) in enumerate(tallies, start=1):
        lower = tallies[place][1] if place < len(tallies) else 0
        above += place * (count - lower)
        if above >= excess:
            spare, extra = divmod(above - excess, place)
            level = lower + spare
            return {
                actor: had - level - (number < extra)
                for number, (actor, had) in enumerate(tallies[:place])
                if had - level - (number < extra) > 0
            }
    return dict(tallies)


def drop(tx: Transaction, cuts: Sequence[Cut]) -> Sequence[Cut]:
    """Drop up to :data:`STEP_ROWS_MAX` rows in a step; return what is left to do."""
    budget, left = STEP_ROWS_MAX, list(cuts)
    for cut in tx.unspent(cuts):
        number = min(cut.left, budget - 1)
        if number <= 0:
            break
        tx.run(cut.drop, cut.actor, number)
        done = replace(cut, left=cut.left - number, gone=cut.gone + number)
        row = _tell(tx, done)
        budget -= number + 1
        if done.left:
            left[0] = replace(done, row=row)
            break
        del left[0]
    return left


def _tell(tx: Transaction, cut: Cut) -> int:
    detail = f"the {cut.gone} oldest rows about {cut.about}"
    return tx.audit_of("coordinator", "audit-drop", cut.actor, detail, row=cut.row)
