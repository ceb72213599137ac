"""Deadlines of calls, in one place.

grpclib ends a call at its deadline by ``task.cancel()`` without ``uncancel()``, which breaks every
``asyncio.timeout`` and ``TaskGroup`` around it.  :class:`CallWrapper` takes the cancellation back,
so a stub's ``timeout=`` can be used inside both.  :func:`call` is the usual way to call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final, TypeVar

from grpclib.utils import DeadlineWrapper

from collective.core.errors import UnreachableError

T = TypeVar("T")

UNARY_TIMEOUT_S: Final = 30.0
"""What a unary call gets where its caller says nothing."""
_LATER_S: Final = 1.0
"""How much later than ours the deadline is that the server hears of."""


class CallWrapper(DeadlineWrapper):
    """grpclib's wrapper, which also takes back the cancellations that it sent."""

    def __init__(self) -> None:
        """Start with no cancellation sent."""
        super().__init__()
        self._sent: dict[asyncio.Task[Any], int] = {}
        self._before: dict[asyncio.Task[Any], int] = {}

    def __enter__(self) -> None:
        """Note what the task was asked before: only cancellations that come inside count.

        A count may be left from long ago, answered already: Python 3.11's ``TaskGroup`` leaves one
        behind when a child fails while the group is being left.
        """
        super().__enter__()
        task = asyncio.current_task()
        assert task is not None
        self._before[task] = task.cancelling()

    def cancel(self, error: Exception) -> None:
        """Wake the tasks inside the wrapper with ``error``."""
        for task in self._tasks:
            self._sent[task] = self._sent.get(task, 0) + 1
        super().cancel(error)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        for _ in range(self._sent.pop(task, 0)):
            task.uncancel()
        before = self._before.pop(task, 0)
        if exc_type is asyncio.CancelledError and task.cancelling() > before:
            self._tasks.discard(task)
            return  # somebody else wants this task to end, too
        super().__exit__(exc_type, exc_val, exc_tb)


async def call(start: Callable[[float], Awaitable[T]], timeout_s: float) -> T:
    """Run one call with a deadline.

    Args:
        start: Takes the timeout to give to grpclib: ``lambda t: stub.stat(request, timeout=t)``.
        timeout_s: Seconds after which the call fails here.

    Raises:
        UnreachableError: The deadline passed.
        CollectiveError: Whatever the call itself raised.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await start(timeout_s + _LATER_S)
    except TimeoutError as error:
        raise UnreachableError(f"No answer within {timeout_s:g} s.") from error


async def each(items: AsyncIterator[T], idle_timeout_s: float) -> AsyncIterator[T]:
    """Yield ``items``, failing with :class:`UnreachableError` if one takes over ``idle_timeout_s``."""
    while True:
        try:
            async with asyncio.timeout(idle_timeout_s):
                item = await anext(items)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise UnreachableError(f"No progress for {idle_timeout_s:g} s.") from error
        yield item
