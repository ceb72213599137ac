"""What every path may hold, by what was acknowledged: the judge's memory.

An acknowledged change leaves exactly its value.  A change that was refused leaves nothing.  One that was
cut off may have taken effect, or may still until nothing of it can be under way (``HORIZON_S``); whatever
is seen settles it after that.  Values are ids of contents (see :func:`content`), None for no file.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from collective.chunking.chunk_ids import chunk_id
from collective.chunking.envelope import encode_header

Value = int | None

HORIZON_S: Final = 90.0
"""After so long nothing of a change that was cut off is under way any more."""


HUGE_BYTES: Final = 256 << 10
"""Content from here on repeats one block: many pieces, and next to no bytes to store."""
_BLOCK_BYTES: Final = 64 << 10


@functools.lru_cache(4096)
def content(value: int) -> bytes:
    """Return the bytes that ``value`` stands for: the low 24 bits are the length."""
    chance, size = random.Random(f"content {value >> 24}"), value & 0xFFFFFF
    if size < HUGE_BYTES:
        return chance.randbytes(size)
    return (chance.randbytes(_BLOCK_BYTES) * (size // _BLOCK_BYTES + 1))[:size]


def value_of(number: int, size_bytes: int) -> int:
    """Return the value of content ``number`` with ``size_bytes``."""
    return number << 24 | size_bytes


def chunks_of(value: int, chunk_bytes: int) -> list[bytes]:
    """Return the ids of the chunks that a file of ``value`` is stored as."""
    data = content(value)
    pieces = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    return [chunk_id([encode_header(len(piece)), piece]) for piece in pieces]


@dataclass(slots=True, eq=False)
class Change:
    """A change of one path that is under way."""

    path: str
    value: Value
    begun_s: float


@dataclass(slots=True, eq=False)
class Watch:
    """Everything that a path may have held since a read of it began."""

    path: str
    values: set[Value]
    may_fail: bool = False


@dataclass(slots=True)
class _State:
    values: set[Value] = field(default_factory=lambda: {None})
    running: list[Change] = field(default_factory=list)
    cut_off: list[tuple[float, Value]] = field(default_factory=list)
    """Until when a change that was cut off may still take effect, and its value."""
    watches: list[Watch] = field(default_factory=list)
    history: list[tuple[float, frozenset[Value]]] = field(default_factory=list)
    lost_s: float = -1.0
    """Since when its content may be unreadable through no fault of the product; < 0: it may not."""


class Files:
    """The model of one member's files."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """Begin empty."""
        self._now_s = now_s
        self._states: dict[str, _State] = {}
        self.folders: dict[str, None] = {}
        self.acknowledged = 0

    def paths(self) -> list[str]:
        """Return every path that was ever named."""
        return list(self._states)

    def _state(self, path: str) -> _State:
        state = self._states.get(path)
        if state is None:
            state = self._states[path] = _State()
        now_s = self._now_s()
        for item in [one for one in state.cut_off if one[0] <= now_s]:
            state.cut_off.remove(item)
            state.values.add(item[1])
        return state

    def may_be(self, path: str) -> frozenset[Value]:
        """Return what ``path`` may hold at this moment."""
        state = self._state(path)
        return frozenset(
            state.values
            | {change.value for change in state.running}
            | {value for _, value in state.cut_off}
        )

    def may_be_without(self, path: str, changes: Iterable[Change]) -> frozenset[Value]:
        """Return what ``path`` may hold if these ``changes`` under way come to nothing."""
        state, without = self._state(path), set(changes)
        running = {change.value for change in state.running if change not in without}
        return frozenset(state.values | running | {value for _, value in state.cut_off})

    def certain(self, path: str) -> Value:
        """Return what ``path`` holds if that is certain and a file, else None."""
        values = self.may_be(path)
        return next(iter(values)) if len(values) == 1 else None

    def all_certain(self) -> set[int]:
        """Return what some path certainly holds at this moment."""
        found = (self.certain(path) for path in self._states)
        return {value for value in found if value is not None}

    def all_possible(self) -> set[int]:
        """Return everything that some path may hold at this moment."""
        return {value for path in self._states for value in self.may_be(path) if value is not None}

    def is_quiet(self, path: str) -> bool:
        """Tell whether nothing is under way there, nor may be."""
        state = self._state(path)
        return not state.running and not state.cut_off

    def begin(self, path: str, value: Value) -> Change:
        """Begin a change of ``path``."""
        change = Change(path, value, self._now_s())
        self._state(path).running.append(change)
        self._changed(path)
        return change

    def done(self, change: Change) -> None:
        """Hear that a change was acknowledged."""
        state = self._state(change.path)
        state.running.remove(change)
        state.values = {change.value}
        if change.value is not None:
            state.lost_s = -1.0
        self.acknowledged += 1
        self._changed(change.path)

    def refused(self, change: Change) -> None:
        """Hear that a change was refused: it had no effect."""
        self._state(change.path).running.remove(change)
        self._changed(change.path)

    def cut_off(self, change: Change) -> None:
        """Hear that nobody knows whether a change took effect."""
        state = self._state(change.path)
        state.running.remove(change)
        state.cut_off.append((self._now_s() + HORIZON_S, change.value))
        self._changed(change.path)

    def watch(self, path: str) -> Watch:
        """Begin a read of ``path``."""
        found = Watch(path, set(self.may_be(path)))
        self._state(path).watches.append(found)
        return found

    def seen(self, watch: Watch, value: Value) -> bool:
        """End a read that saw ``value``; tell whether that may be."""
        state = self._state(watch.path)
        state.watches.remove(watch)
        if value not in watch.values:
            return False
        if self.is_quiet(watch.path) and value in state.values:
            state.values = {value}
            self._changed(watch.path)
        return True

    def unseen(self, watch: Watch) -> None:
        """End a read that came to nothing."""
        self._state(watch.path).watches.remove(watch)

    def _changed(self, path: str) -> None:
        state = self._states[path]
        values = self.may_be(path)
        for watch in state.watches:
            watch.values |= values
        state.history.append((self._now_s(), values))

    # --- what operators do to the whole ------------------------------------------------------------

    def held_between(self, path: str, from_s: float, until_s: float) -> frozenset[Value]:
        """Return everything that ``path`` may have held at some moment of a span of time."""
        found: set[Value] = set()
        before: frozenset[Value] = frozenset((None,))
        for at_s, values in self._states[path].history:
            if at_s <= from_s:
                before = values
            elif at_s <= until_s:
                found |= values
        return frozenset(found | before)

    def restored(self, from_s: float, until_s: float) -> None:
        """The catalogue is now as it was at some moment between the two.

        What changed since may be gone for good: its old content may have been collected.
        """
        now_s = self._now_s()
        for path, state in self._states.items():
            then = self.held_between(path, from_s, until_s)
            since = self.held_between(path, from_s, now_s)
            state.running.clear()
            state.cut_off = []
            if len(since) > 1:
                state.lost_s = now_s
            state.values = set(then)
            self._changed(path)

    def may_be_lost(self, path: str) -> bool:
        """Tell whether the content of ``path`` may be unreadable without any fault of the product."""
        return self._state(path).lost_s >= 0

    def give_up(self, paths: Iterable[str]) -> None:
        """Note that these may be unreadable from now on: too many of their copies failed."""
        for path in paths:
            self._state(path).lost_s = self._now_s()
