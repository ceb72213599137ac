"""Whose lease gives way, and which replaced versions are given up although somebody may read them: pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from typing import Final, TypeVar

from collective.core.ids import SpiffeId

LEASES_MAX: Final = 100_000
LEASES_PER_HOLDER_MAX: Final = 10_000
"""Who takes more loses the one that they have not used for longest; so does, when LEASES_MAX are held,
the one who holds most: nobody can take every lease there is.  The people of a peer count as one."""

T = TypeVar("T")


def who_gives_way(
    holder: SpiffeId, held: Mapping[SpiffeId, Collection[T]], total: int
) -> SpiffeId | None:
    """Return who loses a lease so that ``holder`` may take one more; None where there is room.

    Args:
        holder: who takes one.
        held: the leases of each.
        total: how many these are.
    """
    if len(held.get(holder, ())) >= LEASES_PER_HOLDER_MAX:
        return holder
    if total >= LEASES_MAX:
        return max(held, key=lambda one: len(held[one]))
    return None


def given_up(
    versions: Iterable[int], is_leased: Callable[[int], bool], beyond_quota: Container[int]
) -> list[int]:
    """Return those of the replaced ``versions`` that are given up.

    A lease keeps a version, but for one that is beyond what its datastore's quota keeps for readers.
    """
    return [one for one in versions if one in beyond_quota or not is_leased(one)]
