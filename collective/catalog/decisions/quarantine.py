"""Copies that this catalogue never gave out: which are entered or kept, and when they may go: pure.

Nobody here can tell that such a copy is not needed (``generations.belongs_elsewhere``).  So none goes by
itself: only by an admin's word, seven days after it was found and after its node was adopted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final

from collective.core.errors import ConflictError
from collective.model.copies import CopyKey, CopyState
from collective.model.nodes import Discarded, Standing

KEPT_MS: Final = 7 * 24 * 3600 * 1000
"""So long at least a copy stays in quarantine, and so long after its node was adopted."""
ROWS_MAX: Final = 4_000_000
"""Rows over all nodes; of what is beyond there is a figure alone."""
OF_ONE_CHUNK_MAX: Final = 32
"""Rows of one chunk on one node, quarantined or guarded: an honest node has a copy or two of it.  What is beyond is
found again by the next inventory.
"""


def may_enter(held: CopyState | None) -> bool:
    """Tell whether a copy of a chunk in use is entered, doubted: its node has none, or lost the one it had.

    ``held`` is the state of the copy that the node was given; None where it was given none.
    """
    return held is None or held is CopyState.MISSING


def rows_allowed(standing: Standing, kept: Callable[[], int]) -> int:
    """Return how many copies more may be noted one by one; of the others their bytes alone are told.

    A node that is not approved gets no rows: it may invent as many copies as it likes.

    Args:
        standing: of the node that has them.
        kept: returns the copies of all nodes that are noted; asked only where it matters.
    """
    return max(0, ROWS_MAX - kept()) if standing is Standing.APPROVED else 0


def listed(
    told: Sequence[CopyKey], known: Collection[tuple[bytes, int]], room: int
) -> tuple[Sequence[CopyKey], Sequence[CopyKey]]:
    """Return which copies get a row, and of which the bytes alone are told; neither has what has one.

    Args:
        told: what the node says that it has.
        known: chunk id and generation of those that have a row, of the same chunks.
        room: rows that there may be more.
    """
    of_chunk = Counter(chunk for chunk, _ in known)
    rows: list[CopyKey] = []
    rest: list[CopyKey] = []
    for copy in told:
        if (copy.chunk, copy.generation) in known:
            continue
        has_room = len(rows) < room and of_chunk[copy.chunk] < OF_ONE_CHUNK_MAX
        of_chunk[copy.chunk] += has_room
        (rows if has_room else rest).append(copy)
    return rows, rest


def found_until_ms(now_ms: int) -> int:
    """Return until when copies must have been found that may be discarded now."""
    return now_ms - KEPT_MS


def may_discard_on(adopted_ms: int, now_ms: int) -> bool:
    """Tell whether a node's copies may be discarded, as far as its adoption goes (0: it never was)."""
    return adopted_ms <= found_until_ms(now_ms)


def first_may_go_ms(oldest_ms: int | None, adopted_ms: int) -> int:
    """Return when the first copy of a node may be discarded; 0 where it has none (``oldest_ms`` None)."""
    return 0 if oldest_ms is None else max(oldest_ms, adopted_ms) + KEPT_MS


def require_discardable(found: Sequence[Discarded], *, is_restored: bool) -> None:
    """Raise ConflictError where nothing may be discarded.

    Args:
        found: what there is on each node that was named.
        is_restored: the catalogue is restored and not confirmed: nothing is deleted for it.
    """
    if is_restored:
        raise ConflictError(
            "This catalogue is restored, and nothing is deleted until it is adopted: collective"
            " node adopt --all"
        )
    if any(one.copies for one in found):
        return
    waiting = [one.may_ms for one in found if one.may_ms]
    if not waiting:
        raise ConflictError("No copies are quarantined there.")
    when = f"{datetime.fromtimestamp(min(waiting) / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"
    raise ConflictError(
        "Quarantined copies stay for seven days after they were found and their node was adopted; the"
        f" first can be discarded at {when}."
    )
