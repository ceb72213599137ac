"""An event loop whose time passes only while nothing else is to do: marker ``virtual_time``.

What waits for ten seconds has waited exactly so long, at once, on however busy a machine.  Sockets
are read as usual; threads would not be waited for, so what is given to one runs at once, in place.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer where another loop would sleep."""

    def __init__(self) -> None:
        """Begin at second 0."""
        self.now_s = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Return virtual seconds."""
        return self.now_s

    def run_in_executor(
        self, executor: object, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        """Run ``func`` before this returns."""
        del executor
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as a thread does, it goes to who waits
            done.set_exception(error)
        return done


class LoopClock:
    """The running loop's time: the machine's, or a virtual one."""

    def wall_s(self) -> float:
        """Return Unix time in seconds."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return the loop's seconds."""
        return asyncio.get_running_loop().time()


class _Jumping(selectors.BaseSelector):
    """The machine's selector, which never waits: it moves the loop's time instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = self._real.select(0)
        if not found and timeout is None:
            raise AssertionError("Nothing is left to happen, and the test waits for it.")
        if not found and timeout is not None and timeout > 0:
            self._loop.now_s += timeout
        return found

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()
