"""Signs of life: how late the event loop runs, and the service manager's watchdog."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from prometheus_client import Histogram

from collective.roles.runtime.notify import Notifier

INTERVAL_S: Final = 1.0
LAG_WARNING_S: Final = 1.0


async def watch_loop(lag: Histogram, notifier: Notifier) -> None:
    """Measure the loop's lag for ever; tell the service manager that we live.  Cancel to end it."""
    log = structlog.get_logger("collective.runtime.watchdog")
    loop = asyncio.get_running_loop()
    interval_s = min(INTERVAL_S, notifier.watchdog_interval_s or INTERVAL_S)
    while True:
        due_s = loop.time() + interval_s
        await asyncio.sleep(interval_s)
        late_s = max(0.0, loop.time() - due_s)
        lag.observe(late_s)
        if late_s > LAG_WARNING_S:
            log.warning("event loop stalled", late_s=round(late_s, 3))
        if notifier.watchdog_interval_s is not None:
            notifier.alive()
