"""Who has a path, and how this client gets there: through its own member, or straight.

If this client has joined the member of DOMAIN itself, ``/@DOMAIN/…`` goes straight to that member, always, as the
identity that joined.  Every other ``/@DOMAIN/…`` goes through the own member, which forwards it.  To the member of
DOMAIN these are two people with different grants: the one who joined, and the one whom the own member vouches for.
So neither way ever replaces the other, and what a command may do does not depend on which way is up.

Members choose their domains, and one that was joined may call itself as a peer does.  So before a path goes straight,
the own member is asked for the CA of its peer of that domain, and another CA ends the command.  The answer counts for
a day, and for a week where the own member cannot be asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.x509 import Certificate

from collective.client.connection import Connection
from collective.client.names import Names
from collective.core.errors import CollectiveError, ConflictError, NotFoundError, UnreachableError
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.core.tasks import all_of
from collective.model.entries import Entry
from collective.pki.credentials import Credentials
from collective.rpc.remote.connection import Explain

if TYPE_CHECKING:  # few commands move files, or go straight to another member
    from collective.client.copying import Copying
    from collective.client.logins import Login, Logins
    from collective.client.transfer_session import TransferSession

PEER_FRESH_S: Final = 86400.0
"""For so long counts what the own member said of who its peer is, unasked."""
PEER_KEPT_S: Final = 7 * 86400.0
"""The same where it cannot be asked."""

Connect = Callable[["Login", Explain], Connection]
"""Opens a connection; the second says on what is told where its coordinator cannot be reached."""


class Owner(NamedTuple):
    """Who has a path: the connection that leads there, and what things are called at its other end."""

    connection: Connection
    names: Names
    """Its names as they are called here; they know what each is called there."""

    @property
    def session(self) -> TransferSession:
        """What moves its bytes."""
        return self.connection.transfers.session

    def there(self, path: FilePath) -> FilePath:
        """Return what ``path`` is called at the other end."""
        return self.names.there(path)

    def here(self, entry: Entry) -> Entry:
        """Return an entry from the other end as it is called here."""
        return self.names.here(entry)


class Owners:
    """The own member, and those that this client has joined besides; made by the Collective."""

    def __init__(
        self,
        home: Connection,
        login: Login | None = None,
        logins: Logins | None = None,
        connect: Connect | None = None,
    ) -> None:
        """Reach everything through ``home``, and what ``logins`` has by what ``connect`` opens.

        ``login`` is that of ``home``.  None: there is no other way than through it, and nothing is kept.
        """
        self.home = Owner(home, home.names)
        self._login = login
        self._logins = logins
        self._connect = connect
        self._finding = asyncio.Lock()
        self._found: dict[Domain, Owner] = {}
        self._reached: list[tuple[Login | None, Connection]] = [(login, home)]

    async def of(self, path: FilePath) -> Owner:
        """Return who has ``path``; raises as :meth:`at`, and ConflictError for ``/@DOMAIN/@DOMAIN``."""
        domain = path.peer_domain
        owner = self.home if domain is None else await self.at(domain)
        if owner is not self.home and owner.there(path).peer_domain is not None:
            raise ConflictError("A path leads to one other member, and no further.")
        return owner

    async def copying(
        self,
        source: FilePath,
        target: FilePath,
        on_carried: Callable[[CollectiveError], None] | None = None,
    ) -> Copying:
        """Return what makes copies from who has ``source`` to who has ``target``; raises as :meth:`of`.

        ``on_carried`` is called before this machine begins to carry bytes.
        """
        from collective.client.copying import CoordinatorCopying  # noqa: PLC0415 - few commands copy

        one, other = await self.of(source), await self.of(target)
        if one is other:
            return CoordinatorCopying(one)
        from collective.client.copying_between_identities import Carrying  # noqa: PLC0415 - few go straight

        return Carrying(self.home, one, other, on_carried)

    async def at(self, domain: Domain) -> Owner:
        """Return the way to the member of ``domain``.

        Raises ConflictError where the member that was joined is not the own member's peer of that domain,
        UnreachableError where that cannot be asked, and what logging in raises.
        """
        if self._logins is None or domain == self.home.connection.domain:
            return self.home
        async with self._finding:
            if domain not in self._found:
                self._found[domain] = await self._find(domain, self._logins)
            return self._found[domain]

    async def _find(self, domain: Domain, logins: Logins) -> Owner:
        from collective.rpc.remote.owner_paths import OwnerPaths  # noqa: PLC0415 - few go straight

        login = await logins.at(domain)
        if login is None or self._connect is None or self._login is None:
            return self.home
        await self._check_peer(domain, login, logins, self._login.credentials)
        own, who = self.home.connection.domain, login.credentials.identity.global_id

        def explain(why: str) -> str:
            return (
                f"{why} You joined {domain} yourself, so /@{domain} goes straight to it, as {who} there, and"
                f" never through {own}. If it has moved, say where to: collective status --collective"
                f" {login.name} --coordinator HOST:PORT"
            )

        connection = self._connect(login, explain)
        self._reached.append((login, connection))
        return Owner(connection, connection.names_as(OwnerPaths(domain)))

    async def _check_peer(
        self, domain: Domain, login: Login, logins: Logins, own: Credentials
    ) -> None:
        """Return if nothing else than the member of ``login`` can be meant by ``domain``."""
        from collective.pki import certificates  # noqa: PLC0415 - few go straight

        said_s = await logins.said_peer_s(login, own)
        if said_s is not None and said_s <= PEER_FRESH_S:
            return
        home = self.home.connection
        try:
            told = [
                certificates.load_certificate(der) for der in await home.peers.authorities(domain)
            ]
        except NotFoundError:  # no peer of that name: the one that was joined is the only one
            told = None
        except UnreachableError as error:
            if said_s is not None and said_s <= PEER_KEPT_S:
                return
            lately = "" if said_s is None else "lately "
            raise UnreachableError(
                f"{home.domain} has not said {lately}whether its peer {domain} is the member that you joined as"
                f" {login.name}, and cannot be asked now; until then leave /@{domain} out of the path and add:"
                f" --collective {login.name}"
            ) from error
        is_peer = told is not None and _has_any(told, login.credentials)
        if is_peer or said_s is not None:
            await logins.note_peer(login, own, is_peer=is_peer)
        if told is not None and not is_peer:
            raise ConflictError(
                f"The member that you joined as {login.name} calls itself {domain}, but is not the peer that"
                f" {home.domain} knows by that name. If the peer is meant, leave the other: collective identity"
                f" leave {login.name}; else leave /@{domain} out of the path and add: --collective {login.name}"
            )

    async def follow(self) -> None:
        """Follow the new CAs that members told of; nothing fails for that."""
        for login, connection in self._reached:
            newest = connection.channel.newest_authority
            if login is not None and login.follow is not None and newest:
                await login.follow(newest)

    async def close(self) -> None:
        """Keep where members were found, and close every connection, that of the own member too."""
        try:
            for login, connection in self._reached:
                if login is not None and login.found is not None:
                    await login.found(connection.found_at)
        finally:
            await all_of(*(connection.close() for _, connection in self._reached))


def _has_any(authorities: Sequence[Certificate], credentials: Credentials) -> bool:
    """Tell whether ``credentials`` trust the key of one of ``authorities``."""
    from collective.client.identity.certificates import digest_of  # noqa: PLC0415 - few go straight

    return not set(map(digest_of, authorities)).isdisjoint(map(digest_of, credentials.trusted))
