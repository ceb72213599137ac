"""Who has a path, and how this client gets there: through its own member, or straight.

``/@DOMAIN/…`` of a member that this client has joined itself goes straight there, always, as the identity
that joined.  That is another person there than the one whom the own member vouches for, with grants of its
own; so neither ever stands in for the other, and what a command may do is the same whether a way is up or
down.  Every other ``/@DOMAIN/…`` goes through the own member, which forwards it.

Members choose their domains.  Before a path goes straight for the first time, the own member is asked whether
the peer that it knows by that domain is the one that was joined: its CA tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collective.client.connection import Connection
from collective.client.names import Names
from collective.core.errors import ConflictError, NotFoundError, UnreachableError
from collective.core.ids import Domain
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.pki.credentials import Credentials
from collective.rpc.remote.connection import Explain

if TYPE_CHECKING:  # few commands go straight to another member
    from collective.client.logins import Login, Logins

Connect = Callable[["Login", Explain], Connection]
"""Opens a connection; the second says on what is told where its coordinator cannot be reached."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has a path: the connection that leads there, and what things are called at its other end."""

    connection: Connection
    names: Names
    """Its names as they are called here; they know what each is called there."""

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
        credentials: Credentials | None = None,
        logins: Logins | None = None,
        connect: Connect | None = None,
    ) -> None:
        """Reach everything through ``home``, and what ``logins`` has by what ``connect`` opens.

        ``credentials`` are those of the own member.  None: there is no other way than through it.
        """
        self.home = Owner(home, home.names)
        self._credentials = credentials
        self._logins = logins
        self._connect = connect
        self._finding = asyncio.Lock()
        self._found: dict[Domain, Owner] = {}
        self._straight: list[tuple[Login, Connection]] = []

    async def of(self, path: FilePath) -> Owner:
        """Return who has ``path``; raises as :meth:`at`, and ConflictError for ``/@DOMAIN/@DOMAIN``."""
        domain = path.peer_domain
        owner = self.home if domain is None else await self.at(domain)
        if owner is not self.home and owner.there(path).peer_domain is not None:
            raise ConflictError("A path leads to one other member, and no further.")
        return owner

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
        if login is None or self._connect is None or self._credentials is None:
            return self.home
        await self._check_peer(domain, login, logins, self._credentials)
        own, who = self.home.connection.domain, login.credentials.identity.global_id

        def explain(why: str) -> str:
            return (
                f"{why} You joined {domain} yourself, so /@{domain} goes straight to it, as {who} there, and"
                f" never through {own}. If it has moved, say where to: collective status --collective"
                f" {login.name} --coordinator HOST:PORT"
            )

        connection = self._connect(login, explain)
        self._straight.append((login, connection))
        return Owner(connection, connection.names_as(OwnerPaths(domain)))

    async def _check_peer(
        self, domain: Domain, login: Login, logins: Logins, own: Credentials
    ) -> None:
        """Return if nothing else than the member of ``login`` can be meant by ``domain``."""
        from collective.pki import certificates  # noqa: PLC0415 - few go straight

        if await logins.is_peer_of(login, own):
            return
        home = self.home.connection
        try:
            told = [
                certificates.load_certificate(der) for der in await home.peers.authorities(domain)
            ]
        except NotFoundError:  # no peer of that name: the one that was joined is the only one
            return
        except UnreachableError as error:
            raise UnreachableError(
                f"{home.domain} has not said yet whether its peer {domain} is the member that you joined as"
                f" {login.name}, and cannot be asked now; until then leave /@{domain} out of the path and add:"
                f" --collective {login.name}"
            ) from error
        keys = {certificates.key_digest(certificates.certificate_key(one)) for one in told}
        trusted = login.credentials.trusted
        if not any(
            certificates.key_digest(certificates.certificate_key(one)) in keys for one in trusted
        ):
            raise ConflictError(
                f"The member that you joined as {login.name} calls itself {domain}, but is not the peer that"
                f" {home.domain} knows by that name. If the peer is meant, leave the other: collective identity"
                f" leave {login.name}; else leave /@{domain} out of the path and add: --collective {login.name}"
            )
        await logins.note_peer_of(login, own)

    async def follow(self) -> None:
        """Follow the new CAs that members reached straight told of; nothing fails for that."""
        for login, connection in self._straight:
            if login.follow is not None and connection.channel.newest_authority:
                await login.follow(connection.channel.newest_authority)

    async def close(self) -> None:
        """Close every connection, that of the own member too; keep where others were found."""
        for login, connection in self._straight:
            if login.found is not None:
                await login.found(connection.found_at)
        connections = [self.home.connection, *(one for _, one in self._straight)]
        await asyncio.gather(*(one.close() for one in connections))
