"""The one back-off policy: how long after a failure to try again, and items put aside meanwhile.

Pure: the caller gives the time and the chance.  A delay doubles with every failure in a row, up to a
bound, and is cut by up to a half at random, so that many that failed together do not return together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

_DOUBLINGS_MAX: Final = 32


class Backoff(NamedTuple):
    """Bounds of the delay in seconds; both above zero, the first at most the second."""

    least_s: float = 1.0
    most_s: float = 60.0

    def delay_s(self, failures: int, uniform: float) -> float:
        """Return the seconds to wait after ``failures`` (>= 1) in a row.

        Args:
            failures: How many there were without a success between them.
            uniform: A random number in [0, 1).
        """
        assert failures >= 1
        full_s = min(self.least_s * 2.0 ** min(failures - 1, _DOUBLINGS_MAX), self.most_s)
        return full_s * (1 - uniform / 2)


class _Setback(NamedTuple):
    failures: int
    due_s: float


class Postponed(Generic[K]):
    """Items that failed, each put aside for a time of its own, so that the others have their turn.

    Bounded: beyond ``items_max`` the item that is due soonest is forgotten, which lets it be tried at
    once.
    """

    def __init__(self, backoff: Backoff, items_max: int = 10_000) -> None:
        """Put items aside as ``backoff`` says."""
        self._backoff = backoff
        self._items_max = items_max
        self._setbacks: dict[K, _Setback] = {}

    def __len__(self) -> int:
        return len(self._setbacks)

    def failed(self, item: K, now_s: float, uniform: float) -> float:
        """Put ``item`` aside; return for how many seconds.

        Args:
            item: What failed.
            now_s: Monotonic seconds.
            uniform: A random number in [0, 1).
        """
        before = self._setbacks.pop(item, None)
        failures = 1 if before is None else before.failures + 1
        delay_s = self._backoff.delay_s(failures, uniform)
        if len(self._setbacks) >= self._items_max:
            del self._setbacks[min(self._setbacks, key=lambda one: self._setbacks[one].due_s)]
        self._setbacks[item] = _Setback(failures, now_s + delay_s)
        return delay_s

    def worked(self, item: K) -> None:
        """Forget that ``item`` ever failed."""
        self._setbacks.pop(item, None)

    def keep(self, items: Iterable[K]) -> None:
        """Forget all items but these."""
        kept = set(items)
        self._setbacks = {item: one for item, one in self._setbacks.items() if item in kept}

    def is_due(self, item: K, now_s: float) -> bool:
        """Tell whether ``item`` may be tried at ``now_s`` (monotonic seconds)."""
        setback = self._setbacks.get(item)
        return setback is None or now_s >= setback.due_s

    def next_s(self, now_s: float) -> float | None:
        """Return in how many seconds the first of the items is due; None when there are none."""
        if not self._setbacks:
            return None
        return max(0.0, min(one.due_s for one in self._setbacks.values()) - now_s)
