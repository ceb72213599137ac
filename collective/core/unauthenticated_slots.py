"""Slots for callers who have not shown yet who they are: bounded in all and for each source.

Nobody is turned away for want of a slot: whoever has waited longest gives way, of the source that
holds most (of the newcomer's own, where that has a bound and has reached it).  So a flood pushes out
itself first, one who comes while it lasts has the time that the flood needs to fill all slots, and
many who come at once from one address have them all as long as nobody else is there.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class UnauthenticatedSlots(Generic[T]):
    """Who holds a slot now, in order of arrival."""

    def __init__(self, in_all: int, per_source: int | None = None) -> None:
        """Give at most ``in_all`` slots, and ``per_source`` to one source; None: as many."""
        self._in_all = in_all
        self._per_source = in_all if per_source is None else per_source
        self._held: dict[str, dict[T, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, source: str, who: T) -> T | None:
        """Give ``who`` a slot; return the holder who lost one for that, to be closed."""
        out: T | None = None
        if len(self._held.get(source, ())) >= self._per_source:
            out = self._first(source)
        elif self._count >= self._in_all:
            out = self._first(max(self._held, key=lambda one: len(self._held[one])))
        self._held.setdefault(source, {})[who] = None
        self._count += 1
        return out

    def leave(self, source: str, who: T) -> None:
        """Take back a slot; nothing happens where it was lost before."""
        held = self._held.get(source)
        if held is None or who not in held:
            return
        del held[who]
        self._count -= 1
        if not held:
            del self._held[source]

    def _first(self, source: str) -> T:
        who = next(iter(self._held[source]))
        self.leave(source, who)
        return who
