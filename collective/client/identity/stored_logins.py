"""The identities of one configuration folder as :class:`~collective.client.logins.Logins`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from collective.client.identity.certificates import digest_of
from collective.client.identity.documents import JoinedCollective
from collective.client.identity.renewal import Renewer
from collective.client.identity.store import IdentityStore, Passphrase
from collective.client.logins import Login
from collective.core.errors import CollectiveError, ConflictError
from collective.core.ids import Domain
from collective.core.units import Address
from collective.core.world import World
from collective.pki.credentials import Credentials

Note = Callable[[str], None]


class StoredLogins:
    """Logs in with what a store has, renewed where that is due."""

    def __init__(
        self,
        store: IdentityStore,
        renewer: Renewer,
        world: World,
        *,
        passphrase: Passphrase,
        note: Note,
    ) -> None:
        """Log in with what ``store`` has.

        Args:
            store: of one client.
            renewer: of its certificates.
            world: whose threads read the files.
            passphrase: of the key; asked once.
            note: hears of renewals that failed and are not needed yet.
        """
        self._store = store
        self._renewer = renewer
        self._clock = world.clock
        self._threads = world.threads
        self._passphrase = passphrase
        self._note = note

    async def of(self, joined: JoinedCollective, given: tuple[Address, ...] = ()) -> Login:
        """Return the login of a collective; ``given`` addresses count instead of those that are known.

        Raises what reading the files raises, and what renewing a certificate raises that ran out.
        """
        credentials = self._store.credentials(joined, self._ask)  # here: it may ask on the terminal
        credentials = await self._renewer.fresh(joined, credentials, given, self._note)
        known = await self._threads.run(self._store.find, joined.name)

        async def follow(newest: bytes) -> object:
            return await self._renewer.follow(known, credentials, given, newest, self._note)

        async def found(addresses: tuple[Address, ...]) -> None:
            await self._renewer.found(known, addresses, self._note)

        return Login(credentials, given or known.coordinator_addresses, known.name, follow, found)

    async def at(self, domain: Domain) -> Login | None:
        """Return the login of the member of ``domain``; see :class:`~collective.client.logins.Logins`."""
        joined = await self._threads.run(self._store.collectives)
        found = [one for one in joined if one.domain == domain]
        if not found:
            return None
        if len(found) > 1:
            names = " and ".join(one.name for one in found)
            raise ConflictError(
                f"You joined two members that call themselves {domain}: {names}; leave the one that"
                f" /@{domain} shall not mean: collective identity leave NAME"
            )
        return await self.of(found[0])

    async def said_peer_s(self, login: Login, home: Credentials) -> float | None:
        """Return how long ago it was noted that ``login`` is of a peer of the member of ``home``; None: not at all.

        A clock that was set back counts as time, too.
        """
        joined = await self._threads.run(self._store.find, login.name)
        own = {digest_of(one).hex() for one in home.trusted}
        said_ms = [at_ms for digest, at_ms in joined.peer_of if digest in own]
        return abs(self._clock.wall_s() - max(said_ms) / 1000) if said_ms else None

    async def note_peer(self, login: Login, home: Credentials, *, is_peer: bool) -> None:
        """Note whether it is."""
        digests = (digest_of(home.authority), *map(digest_of, home.trusted))
        noted = partial(self._store.note_peer_of, login.name, digests, is_peer=is_peer)
        try:
            await self._threads.run(noted)
        except (CollectiveError, OSError) as error:
            self._note(f"What was said of {login.name} was not kept: {error}")

    def _ask(self) -> bytes:
        given = self._passphrase()
        self._passphrase = lambda: given
        return given
