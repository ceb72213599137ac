"""Slows whoever guesses join codes, and nobody who knows one.

A proof is checked first; a right one is answered whatever others do.  What fails is counted for the
code id that it named, known here or not, and for the address that it came from, and is answered
late once either has failed too often; when too many answers wait, further ones are refused at once.
The secret has 128 bits: the limit is for load, not for secrecy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from collective.core.clock import Clock
from collective.core.errors import BusyError

FAILURES_MAX: Final = 10
FAILURE_WINDOW_S: Final = 60.0
DELAY_S: Final = 0.25
WAITING_MAX: Final = 64
WAITING_PER_SOURCE_MAX: Final = 8
SUBJECTS_MAX: Final = 1024
_REST: Final = "all others"
_TOO_MANY: Final = "Too many failed tries with this join code or from there; wait a minute."


class GuessLimiter:
    """Failures by subject in a fixed window, and the answers that wait; bounded in memory."""

    def __init__(
        self, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Start with no failures."""
        self._clock = clock
        self._sleep = sleep
        self._failures: dict[str, tuple[float, int]] = {}
        self._waiting: dict[str, int] = {}
        self._waiting_in_all = 0

    async def failed(self, code_id: str, source: str) -> None:
        """Count a failed proof; return when it may be answered.

        Raises:
            BusyError: too many failures wait for their answers already.
        """
        by_code = self._count(f"code {code_id}")
        by_source = self._count(f"source {source}") if source else False
        if not by_code and not by_source:
            return
        here = self._waiting.get(source, 0)
        if here >= WAITING_PER_SOURCE_MAX or self._waiting_in_all >= WAITING_MAX:
            raise BusyError(_TOO_MANY)
        self._waiting[source] = here + 1
        self._waiting_in_all += 1
        try:
            await self._sleep(DELAY_S)
        finally:
            self._waiting_in_all -= 1
            self._waiting[source] -= 1
            if not self._waiting[source]:
                del self._waiting[source]
        raise BusyError(_TOO_MANY)

    def _count(self, subject: str) -> bool:
        """Count one failure; tell whether ``subject`` has failed too often in its window."""
        now_s = self._clock.monotonic_s()
        if subject not in self._failures and len(self._failures) >= SUBJECTS_MAX:
            self._forget(now_s)
            if len(self._failures) >= SUBJECTS_MAX:
                subject = _REST
        began_s, count = self._failures.get(subject, (now_s, 0))
        if now_s - began_s >= FAILURE_WINDOW_S:
            began_s, count = now_s, 0
        self._failures[subject] = (began_s, count + 1)
        return count >= FAILURES_MAX

    def _forget(self, now_s: float) -> None:
        ended = [
            subject
            for subject, (began_s, _) in self._failures.items()
            if now_s - began_s >= FAILURE_WINDOW_S
        ]
        for subject in ended:
            del self._failures[subject]
