"""The member's files for a face in its own process, such as S3 or the web: what clients have over the network.

Who is judged is the face's to say, by a :class:`Call` for each of its users.  The coordinator carries the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from collective.client.copying import Copying
from collective.client.files.by_owner import FilesByOwner
from collective.client.files.interface import Files
from collective.client.names import Names
from collective.client.transfer_session import TransferSession
from collective.core.errors import CollectiveError
from collective.core.ids import Domain, LeaseId, SpiffeId
from collective.core.paths import FilePath
from collective.core.world import Pool
from collective.member.files.copying import MemberCopying
from collective.member.files.member_directory import MemberDirectory
from collective.member.files.name_directory import NameDirectory
from collective.member.files.whole_files import Engines
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.progress import Progress
from collective.model.writing import Precondition
from collective.transfer.engine.control import ReadControl
from collective.transfer.engine.engine import Engine
from collective.transfer.engine.window import Window

WINDOW_CHUNKS: Final = 4
"""Chunks that all transfers of one user, at one member, hold in memory."""


class InProcess:
    """Gives each caller the files of this member and its peers."""

    def __init__(
        self,
        own: SpiffeId,
        owners: MemberDirectory,
        engines: Engines,
        copying: MemberCopying,
        pool: Pool,
    ) -> None:
        """Carry bytes as ``own``, of the files that ``owners`` know.

        File objects that are written are read on ``pool``.
        """
        self._own = own
        self._owners = owners
        self._engines = engines
        self._copying = copying
        self._pool = pool

    def files(self, call: Call) -> Files:
        """Return the files as the principal of ``call`` may use them; they hold nothing to be closed."""
        return FilesByOwner(
            _Owners(self._own, self._owners, self._engines, self._copying, self._pool, call)
        )


class _Owners:
    """Finds who has a path, for one caller."""

    def __init__(
        self,
        own: SpiffeId,
        owners: MemberDirectory,
        engines: Engines,
        copying: MemberCopying,
        pool: Pool,
        call: Call,
    ) -> None:
        self._members = owners
        self._engines = engines
        self._pool = pool
        self._call = call._replace(carrier=own)
        self._names = Names(NameDirectory(owners), call)
        self._copying = _Copying(copying, call)
        self._found: dict[Domain | None, _Owner] = {}

    async def of(self, path: FilePath) -> _Owner:
        """Return who has ``path``; NotFoundError for ``/@DOMAIN`` of a stranger."""
        files = self._members.of_path(self._call, path)
        domain = path.peer_domain
        found = self._found.get(domain)
        if found is None or found.session.reads is not files.reads:  # peered anew, perhaps
            engine = self._engines.engine_for(path)
            session = TransferSession(
                uploads=files.uploads,
                reads=files.reads,
                call=self._call,
                engine=engine,
                pool=self._pool,
                leases=_Leases(files.reads, self._call),
                window=Window(WINDOW_CHUNKS),
                peers=_Prepared(),
                engines=_One(engine),
            )
            found = self._found[domain] = _Owner(self._names, session)
        return found

    async def copying(
        self,
        _source: FilePath,
        _target: FilePath,
        _on_carried: Callable[[CollectiveError], None] | None,
    ) -> Copying:
        """Return what makes copies, from whichever member to whichever."""
        return self._copying


@dataclass(frozen=True, slots=True)
class _Owner:
    """A member, whose paths are here what they are to the directory."""

    names: Names
    session: TransferSession

    def there(self, path: FilePath) -> FilePath:
        return path

    def here(self, entry: Entry) -> Entry:
        return entry


@dataclass(frozen=True, slots=True)
class _Leases:
    reads: ReadControl
    call: Call

    async def give_back(self, lease: LeaseId) -> None:
        with suppress(CollectiveError):  # it ends by itself
            await self.reads.close_reads(self.call, [lease])


@dataclass(frozen=True, slots=True)
class _One:
    engine: Engine

    def of(self, _domain: Domain) -> Engine:
        return self.engine


class _Prepared:
    async def prepare(self, path: FilePath) -> None:
        """Do nothing: the coordinator knows the CAs of its peers."""


@dataclass(frozen=True, slots=True)
class _Copying:
    copying: MemberCopying
    call: Call

    async def copy(
        self,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        *,
        unless_same: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Entry, bool]:
        if unless_same:
            same = await self.copying.same(self.call, source, target)
            if same is not None:
                return same, True
        return await self.copying.copy(
            self.call, source, target, condition, progress=progress
        ), False
