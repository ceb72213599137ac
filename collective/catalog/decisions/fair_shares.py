"""Whose turn it is where some items are small and others huge, and each step is bounded.

Half of a step goes to the smallest, so that a huge item holds up no small one; the other half goes to
those that have waited longest, so that no stream of small ones holds up a huge one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def slices(waiting: Sequence[tuple[K, int]], budget: int) -> dict[K, int]:
    """Return how much of each item is done in this step, nothing left out that fits.

    Args:
        waiting: items with what is left of each (at least 1), those that have waited longest first.
        budget: of the step, above 0.

    Returns:
        Shares above 0, in the order in which they are to be done; in all at most ``budget``.
    """
    shares: dict[K, int] = {}
    used = 0
    for key, size in sorted(waiting, key=lambda item: item[1]):
        share = min(size, budget // 2 - used)
        if share <= 0:
            break
        shares[key] = share
        used += share
    for key, size in waiting:
        share = min(size - shares.get(key, 0), budget - used)
        if share > 0:
            shares[key] = shares.get(key, 0) + share
            used += share
    return shares


def even(count: int, budget: int) -> int:
    """Return the share of each of ``count`` items whose size is not known; at least 1."""
    return max(1, budget // max(1, count))
