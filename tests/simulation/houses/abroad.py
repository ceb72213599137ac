"""A peer's files through the own coordinator, each call judged by what its owner has granted.

What is not decided by the owner's files (no peer, no right, away) comes out as :class:`ElsewhereError`, for
the model of the owner's files to learn nothing by it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from collective.client.collective import Collective
from collective.client.transfer_session import Resuming
from collective.core.errors import (
    BusyError,
    CollectiveError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from collective.core.paths import FilePath
from collective.model.rights import Right
from tests.simulation.houses.ledger import PEER, Watching, peer_key
from tests.simulation.process import BrokenPromiseError

if TYPE_CHECKING:
    from collective.model.entries import Entry
    from collective.transfer.engine.write_sources import Source
    from tests.simulation.houses.people import Guest

T = TypeVar("T")
STRANGER = "No peer "
"""How a coordinator begins that knows no such peer."""


class ElsewhereError(UnreachableError):
    """A call came to nothing, and not by what the owner's files are."""


class Crossing:
    """One call across houses, judged when it has ended."""

    def __init__(self, guest: Guest, needs: Sequence[tuple[str, Right]]) -> None:
        """Begin a call of ``guest`` that needs any of these rights on each top-level path."""
        self._guest = guest
        self._needs = needs
        self._watching = Watching(guest.host.ledger, guest.who)
        own = guest.resident.house.ledger.register
        self._own_peer = own.watch(peer_key(guest.host.domain))
        self._own = own

    def end(self) -> None:
        """End to watch."""
        self._watching.close()
        self._own.unseen(self._own_peer)

    def is_allowed(self) -> bool:
        """Tell whether the owner's grants allowed it all the time."""
        known = self._own_peer.values == {PEER}
        return known and all(self._watching.certain(top) & need for top, need in self._needs)

    def is_forbidden(self) -> bool:
        """Tell whether the owner's grants never allowed it."""
        return not all(self._watching.possible(top) & need for top, need in self._needs)

    def served(self) -> None:
        """Hear that it was answered; BrokenPromiseError where no grant of the owner's allows it."""
        if self.is_forbidden():
            raise BrokenPromiseError(
                f"{self._guest.name} was served at {self._guest.host.domain} beyond what its grants"
                f" allow: {self._needs}"
            )
        self._guest.count("acknowledged at a peer")

    def failed(self, error: CollectiveError) -> CollectiveError:
        """Return what is said of a failure; BrokenPromiseError where the owner's grants say otherwise."""
        where = f"{self._guest.name} at {self._guest.host.domain}: {error.message}"
        if isinstance(error, PermissionDeniedError):
            if self.is_allowed():
                raise BrokenPromiseError(
                    f"a call is refused that the owner's grants allow: {where}"
                )
            if self.is_forbidden():
                self._guest.count("refused at a peer")
            return ElsewhereError(error.message)
        if isinstance(error, NotFoundError):
            if error.message.startswith(STRANGER):
                if self._own_peer.values == {PEER}:
                    raise BrokenPromiseError(f"a peer is not known: {where}")
                return ElsewhereError(error.message)
            if not any(self._watching.possible(top) for top, _ in self._needs):
                raise BrokenPromiseError(f"absence is told to one who may not know: {where}")
        if isinstance(error, BusyError):
            return ElsewhereError(error.message)
        return error


class Abroad:
    """The files of one peer, as :class:`~tests.simulation.clients.Home`."""

    def __init__(self, home: Collective, guest: Guest) -> None:
        """Use those of the host of ``guest`` through the own member, ``home``."""
        self._home = home
        self._guest = guest
        self.root = f"/@{guest.host.domain}"

    async def _judged(self, need: Right, path: str, work: Awaitable[T]) -> T:
        crossing = Crossing(self._guest, [(f"/{path.split('/')[1]}", need)])
        try:
            result = await work
        except CollectiveError as error:
            raise crossing.failed(error) from error
        finally:
            crossing.end()
        crossing.served()
        return result

    def _here(self, entry: Entry) -> Entry:
        return entry._replace(path=FilePath(entry.path.names[1:]))

    async def stat(self, path: str) -> Entry:
        """Return what ``path`` names."""
        work = self._home.stat(self.root + path)
        return self._here(await self._judged(Right.READ | Right.WRITE, path, work))

    async def list(self, path: str, *, recursive: bool = False) -> AsyncIterator[Entry]:
        """Yield what is below ``path``, when all of it is there."""

        async def all_of_it() -> list[Entry]:
            found = self._home.list(self.root + path, recursive=recursive)
            return [self._here(entry) async for entry in found]

        for entry in await self._judged(Right.READ, path, all_of_it()):
            yield entry

    async def mkdir(self, path: str, *, parents: bool = False) -> Entry:
        """Make a directory."""
        work = self._home.mkdir(self.root + path, parents=parents)
        return self._here(await self._judged(Right.WRITE, path, work))

    async def remove(self, path: str, *, recursive: bool = False) -> int:
        """Remove."""
        work = self._home.remove(self.root + path, recursive=recursive)
        return await self._judged(Right.WRITE, path, work)

    async def move(self, source: str, destination: str) -> Entry:
        """Rename within the peer."""
        work = self._home.move(self.root + source, self.root + destination)
        return self._here(await self._judged(Right.WRITE, source, work))

    async def write(self, path: str, source: Source) -> Entry:
        """Write a file."""
        work = self._home.write(self.root + path, source)
        return self._here(await self._judged(Right.WRITE, path, work))

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file, or a range of it."""
        work = self._home.read(self.root + path, offset=offset, length=length)
        return await self._judged(Right.READ, path, work)

    async def resume(self, path: str, data: bytes, resuming: Resuming) -> None:
        """Write a file, or go on with one that was cut off."""
        session = self._home.transfers.session
        whole = FilePath.parse(self.root + path)
        work: Awaitable[Any] = session.write(whole, data, resuming=resuming)
        await self._judged(Right.WRITE, path, work)
