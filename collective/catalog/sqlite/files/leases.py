"""Leases that readers hold on versions, and the fence between them and collection.

Leases live in memory, so that opening a file for reading costs no flush.  They survive a restart
because an id proves itself (a MAC over version and holder under the catalogue's own key), and
because no retired version is collected within one lease life of the start.

The fence: a reader notes :meth:`mark`, reads from a snapshot, then calls :meth:`take` with the mark;
it is told to begin again if a collection took versions away meanwhile.  So a lease is either seen by
the collection, or taken on a snapshot made after it.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from blake3 import blake3

from collective.core.clock import Clock
from collective.core.ids import LeaseKey, SpiffeId
from collective.core.paths import FilePath
from collective.core.randomness import Randomness
from collective.model.calls import Call

LEASES_MAX = 100_000
LEASES_PER_HOLDER_MAX = 10_000
"""Who takes more loses the one that they have not used for longest; so does, when LEASES_MAX are held,
the one who holds most: nobody can take every lease there is.  The people of a peer count as one."""
_VERSION_BYTES = 6
_NONCE_BYTES = 4
_MAC_BYTES = 6


@dataclass(slots=True)
class Lease:
    """One reader's hold on one version."""

    version: int
    holder: SpiffeId
    path: FilePath
    until_s: float
    """Monotonic."""
    accountable: SpiffeId
    """For whom it counts."""


class Leases:
    """All leases of one catalogue; safe to use from several threads."""

    def __init__(self, clock: Clock, randomness: Randomness, key: bytes, life_s: float) -> None:
        """Sign with ``key`` (32 bytes); a lease lives ``life_s`` after each use."""
        self._clock = clock
        self._randomness = randomness
        self._key = key
        self._life_s = life_s
        self._lock = threading.Lock()
        self._held: dict[LeaseKey, Lease] = {}
        self._by_version: dict[int, int] = {}
        self._by_holder: dict[SpiffeId, dict[LeaseKey, None]] = {}
        self._condemned: frozenset[int] = frozenset()
        self._rounds = 0
        self._quiet_until_s = clock.monotonic_s() + life_s

    def mark(self) -> int:
        """Return a mark to be given to :meth:`take`; call before reading."""
        with self._lock:
            return self._rounds

    def take(self, mark: int, version: int, call: Call, path: FilePath) -> LeaseKey | None:
        """Lease ``version``; None if the caller must read again."""
        holder = call.principal
        with self._lock:
            if mark != self._rounds or version in self._condemned:
                return None
            nonce = self._randomness.token(_NONCE_BYTES)
            lease = LeaseKey(
                (version.to_bytes(_VERSION_BYTES, "big") + nonce).hex()
                + self._mac(version, nonce, holder).hex()
            )
            self._hold(lease, Lease(version, holder, path, self._until(), call.accountable))
            return lease

    def renew(self, lease: LeaseKey, holder: SpiffeId) -> Lease | None:
        """Prolong a lease of this holder and return it, or None if it is not known."""
        with self._lock:
            found = self._held.get(lease)
            if found is None or found.holder != holder:
                return None
            found.until_s = self._until()
            own = self._by_holder[found.accountable]
            own[lease] = own.pop(lease)
            return found

    def proven(self, lease: LeaseKey, holder: SpiffeId) -> int | None:
        """Return the version of a lease that this catalogue gave ``holder`` earlier, or None."""
        raw = bytes.fromhex(lease)
        version = int.from_bytes(raw[:_VERSION_BYTES], "big")
        nonce = raw[_VERSION_BYTES : _VERSION_BYTES + _NONCE_BYTES]
        given = raw[_VERSION_BYTES + _NONCE_BYTES :]
        return version if given == self._mac(version, nonce, holder) else None

    def revive(self, mark: int, lease: LeaseKey, version: int, call: Call, path: FilePath) -> bool:
        """Hold a proven lease again; False if the caller must read again."""
        with self._lock:
            if mark != self._rounds or version in self._condemned:
                return False
            held = Lease(version, call.principal, path, self._until(), call.accountable)
            self._hold(lease, held)
            return True

    def give_back(self, lease: LeaseKey, holder: SpiffeId) -> None:
        """End a lease; unknown ones are ignored."""
        with self._lock:
            found = self._held.get(lease)
            if found is not None and found.holder == holder:
                self._drop(lease)

    def expire(self) -> None:
        """End leases whose time has passed."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            for lease in [key for key, held in self._held.items() if held.until_s <= now_s]:
                self._drop(lease)

    def is_held(self, version: int) -> bool:
        """Tell whether anybody leases ``version``; some leases may have run out."""
        with self._lock:
            return version in self._by_version

    def condemn(
        self, versions: Iterable[int], *, whatever: Container[int] = frozenset()
    ) -> Sequence[int]:
        """Return those of ``versions`` that nobody leases or are in ``whatever``; nobody can now.

        Leases on what is in ``whatever`` end.  Empty in the first lease life after the start.  :meth:`release` must follow the COMMIT.
        """
        self.expire()
        with self._lock:
            if self._clock.monotonic_s() < self._quiet_until_s:
                return []
            free = [
                version
                for version in versions
                if version not in self._by_version or version in whatever
            ]
            self._end_on({version for version in free if version in self._by_version})
            self._condemned |= frozenset(free)
            self._rounds += 1
            return free

    def release(self) -> None:
        """Forget what was condemned: its transaction has ended."""
        with self._lock:
            if self._condemned:
                self._condemned = frozenset()
                self._rounds += 1

    def _end_on(self, versions: Container[int]) -> None:
        for lease in [key for key, held in self._held.items() if held.version in versions]:
            self._drop(lease)

    def _until(self) -> float:
        return self._clock.monotonic_s() + self._life_s

    def _mac(self, version: int, nonce: bytes, holder: SpiffeId) -> bytes:
        text = version.to_bytes(_VERSION_BYTES, "big") + nonce + str(holder).encode()
        return blake3(text, key=self._key).digest(_MAC_BYTES)

    def _hold(self, key: LeaseKey, lease: Lease) -> None:
        if key not in self._held:
            self._make_place(lease.accountable)
            self._by_version[lease.version] = self._by_version.get(lease.version, 0) + 1
            self._by_holder.setdefault(lease.accountable, {})[key] = None
        self._held[key] = lease

    def _make_place(self, holder: SpiffeId) -> None:
        """Drop what must give way for one more lease of ``holder``, a new or a revived one."""
        while len(own := self._by_holder.get(holder, {})) >= LEASES_PER_HOLDER_MAX:
            self._drop(next(iter(own)))
        while len(self._held) >= LEASES_MAX:
            most = max(self._by_holder, key=lambda one: len(self._by_holder[one]))
            self._drop(next(iter(self._by_holder[most])))

    def _drop(self, key: LeaseKey) -> None:
        lease = self._held.pop(key)
        version, own = lease.version, self._by_holder[lease.accountable]
        del own[key]
        if not own:
            del self._by_holder[lease.accountable]
        left = self._by_version[version] - 1
        if left:
            self._by_version[version] = left
        else:
            del self._by_version[version]
