"""Ctrl-C: it ends the process at once, except while work runs that must end in order.

Python raises KeyboardInterrupt wherever the program happens to be.  While modules load that is inside
somebody's import, and some of those take it for an error of their own and go on; on the way out it is inside
the interpreter, which prints a traceback.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""The exit code of what Ctrl-C ended, as shells have it."""


_BY_SIGNAL: Final = INTERRUPTED - signal.SIGINT
_FIRST: Final = 1


def end_at_once() -> None:
    """Have Ctrl-C end the process from now on, silently; a caller's wish to ignore it holds.

    The first process of a container is not ended by a signal that it has no handler for, so it gets one for
    SIGTERM; and it inherits every process in it whose parent is gone, so it has the kernel bury these.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    if os.getpid() == _FIRST:
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt inside, so that what has begun is ended as it should be.

    Also inside an event loop, whose own handler waits until it is its turn: a prompt does not let it.
    """
    before = signal.getsignal(signal.SIGINT)
    if before in {signal.SIG_IGN, signal.default_int_handler, None}:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, _frame: FrameType | None) -> None:
    try:
        if os.isatty(2):
            os.write(2, b"\n")
    finally:
        os._exit(_BY_SIGNAL + number)
