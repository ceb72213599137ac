"""SIGTERM, SIGINT and SIGHUP, heard whatever the event loop is doing.

The signals are blocked in every thread and taken by one that does nothing else: a loop that hangs in a
callback would never run a handler of its own.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Final

STOPPING: Final = frozenset((signal.SIGTERM, signal.SIGINT))
HEARD: Final = STOPPING | {signal.SIGHUP}


def hear(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    """Call ``stop`` or ``reload`` on a thread of its own for each signal that asks for it.

    Call it on the main thread before other threads begin: they inherit that the signals are blocked.
    It holds until the process ends.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)

    def listen() -> None:
        while True:
            (stop if signal.sigwait(HEARD) in STOPPING else reload)()

    threading.Thread(target=listen, name="signals", daemon=True).start()
