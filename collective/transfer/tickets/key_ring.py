"""Ticket keys: one line of keys for each node, and one for the coordinator's own relay.

Keys are derived (HKDF, RFC 5869) from a root that outlives the process, the holder and the key's
id, which is the second in which it was made; nothing is stored.  A restarted coordinator signs
under fresh keys, which nodes learn by their next heartbeat, and still checks receipts given before:
a client that streams cannot send its chunks again.  A key is used for signing from the moment it
was handed out.

With the coordinator's key, the root is another, which the ring sees when it is asked for anything
(:class:`TicketRoots`): new keys are made at once and sign as soon as their holder has them; those of
the former root check until its rotation has ended, and never again.  A holder's memory is not trusted to forget by itself:
whatever key ids it reports that this process has not given it since, it is given again, under the
present root, in place of what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from collective.core import limits
from collective.core.clock import Clock, SteadyClock
from collective.core.ids import SpiffeId
from collective.transfer.tickets.keys import TicketKey

ROTATE_AFTER_S: Final = 3600.0
KEYS_KEPT: Final = 3
"""Keys of one holder that still check: the newest and those before it."""
_SECRET_BYTES: Final = 32
_LABEL: Final = b"collective ticket key 1"
_AHEAD_MAX_S: Final = 3600
"""How far in the future a key may have been made: clocks jump, and keys made at once count up."""


class TicketRoots(Protocol):
    """The secret that ticket keys follow from; another takes its place while the process runs."""

    @property
    def ticket_root(self) -> bytes:
        """That of now; a restarted coordinator has it again."""
        ...

    @property
    def rotations_ended(self) -> int:
        """Rises when no root before that of now counts any more."""
        ...


@dataclass(frozen=True, slots=True)
class HolderKeys:
    """The keys of one holder, as ``transfer`` looks them up."""

    keys: Mapping[int, TicketKey]
    epoch: int
    now_ms: int
    earlier: Callable[[int], TicketKey | None] | None = None
    """Finds a key that an earlier process made."""

    def key(self, key_id: int) -> TicketKey | None:
        """Return the key of that id."""
        known = self.keys.get(key_id)
        return self.earlier(key_id) if known is None and self.earlier is not None else known

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
        self.confirmed: set[int] = set()
        """Ids whose secret the holder was given by this process since the last root ended."""


class KeyRing:
    """Makes, rotates and remembers ticket keys, by the SPIFFE id of the holder."""

    def __init__(self, own: SpiffeId, roots: TicketRoots, clock: Clock) -> None:
        """Begin with no key but the one for ``own``, the coordinator's relay.

        Args:
            own: the coordinator.
            roots: what keys follow from.
            clock: the time that tickets are judged by.
        """
        self._roots = roots
        self._root = roots.ticket_root
        self._ended = roots.rotations_ended
        self._former: bytes | None = None
        self._secrets: dict[bytes, Sequence[bytes]] = {}
        """What the roots gave for each label."""
        self._former_keys: dict[SpiffeId, dict[int, TicketKey]] = {}
        self._first_of_root: dict[SpiffeId, int] = {}
        self._forgotten: set[SpiffeId] = set()
        self._own = own
        self._clock = SteadyClock(clock)
        self._lines: dict[SpiffeId, _Line] = {}
        self.epoch = 0
        """The newest revocation epoch; tickets from before it are refused."""
        key = self._rotate(own)
        self._line(own).handed_out.add(key.key_id)

    def hand_out(self, holder: SpiffeId, has: frozenset[int]) -> list[TicketKey]:
        """Return the keys that ``holder`` lacks, newest last, rotating when it is time.

        Also those that it says it has and was not given by this process: they take the place of
        whatever it holds under these ids.
        """
        self._follow()
        line = self._line(holder)
        self._forgotten.discard(holder)
        if not line.keys or self._clock.monotonic_s() - line.made_s >= ROTATE_AFTER_S:
            self._rotate(holder)
        line.handed_out = {key.key_id for key in line.keys}
        former = self._former_keys.get(holder, {})
        doubtful = {
            key_id
            for key_id in has - line.confirmed - line.handed_out - former.keys()
            if 0 < key_id < 1 << 32
        }
        given = [self._derive(self._root, holder, key_id) for key_id in sorted(doubtful)]
        given += [
            key for key in line.keys if key.key_id not in has or key.key_id not in line.confirmed
        ]
        line.confirmed = (line.confirmed & has) | {key.key_id for key in given}
        return given

    def _follow(self) -> None:
        """Take up what became of the roots since the last call."""
        if self._roots.ticket_root != self._root:
            self._take_root(self._roots.ticket_root)
        if self._roots.rotations_ended != self._ended:
            self._ended = self._roots.rotations_ended
            self._end_former()

    def _take_root(self, root: bytes) -> None:
        """Make new keys under ``root`` for every holder; the present ones check on for a while."""
        self._former, self._root = self._root, root
        self._secrets.clear()
        former, self._lines = self._lines, {}
        self._former_keys = {
            holder: {key.key_id: key for key in line.keys} for holder, line in former.items()
        }
        for holder, line in former.items():
            newest = line.keys[-1] if line.keys else None
            fresh = self._line(holder)
            if newest is not None:
                fresh.keys, fresh.handed_out = [newest], line.handed_out & {newest.key_id}
            fresh.confirmed = set(line.confirmed)
            key = self._rotate(holder)
            self._first_of_root[holder] = key.key_id
            if holder == self._own:
                fresh.handed_out.add(key.key_id)

    def _end_former(self) -> None:
        """Let nothing count that was signed under the root before this one."""
        if self._former is None:
            return
        for holder, line in self._lines.items():
            ended = self._former_keys.get(holder, {})
            line.keys = [key for key in line.keys if key.key_id not in ended]
            line.handed_out -= ended.keys()
            line.confirmed = set()
        self._former = None
        self._secrets.clear()
        self._former_keys = {}
        self._first_of_root = {}

    def secrets(self, label: bytes) -> Sequence[bytes]:
        """Return what the root gives for ``label``; after it what the former one gave, while it counts."""
        self._follow()
        found = self._secrets.get(label)
        if found is None:
            roots = [self._root] if self._former is None else [self._root, self._former]
            found = self._secrets[label] = tuple(_expand(root, label) for root in roots)
        return found

    def forget(self, holder: SpiffeId) -> None:
        """Drop the keys of a node that was removed or refused."""
        self._follow()
        if holder != self._own:
            self._lines.pop(holder, None)
            self._former_keys.pop(holder, None)
            self._forgotten.add(holder)

    def signing_key(self, holder: SpiffeId) -> TicketKey | None:
        """Return the newest key that ``holder`` was given; None before its first heartbeat."""
        self._follow()
        line = self._lines.get(holder)
        if line is None:
            return None
        known = [key for key in line.keys if key.key_id in line.handed_out]
        return known[-1] if known else None

    def source(self, holder: SpiffeId) -> HolderKeys:
        """Return every key of ``holder`` that still checks."""
        self._follow()
        line = self._lines.get(holder)
        keys = {key.key_id: key for key in line.keys} if line else {}
        keys = {**self._former_keys.get(holder, {}), **keys}
        return HolderKeys(
            keys,
            self.epoch,
            self.coordinator_now_ms(),
            lambda key_id: self._earlier(holder, key_id),
        )

    # The relay looks its own keys up here: transfer.tickets.KeySource.

    def key(self, key_id: int) -> TicketKey | None:
        """Return the coordinator's own key of that id."""
        return self.source(self._own).key(key_id)

    def revocation_epoch(self) -> int:
        """Return the newest revocation epoch."""
        return self.epoch

    def coordinator_now_ms(self) -> int:
        """Return the time that tickets are made and judged by, Unix milliseconds; it never jumps."""
        return int(self._clock.wall_s() * 1000)

    def rotate_own(self) -> None:
        """Rotate the relay's own key when it is time."""
        self._follow()
        line = self._line(self._own)
        if self._clock.monotonic_s() - line.made_s >= ROTATE_AFTER_S:
            line.handed_out.add(self._rotate(self._own).key_id)

    def _line(self, holder: SpiffeId) -> _Line:
        return self._lines.setdefault(holder, _Line())

    def _rotate(self, holder: SpiffeId) -> TicketKey:
        line = self._line(holder)
        newest = line.keys[-1].key_id if line.keys else 0
        key = self._derive(self._root, holder, max(int(self._clock.wall_s()), newest + 1))
        line.keys = [*line.keys, key][-KEYS_KEPT:]
        line.made_s = self._clock.monotonic_s()
        return key

    def _earlier(self, holder: SpiffeId, key_id: int) -> TicketKey | None:
        """Return a key of ``holder`` that was made while an upload may last, by whatever process."""
        self._follow()
        age_s = self._clock.wall_s() - key_id
        if holder in self._forgotten or not -_AHEAD_MAX_S <= age_s <= limits.UPLOAD_LIFE_S:
            return None
        first = self._first_of_root.get(holder)
        if self._former is not None and first is not None and key_id < first:
            return self._derive(self._former, holder, key_id)
        return self._derive(self._root, holder, key_id)

    def _derive(self, root: bytes, holder: SpiffeId, key_id: int) -> TicketKey:
        info = b"\0".join((_LABEL, str(holder).encode(), key_id.to_bytes(4, "big")))
        return TicketKey(key_id, _expand(root, info))


def _expand(root: bytes, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), length=_SECRET_BYTES, salt=None, info=info).derive(root)
