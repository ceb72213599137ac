"""Which calls go in batches: those that come one upon the other.

A command that makes a call or two, and a heartbeat now and then, need no stream that stays.
"""

from __future__ import annotations

import asyncio
from typing import Final

EXCHANGE: Final = "/collective.v1.batches.Batches/Exchange"
ALONE: Final = ("/grpc.", "/collective.v1.batches.")
"""How the methods begin that are called by themselves: what they say is in their headers."""
SOON_S: Final = 1.0
"""A call that begins within that of the one before comes upon it."""
FIRST_ALONE: Final = 3
"""Calls that came one upon the other before one goes in a batch."""


class BatchingRule:
    """Decides for the calls of one channel, in the order in which they begin."""

    def __init__(self) -> None:
        """Have seen no call."""
        self._began_s = -SOON_S
        self._in_a_row = 0

    def takes(self, method: str) -> bool:
        """Tell whether the call of ``method`` that begins now goes in a batch."""
        if method.startswith(ALONE):
            return False
        now_s = asyncio.get_running_loop().time()
        self._in_a_row = self._in_a_row + 1 if now_s - self._began_s < SOON_S else 1
        self._began_s = now_s
        return self._in_a_row > FIRST_ALONE
