"""What a node knows of its coordinator: ticket keys, its time, its revocations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from collective.core.clock import Clock
from collective.roles.node.durable_memory import DurableMemory
from collective.transfer.tickets.keys import KEY_BYTES, TicketKey

KEYS_KEPT: Final = 8
"""Newest keys kept; older ones belong to tickets long expired."""


class CoordinatorKeys:
    """Keys and time as heartbeats tell them; a ``KeySource`` of ``transfer.tickets``."""

    def __init__(self, clock: Clock, memory: DurableMemory) -> None:
        """Begin with no key; ``memory`` holds the revocations."""
        self._clock = clock
        self._memory = memory
        self._keys: dict[int, TicketKey] = {}
        self._base_ms: float | None = None

    @property
    def key_ids(self) -> list[int]:
        """Ids of the keys held, oldest first."""
        return list(self._keys)

    @property
    def newest(self) -> TicketKey | None:
        """The key that came last."""
        return next(reversed(self._keys.values()), None)

    def learn(self, keys: Iterable[tuple[int, bytes]]) -> int:
        """Add ``(key id, 32 secret bytes)``, newest last; return how many were new and usable."""
        count = 0
        for key_id, secret in keys:
            if len(secret) != KEY_BYTES or not 0 < key_id < 1 << 32:
                continue
            self._keys.pop(key_id, None)
            self._keys[key_id] = TicketKey(key_id, secret)
            count += 1
        while len(self._keys) > KEYS_KEPT:
            del self._keys[next(iter(self._keys))]
        return count

    def synchronise(self, coordinator_time_ms: int, *, sent_s: float, received_s: float) -> None:
        """Learn the coordinator's time from a call between two monotonic moments."""
        middle_s = (sent_s + received_s) / 2
        self._base_ms = coordinator_time_ms - middle_s * 1000

    def key(self, key_id: int) -> TicketKey | None:
        """Return the key of that id."""
        return self._keys.get(key_id)

    def revocation_epoch(self) -> int:
        """Return the newest revocation epoch that was heard of."""
        return self._memory.revocations.epoch

    def coordinator_now_ms(self) -> int:
        """Return coordinator time, Unix milliseconds; our own before the first heartbeat."""
        if self._base_ms is None:
            return int(self._clock.wall_s() * 1000)
        return int(self._base_ms + self._clock.monotonic_s() * 1000)
