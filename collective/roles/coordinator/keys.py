"""Ticket keys: one line of keys for each node, and one for the coordinator's own relay.

Keys live in memory only: a restarted coordinator makes fresh ones, and nodes learn them by their
next heartbeat.  A key is used for signing from the moment it was handed out; older ones are kept
long enough to check receipts of transfers that began under them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collective.core.clock import Clock, SteadyClock
from collective.core.ids import SpiffeId
from collective.core.randomness import Randomness
from collective.transfer.tickets import TicketKey

ROTATE_AFTER_S: Final = 3600.0
KEYS_KEPT: Final = 3
"""Keys of one holder that still check: the newest and those before it."""
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class HolderKeys:
    """The keys of one holder, as ``transfer`` looks them up."""

    keys: Mapping[int, TicketKey]
    epoch: int
    now_ms: int

    def key(self, key_id: int) -> TicketKey | None:
        """Return the key of that id."""
        return self.keys.get(key_id)

    def revocation_epoch(self) -> int:
        """Return the newest revocation epoch."""
        return self.epoch

    def coordinator_now_ms(self) -> int:
        """Return coordinator time, Unix milliseconds."""
        return self.now_ms


class _Line:
    """The keys of one holder, oldest first."""

    def __init__(self) -> None:
        self.keys: list[TicketKey] = []
        self.made_s = 0.0
        self.handed_out: set[int] = set()


class KeyRing:
    """Makes, rotates and remembers ticket keys, by the SPIFFE id of the holder."""

    def __init__(self, own: SpiffeId, clock: Clock, randomness: Randomness) -> None:
        """Begin with no key but the one for ``own``, the coordinator's relay."""
        self._own = own
        self._clock = SteadyClock(clock)
        self._randomness = randomness
        self._lines: dict[SpiffeId, _Line] = {}
        self.epoch = 0
        """The newest revocation epoch; tickets from before it are refused."""
        key = self._rotate(self._line(own))
        self._line(own).handed_out.add(key.key_id)

    def hand_out(self, holder: SpiffeId, has: frozenset[int]) -> list[TicketKey]:
        """Return the keys that ``holder`` lacks, newest last, rotating when it is time."""
        line = self._line(holder)
        if not line.keys or self._clock.monotonic_s() - line.made_s >= ROTATE_AFTER_S:
            self._rotate(line)
        line.handed_out = {key.key_id for key in line.keys}
        return [key for key in line.keys if key.key_id not in has]

    def forget(self, holder: SpiffeId) -> None:
        """Drop the keys of a node that was removed or refused."""
        if holder != self._own:
            self._lines.pop(holder, None)

    def signing_key(self, holder: SpiffeId) -> TicketKey | None:
        """Return the newest key that ``holder`` was given; None before its first heartbeat."""
        line = self._lines.get(holder)
        if line is None:
            return None
        known = [key for key in line.keys if key.key_id in line.handed_out]
        return known[-1] if known else None

    def source(self, holder: SpiffeId) -> HolderKeys:
        """Return every key of ``holder`` that still checks."""
        line = self._lines.get(holder)
        keys = {key.key_id: key for key in line.keys} if line else {}
        return HolderKeys(keys, self.epoch, self.coordinator_now_ms())

    # The relay looks its own keys up here: transfer.tickets.KeySource.

    def key(self, key_id: int) -> TicketKey | None:
        """Return the coordinator's own key of that id."""
        return self.source(self._own).key(key_id)

    def revocation_epoch(self) -> int:
        """Return the newest revocation epoch."""
        return self.epoch

    def coordinator_now_ms(self) -> int:
        """Return the time that tickets are judged by, Unix milliseconds."""
        return int(self._clock.wall_s() * 1000)

    def rotate_own(self) -> None:
        """Rotate the relay's own key when it is time."""
        line = self._line(self._own)
        if self._clock.monotonic_s() - line.made_s >= ROTATE_AFTER_S:
            line.handed_out.add(self._rotate(line).key_id)

    def _line(self, holder: SpiffeId) -> _Line:
        return self._lines.setdefault(holder, _Line())

    def _rotate(self, line: _Line) -> TicketKey:
        taken = {key.key_id for key in line.keys}
        key_id = 0
        while key_id == 0 or key_id in taken:
            key_id = int.from_bytes(self._randomness.token(4), "big")
        key = TicketKey(key_id, self._randomness.token(_SECRET_BYTES))
        line.keys = [*line.keys, key][-KEYS_KEPT:]
        line.made_s = self._clock.monotonic_s()
        return key
