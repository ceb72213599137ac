"""Signs of life: how late the event loop runs, and the service manager's watchdog."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from prometheus_client import Histogram

from collective.core.work import IDLE, Outcome, Worker
from collective.roles.runtime.notify import Notifier

INTERVAL_S: Final = 1.0
LAG_WARNING_S: Final = 1.0


class Watchdog(Worker):
    """Measures how late the loop wakes a timer; tells the service manager that we live."""

    name = "watchdog"

    def __init__(self, lag: Histogram, notifier: Notifier) -> None:
        """Observe lateness, in seconds, in ``lag``."""
        self._lag = lag
        self._notifier = notifier
        self._late_s = 0.0
        self._log = structlog.get_logger("collective.runtime.watchdog")

    async def work(self) -> Outcome:
        """Tell how late the wait ended."""
        self._lag.observe(self._late_s)
        if self._late_s > LAG_WARNING_S:
            self._log.warning("event loop stalled", late_s=round(self._late_s, 3))
        if self._notifier.watchdog_interval_s is not None:
            self._notifier.alive()
        return IDLE

    async def wait(self) -> None:
        """Wait for a moment and see how much longer it took."""
        loop = asyncio.get_running_loop()
        interval_s = min(INTERVAL_S, self._notifier.watchdog_interval_s or INTERVAL_S)
        due_s = loop.time() + interval_s
        await asyncio.sleep(interval_s)
        self._late_s = max(0.0, loop.time() - due_s)
