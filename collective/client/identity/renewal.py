"""The client's certificate, renewed on use: live when it is due, at the bootstrap once it ran out.

One process renews at a time, held by a lock file that the kernel drops with the process; the others
go on with what they have, or wait where it ran out.  A renewal that fails does not matter while the
certificate is still valid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from collective.client.identity.model import JoinedCollective
from collective.client.identity.store import IdentityStore
from collective.core.clock import Clock
from collective.core.disk import Disk, DiskLock
from collective.core.errors import CollectiveError, UnreachableError
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.pki.files import Credentials
from collective.pki.renewal import has_expired, is_due

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIVE_TIMEOUT_S: Final = 10.0
WAIT_TRIES: Final = 300
WAIT_PAUSE_S: Final = 0.1

Renewed = tuple[Credentials, tuple[Address, ...]]
"""Renewed credentials, and where the coordinator says it is; ``()`` if it does not say."""
Renew = Callable[[Credentials, JoinedCollective, tuple[Address, ...]], Awaitable[Renewed]]
Note = Callable[[str], None]


class Renewer:
    """Keeps the certificates of one store fresh."""

    def __init__(
        self,
        store: IdentityStore,
        clock: Clock,
        disk: Disk,
        *,
        live: Renew | None = None,
        expired: Renew | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Renew what ``store`` has; ``live`` and ``expired`` say how (tests put their own)."""
        self._store = store
        self._clock = clock
        self._disk = disk
        self._live = live or self._renew_live
        self._expired = expired or self._renew_expired
        self._sleep = sleep

    async def fresh(
        self,
        collective: JoinedCollective,
        credentials: Credentials,
        addresses: tuple[Address, ...],
        note: Note,
    ) -> Credentials:
        """Return credentials that are fit for use now, renewed if that was due.

        Args:
            collective: what they are for.
            credentials: as they are on disk.
            addresses: where the coordinator may be.
            note: hears one sentence if a renewal failed that is not needed yet.

        Raises:
            CollectiveError: the certificate ran out and could not be renewed.
        """
        if not is_due(credentials.certified, self._clock.wall_s()):
            return credentials
        async with self._turn(collective, credentials) as is_ours:
            credentials = await self._again(collective, credentials)
            now_s = self._clock.wall_s()
            must = has_expired(credentials.certified, now_s)
            if not is_due(credentials.certified, now_s) or not (is_ours or must):
                return credentials
            renew = self._expired if must else self._live
            try:
                renewed, told = await renew(credentials, collective, addresses)
                await asyncio.to_thread(self._store.take_renewed, collective, renewed, told)
            except (CollectiveError, OSError) as error:
                if must:
                    raise
                note(f"The certificate for {collective.name} was not renewed yet: {error}")
                return credentials
            return renewed

    async def _again(self, collective: JoinedCollective, known: Credentials) -> Credentials:
        """Return the credentials as they are now: another process may have renewed them."""
        passphrase = known.passphrase or b""
        return await asyncio.to_thread(self._store.credentials, collective, lambda: passphrase)

    @asynccontextmanager
    async def _turn(
        self, collective: JoinedCollective, credentials: Credentials
    ) -> AsyncIterator[bool]:
        """Hold the renewal lock; False where another holds it and there is no need to wait."""
        path = self._store.place.renewing(collective.name)
        lock: DiskLock | None = None
        for _ in range(WAIT_TRIES):
            lock = self._disk.lock(path)
            if lock is not None or not has_expired(credentials.certified, self._clock.wall_s()):
                break
            await self._sleep(WAIT_PAUSE_S)
        else:
            raise UnreachableError("Another command is renewing the certificate; try again.")
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    async def _renew_live(
        self,
        credentials: Credentials,
        collective: JoinedCollective,
        addresses: tuple[Address, ...],
    ) -> Renewed:
        from collective.client.join import renew_trusting  # noqa: PLC0415 - heavy, and rarely needed
        from collective.pki.revocation import RevocationSet  # noqa: PLC0415
        from collective.rpc.channel import open_channel  # noqa: PLC0415
        from collective.rpc.identity import PeerGate  # noqa: PLC0415

        gate = PeerGate(credentials.trust(), RevocationSet.of(0, ()), self._clock)
        channel = open_channel(
            addresses or collective.coordinator_addresses,
            credentials=credentials,
            gate=gate,
            expect=SpiffeId.coordinator(collective.domain),
            connect_timeout_s=LIVE_TIMEOUT_S,
        )
        async with channel:
            renewed = await renew_trusting(
                channel, credentials, clock=self._clock, timeout_s=LIVE_TIMEOUT_S
            )
            peer = channel.peer
        return renewed, peer.addresses if peer else ()

    async def _renew_expired(
        self,
        credentials: Credentials,
        collective: JoinedCollective,
        addresses: tuple[Address, ...],
    ) -> Renewed:
        from collective.client.join import renew_expired  # noqa: PLC0415 - heavy, rarely needed

        del addresses
        joined = await renew_expired(credentials, collective.bootstrap_addresses, clock=self._clock)
        return credentials.renewed(joined.certificate), joined.coordinator_addresses
