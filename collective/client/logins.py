"""With what a client connects to the members that it has joined."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from collective.core.ids import Domain
from collective.core.units import Address
from collective.pki.credentials import Credentials


class Login(NamedTuple):
    """One identity at one member."""

    credentials: Credentials
    addresses: tuple[Address, ...]
    """Where the coordinator may be; none leaves those that the certificate itself carries."""
    name: str = ""
    """What the member is called on this machine; empty for credentials that the caller keeps."""
    follow: Callable[[bytes], Awaitable[object]] | None = None
    """Takes a new CA, by the SHA-256 of its key; None for files that the caller keeps."""
    found: Callable[[tuple[Address, ...]], Awaitable[None]] | None = None
    """Takes where the coordinator was found; None as above."""


class Logins(Protocol):
    """The identities that one client has."""

    async def at(self, domain: Domain) -> Login | None:
        """Return how to connect to the member of ``domain``; None where this client has not joined it.

        Raises ConflictError where two members of that domain were joined, and what renewing a certificate
        raises that ran out.
        """
        ...

    async def said_peer_s(self, login: Login, home: Credentials) -> float | None:
        """Return how many seconds ago the member of ``home`` said that this one is its peer of that domain.

        None where it has not, or has said since that it is not.
        """
        ...

    async def note_peer(self, login: Login, home: Credentials, *, is_peer: bool) -> None:
        """Remember what the member of ``home`` says of that now; nothing fails for it."""
        ...
