"""Copies between two members of which this client has joined one besides its own: two identities of one person.

The identity that reads the source has to have the right to read it, and the one that writes the target the right to
write it.  The own member's coordinator makes the copy if the grants of its person allow the same, which are others;
then no byte passes here.  Otherwise this machine carries the bytes, chunk by chunk as they are stored: chunks that
the target's member has already are not sent, and memory is bounded.

A coordinator that refuses a copy is not asked again by the same command.  One that is busy or cannot reach the other
member is asked again a minute later, and until then this machine carries.  Anything else is about that file alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from collective.client.owners import Owner
from collective.client.transfer_session import TransferSession
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from collective.core.paths import FilePath
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.progress import Progress
from collective.model.routes import RouteMode
from collective.model.transfers import OpenedRead, OpenedUpload
from collective.model.writing import Attributes, Precondition
from collective.transfer.engine.comparing import LeasedPieces, same_pieces
from collective.transfer.engine.copying import CopySource, FileCopy
from collective.transfer.engine.upload_session import Opening, end_upload

WINDOW_CHUNKS: Final = 4
"""Chunks of one copy that are in memory."""
PAUSE_S: Final = 60.0
"""After so long a coordinator is asked again that could not make a copy just then: each time may cost its patience."""


@dataclass(slots=True)
class Carrying:
    """Copies of one command from one owner to another, as :class:`~collective.client.copying.Copying`."""

    home: Owner
    """The own member."""
    source: Owner
    target: Owner
    on_carried: Callable[[CollectiveError], None] | None = None
    """Called once, when this machine begins to carry bytes, with what the own member's coordinator answered."""
    _ask_from_s: float = field(default=-math.inf, init=False)
    """When that coordinator may be asked, by the monotonic clock."""
    _has_told: bool = field(default=False, init=False)

    async def copy(
        self,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        *,
        unless_same: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Entry, bool]:
        """Copy a file; return the entry at ``target``, and whether it was left as it was.

        Each end is judged as the identity that goes there.
        """
        ends = End(self.source, source), End(self.target, target)
        if unless_same:
            same = await same_pieces(*(end.pieces() for end in ends))
            if same is not None:
                return self.target.here(same), True
        told = _Told(progress)
        if self._now_s() >= self._ask_from_s:
            made = await self._by_coordinators(*ends, condition, told.count)
            if isinstance(made, Entry):
                return made, False
            told.begin_anew()
            self._tell(made)
        return self.target.here(await _carry(*ends, condition, told.count)), False

    async def _by_coordinators(
        self, source: End, target: End, condition: Precondition, progress: Progress
    ) -> Entry | CollectiveError:
        """Have the own member's coordinator make the copy; return why it does not.

        Only what both identities may do is asked of it: each opens its end first, and raises what that raises.
        """
        await _check_both(source, target, condition)
        copying = self.home.connection.copying
        try:
            made, _ = await copying.copy(source.path, target.path, condition, progress=progress)
        except PermissionDeniedError as error:
            self._ask_from_s = math.inf
            return error
        except (UnreachableError, BusyError) as error:
            self._ask_from_s = self._now_s() + PAUSE_S
            return error
        except (NotFoundError, ConflictError) as error:
            return error
        return made

    def _now_s(self) -> float:
        return self.home.connection.clock.monotonic_s()

    def _tell(self, error: CollectiveError) -> None:
        if self.on_carried is not None and not self._has_told:
            self._has_told = True
            self.on_carried(error)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a copy: a path as it is called here, and who has it."""

    owner: Owner
    path: FilePath

    @property
    def there(self) -> FilePath:
        """What it is called at its owner."""
        return self.owner.there(self.path)

    @property
    def session(self) -> TransferSession:
        """What moves bytes there."""
        return self.owner.connection.transfers.session

    def pieces(self) -> LeasedPieces:
        """Return the pieces of the file, once somebody looks at them."""
        session = self.session

        async def lease(mode: RouteMode) -> OpenedRead:
            return await session.open_read(self.there, 0, 0, 0, mode)

        return LeasedPieces(session.reads, session.call, lease, session.leases.give_back)


class _Told:
    """What a caller was told of one file: no byte twice, though the copy may begin anew."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._told = 0
        self._safe = 0

    def count(self, size_bytes: int) -> None:
        """Tell of bytes that are safe, and that were not told of before."""
        self._safe += size_bytes
        fresh = self._safe - self._told
        if fresh > 0 and self._progress is not None:
            self._told = self._safe
            self._progress(fresh)

    def begin_anew(self) -> None:
        """Forget what was safe."""
        self._safe = 0


async def _check_both(source: End, target: End, condition: Precondition) -> None:
    """Return where ``source`` can be read and ``target`` be written; raise what that would raise."""
    reads, writes = source.session, target.session
    opened = await reads.open_read(source.there, 0, 0, 0, RouteMode.DIRECT)
    await reads.leases.give_back(opened.lease)
    begun = await writes.uploads.open_upload(
        writes.call, target.there, Attributes(), condition, (), mode=RouteMode.DIRECT
    )
    await end_upload(writes.uploads, writes.call, begun.id)


async def _carry(source: End, target: End, condition: Precondition, progress: Progress) -> Entry:
    """Copy by this machine's own connections."""
    reads, writes = source.session, target.session
    found: list[Entry] = []

    async def lease(mode: RouteMode) -> OpenedRead:
        opened = await reads.open_read(source.there, 0, 0, 0, mode)
        found.append(opened.entry)
        return opened

    async def begin(
        extents: Sequence[Extent], holes: Sequence[Hole], mode: RouteMode
    ) -> OpenedUpload:
        await writes.peers.prepare(target.there)
        return await writes.uploads.open_upload(
            writes.call,
            target.there,
            _attributes_of(found[0]),
            condition,
            extents,
            holes,
            mode=mode,
        )

    return await FileCopy(
        writes.engine_for(target.there),
        writes.call,
        CopySource(
            reads.engine_for(source.there),
            reads.reads,
            lease,
            reads.leases.give_back,
        ),
        writes.uploads,
        Opening(begin, progress=progress),
        window=WINDOW_CHUNKS,
    ).run()


def _attributes_of(entry: Entry) -> Attributes:
    return Attributes(
        modified_ns=entry.modified_ns,
        mode=entry.mode,
        content_type=entry.content_type,
        metadata=entry.metadata,
    )
