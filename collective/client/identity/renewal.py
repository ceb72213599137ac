"""The client's certificate, renewed on use: live when it is due, at the bootstrap once it ran out.

Once a day of use, the coordinator also tells where it is and which CAs count; and while a CA is being
replaced it says so with every answer.  A client that does not know the new one asks at once then, and
a certificate of an older CA is renewed, however young it is.  From then on it asks once a minute, so
that the old one is dropped soon after its end.

One process renews at a time, held by a lock file that the kernel drops with the process; the others
go on with what they have, or wait where it ran out.  A renewal that fails does not matter while the
certificate is still valid.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from collective.client.identity.certificates import digest_of
from collective.client.identity.documents import JoinedCollective
from collective.client.identity.store import IdentityStore
from collective.core.disk import DiskLock
from collective.core.errors import CollectiveError, UnreachableError
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.core.world import World
from collective.pki.certificates import is_signed_by
from collective.pki.credentials import Credentials
from collective.pki.renewal_times import is_due

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from collective.rpc.links import Channel, Links

TOLD_EVERY_S: Final = 86400.0
TOLD_ROTATING_S: Final = 60.0
"""The same while more than one CA counts."""
CONNECT_TIMEOUT_S: Final = 3.0
LIVE_TIMEOUT_S: Final = 10.0
WAIT_TRIES: Final = 300
WAIT_PAUSE_S: Final = 0.1

Renewed = tuple[Credentials, tuple[Address, ...]]
"""Renewed credentials, and where the coordinator says it is; ``()`` if it does not say."""
Renew = Callable[[Credentials, JoinedCollective, tuple[Address, ...]], Awaitable[Renewed]]
Note = Callable[[str], None]


def is_of_newest(credentials: Credentials) -> bool:
    """Tell whether the certificate is of the newest CA that counts."""
    newest = max(credentials.trusted, key=lambda one: one.not_valid_before_utc)
    return is_signed_by(credentials.certificate, newest)


class Renewer:
    """Keeps the certificates of one store fresh."""

    def __init__(
        self,
        store: IdentityStore,
        world: World,
        links: Links,
        *,
        live: Renew | None = None,
        expired: Renew | None = None,
        ask: Renew | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Renew what ``store`` has; ``live``, ``expired`` and ``ask`` are for tests."""
        self._store = store
        self._clock = world.clock
        self._disk = world.disk
        self._threads = world.threads
        self._links = links
        self._live = live or self._renew_live
        self._expired = expired or self._renew_expired
        self._ask = ask or self._ask_live
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
        return await self._renewed(collective, credentials, addresses, note, self._wanted)

    async def found(
        self, collective: JoinedCollective, addresses: tuple[Address, ...], note: Note
    ) -> None:
        """Keep ``addresses``: there the member's coordinator answered, or says that it is.

        The first, where it answered, is tried first the next time.  Nothing fails for it: ``note`` hears why they could not be kept.
        """
        known = collective.coordinator_addresses
        if not addresses or (addresses[0] == known[0] and set(addresses) <= set(known)):
            return
        try:
            await self._threads.run(self._store.take_addresses, collective, addresses)
        except (CollectiveError, OSError) as error:
            note(f"The new address of {collective.name} was not kept: {error}")

    async def follow(
        self,
        collective: JoinedCollective,
        credentials: Credentials,
        addresses: tuple[Address, ...],
        newest: bytes,
        note: Note,
    ) -> Credentials:
        """Return credentials that follow the CA whose key has SHA-256 ``newest``, as `fresh` does.

        ``newest`` is a hint: which CAs count is asked, and what is told must be linked to the CA
        that is trusted already.  Nothing fails for it: ``note`` hears why it was not followed.
        """

        def wanted(_: JoinedCollective, known: Credentials) -> Renew | None:
            if not newest or (newest in map(digest_of, known.trusted) and is_of_newest(known)):
                return None
            return self._ask

        try:
            return await self._renewed(collective, credentials, addresses, note, wanted)
        except (CollectiveError, OSError) as error:
            note(f"The new CA of {collective.name} was not followed yet: {error}")
            return credentials

    async def _renewed(
        self,
        collective: JoinedCollective,
        credentials: Credentials,
        addresses: tuple[Address, ...],
        note: Note,
        decide: Callable[[JoinedCollective, Credentials], Renew | None],
    ) -> Credentials:
        if decide(collective, credentials) is None:
            return credentials
        async with self._turn(collective, credentials) as is_ours:
            credentials = await self._again(collective, credentials)
            collective = await self._threads.run(self._store.find, collective.name)
            wanted = decide(collective, credentials)
            must = wanted == self._expired
            if wanted is None or not (is_ours or must):
                return credentials
            try:
                renewed, told = await wanted(credentials, collective, addresses)
                if not is_of_newest(renewed) and not must:
                    renewed, told = await self._live(renewed, collective, addresses)
                await self._threads.run(self._store.take_renewed, collective, renewed, told)
            except (CollectiveError, OSError) as error:
                if must:
                    raise
                note(f"The certificate for {collective.name} was not renewed yet: {error}")
                await self._put_off(collective, error)
                return credentials
            return renewed

    def _wanted(self, collective: JoinedCollective, credentials: Credentials) -> Renew | None:
        """Return what is to be done now, None for nothing."""
        now_s = self._clock.wall_s()
        if credentials.certified.has_expired(now_s):
            return self._expired
        if is_due(credentials.certified, now_s):
            return self._live
        every_s = TOLD_EVERY_S if len(credentials.trusted) == 1 else TOLD_ROTATING_S
        return self._ask if abs(now_s - collective.told_ms / 1000) > every_s else None

    async def _put_off(
        self, collective: JoinedCollective, error: CollectiveError | OSError
    ) -> None:
        """Ask no more today where the coordinator answered, and could not say."""
        if isinstance(error, CollectiveError) and not isinstance(error, UnreachableError):
            with contextlib.suppress(CollectiveError, OSError):
                await self._threads.run(self._store.was_told_nothing, collective)

    async def _again(self, collective: JoinedCollective, known: Credentials) -> Credentials:
        """Return the credentials as they are now: another process may have renewed them."""
        passphrase = known.passphrase or b""
        return await self._threads.run(self._store.credentials, collective, lambda: passphrase)

    @asynccontextmanager
    async def _turn(
        self, collective: JoinedCollective, credentials: Credentials
    ) -> AsyncIterator[bool]:
        """Hold the renewal lock; False where another holds it and there is no need to wait."""
        path = self._store.place.renewing(collective.name)
        lock: DiskLock | None = None
        for _ in range(WAIT_TRIES):
            lock = self._disk.lock(path)
            if lock is not None or not credentials.certified.has_expired(self._clock.wall_s()):
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
        from collective.client.joining import renew_trusting  # noqa: PLC0415 - heavy, rarely needed

        async with self._channel(credentials, collective, addresses) as channel:
            renewed = await renew_trusting(
                channel, credentials, clock=self._clock, timeout_s=LIVE_TIMEOUT_S
            )
            return renewed, channel.peer.addresses if channel.peer else ()

    async def _ask_live(
        self,
        credentials: Credentials,
        collective: JoinedCollective,
        addresses: tuple[Address, ...],
    ) -> Renewed:
        from collective.client.joining import current_trust  # noqa: PLC0415 - heavy, rarely needed

        async with self._channel(credentials, collective, addresses) as channel:
            trusted = await current_trust(
                channel, credentials, clock=self._clock, timeout_s=LIVE_TIMEOUT_S
            )
            told = channel.peer.addresses if channel.peer else ()
            return credentials.renewed(credentials.certificate, trusted), told

    def _channel(
        self,
        credentials: Credentials,
        collective: JoinedCollective,
        addresses: tuple[Address, ...],
    ) -> Channel:
        from collective.pki.revocation import RevocationSet  # noqa: PLC0415 - heavy
        from collective.rpc.tls.gate import PeerGate  # noqa: PLC0415

        gate = PeerGate(credentials.trust(), RevocationSet.of(0, ()), self._clock)
        return self._links.channel(
            addresses or collective.coordinator_addresses,
            credentials=credentials,
            gate=gate,
            expect=SpiffeId.coordinator(collective.domain),
            connect_timeout_s=CONNECT_TIMEOUT_S,
        )

    async def _renew_expired(
        self,
        credentials: Credentials,
        collective: JoinedCollective,
        addresses: tuple[Address, ...],
    ) -> Renewed:
        from collective.client.joining import renew_expired  # noqa: PLC0415 - heavy, rarely needed

        del addresses
        joined = await renew_expired(
            credentials, collective.bootstrap_addresses, links=self._links, clock=self._clock
        )
        return credentials.renewed(joined.certificate), joined.coordinator_addresses
