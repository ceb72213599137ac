"""Events by which services wake background work before its time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Wakes:
    """One event for each worker that somebody may want to wake."""

    repair: asyncio.Event = field(default_factory=asyncio.Event)
    verify: asyncio.Event = field(default_factory=asyncio.Event)
    addresses: asyncio.Event = field(default_factory=asyncio.Event)
    """A node said an address at which nobody has found it yet."""
