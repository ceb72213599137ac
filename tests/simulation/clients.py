"""People who use the member: each on a machine of its own, with grants of its own, by the real client.

Every operation is entered into the model before it begins and judged when it ends.  Changes of one path
take turns; reads go beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from collective.client.collective import Collective
from collective.client.identity.certificates import digest_of
from collective.client.transfer_session import Resuming
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    CorruptionError,
    InternalError,
    NoSpaceError,
    NotEnoughCopiesError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from collective.core.ids import UploadId
from collective.core.paths import FilePath
from collective.core.world import World
from collective.model.entries import Entry, EntryKind
from collective.pki.credentials import Credentials
from collective.pki.renewal_times import is_due
from collective.rpc.links import Links
from tests.simulation.member import Member
from tests.simulation.model import HUGE_BYTES, Change, Files, Value, content, value_of
from tests.simulation.pace import Pace
from tests.simulation.process import BrokenPromiseError, Process

if TYPE_CHECKING:
    from collective.transfer.engine.write_sources import Source
    from tests.simulation.machine import Machine

WITHOUT_EFFECT: Final = (PermissionDeniedError, NotEnoughCopiesError, NoSpaceError, BusyError)
"""Errors after which nothing of a write may be visible."""
PATIENCE_S: Final = 240.0
"""No operation takes longer: the client has deadlines for everything."""
NAMES: Final = 14
SELDOM: Final = "/wide"
"""Chunks there never have all the copies that they want, so repair looks at them in each round."""
SLOW_BYTES: Final = 5_000
"""Of what is written slowly so much comes at once: a chunk of it is stored long before it ends."""
HUGE_MORE_BYTES: Final = 384 << 10
PAUSE_S: Final = 6.0
"""Before a huge file is removed again, on average."""


@dataclass(slots=True)
class Rights:
    """What one person may do, by top-level path."""

    read: frozenset[str]
    write: frozenset[str]


class Home(Protocol):
    """A member's files, as the client library has them: one's own, or a peer's through one's own."""

    async def stat(self, path: str) -> Entry:
        """Return what ``path`` names."""
        ...

    def list(self, path: str, *, recursive: bool = False) -> AsyncIterator[Entry]:
        """Yield what is below ``path``."""
        ...

    async def mkdir(self, path: str, *, parents: bool = False) -> Entry:
        """Make a directory."""
        ...

    async def remove(self, path: str, *, recursive: bool = False) -> int:
        """Remove."""
        ...

    async def move(self, source: str, destination: str) -> Entry:
        """Rename."""
        ...

    async def write(self, path: str, source: Source) -> Entry:
        """Write a file."""
        ...

    async def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file, or a range of it."""
        ...

    async def resume(self, path: str, data: bytes, resuming: Resuming) -> None:
        """Write a file, or go on with one that was cut off."""
        ...


class Own:
    """The files of the own member."""

    def __init__(self, home: Collective) -> None:
        """Use ``home``."""
        self._home = home

    def __getattr__(self, name: str) -> Any:
        return getattr(self._home, name)

    async def resume(self, path: str, data: bytes, resuming: Resuming) -> None:
        """Write a file, or go on with one that was cut off."""
        session = self._home.transfers.session
        await session.write(FilePath.parse(path), data, resuming=resuming)


@dataclass(slots=True)
class Desk:
    """What all clients of a run share."""

    member: Member
    files: Files
    chance: random.Random
    pace: Pace
    contents: int = 0
    busy: dict[str, None] = field(default_factory=dict)
    """Paths that somebody is changing."""
    restores: int = 0
    """How often the catalogue was put back: what was under way then is judged no more."""
    closed: bool = False
    """The member is set up anew, and nobody has any rights yet."""
    calm: bool = False
    """No fault is under way, nor was lately: what the rules allow must work."""
    check_acknowledged: Callable[[str, int], None] = lambda *_: None
    """Looks whether what was just acknowledged lies where it must."""

    def pause_s(self) -> float:
        """Return how long people rest between two acts: so that a run has about what it must have."""
        due = self.member.loop.now_s / 60 * self.pace.acts_a_minute
        ahead = self.member.trace.counts["acknowledged"] - due
        return self.pace.pause_s * min(4.0, max(0.3, 1.0 + ahead / 20))

    def fresh(self, size: int = 0) -> int:
        """Return a value that no path has held, of ``size``, or (0) of one that chance decides."""
        self.contents += 1
        if size:
            return value_of(self.contents, size)
        kind = self.chance.random()
        if kind < 0.62:
            size = self.chance.randrange(1, 3000)
        elif kind < 0.9:
            size = self.chance.randrange(3000, 9000)
        else:
            size = self.chance.randrange(9000, 30_000)
        return value_of(self.contents, size)


def _tell(using: asyncio.Task[Any]) -> None:
    """Have the run hear at once of what ended what somebody did."""
    error = None if using.cancelled() else using.exception()
    if error is not None:
        told = {"message": "in what a person did", "exception": error}
        using.get_loop().call_exception_handler(told)


class Person:
    """One person at one machine."""

    def __init__(
        self, name: str, desk: Desk, credentials: Credentials | None, rights: Rights
    ) -> None:
        """Use the member with ``credentials``."""
        self.name = name
        self.desk = desk
        self.credentials = credentials
        self._rights = rights
        self.chance = random.Random(f"{desk.member.seed} person {name}")
        self.stopped = False
        self.idle = False
        """Whether it was told to stop and has nothing under way."""

    @property
    def rights(self) -> Rights:
        """What this person may do."""
        return self._rights

    @property
    def machine(self) -> Machine:
        """Where this person works."""
        return self.desk.member.machine(self.name)

    @property
    def identity(self) -> str:
        """The SPIFFE id that this person's certificate shows."""
        assert self.credentials is not None
        return str(self.credentials.certified.identity)

    def start(self) -> None:
        """Begin to use the member, in a new process; nothing where one runs, or it cannot be used."""
        if self.machine.alive or self.desk.closed:
            return
        process, world, links = self.machine.begin()
        using = self.machine.run(process, self._use(process, world, links))
        using.add_done_callback(_tell, context=process.context())

    async def _use(self, process: Process, world: World, links: Links) -> None:
        assert self.credentials is not None
        while not self.stopped:
            async with Collective.connect(
                self.credentials, (self.desk.member.coordinator_address,), world=world, links=links
            ) as home:
                while not self.stopped and not await self.follow(home, world, links):
                    await asyncio.sleep(self.chance.uniform(0.2, 2 * self.pause_s()))
                    if resting_s := self.desk.pace.until_morning_s(world.clock.monotonic_s()):
                        await asyncio.sleep(resting_s)
                    if not self.stopped:
                        await self.act(home)
        self.idle = True

    def pause_s(self) -> float:
        """Return how long this person rests between two acts, on average."""
        return self.desk.pause_s()

    async def follow(self, home: Collective, world: World, links: Links) -> bool:
        """Renew the certificate if it is due or the member's CA is being replaced; return whether it was.

        Another connection is needed then.
        """
        newest, known = home.newest_authority, self.credentials
        if known is None:
            return False
        is_replaced = newest and newest != digest_of(known.authority)
        if not is_replaced and not is_due(known.certified, world.clock.wall_s()):
            return False
        with contextlib.suppress(CollectiveError):
            self.credentials = await self.desk.member.renew_user(known, world, links)
            return True
        return False

    async def act(self, home: Collective) -> None:
        """Do one thing."""
        await self.use(Own(home))

    async def use(self, home: Home) -> None:
        """Do one thing with the files of a member."""
        acts: tuple[tuple[float, Callable[[Home], Awaitable[None]]], ...] = (
            (0.21, self._write),
            (0.05, self._write_slowly),
            (0.03, self._resume),
            (0.02, self._tree),
            (0.005, self._huge),
            (0.25, self._read),
            (0.10, self._read_range),
            (0.10, self._list),
            (0.12, self._stat),
            (0.08, self._remove),
            (0.04, self._move),
            (0.03, self._trespass),
        )
        act = self.chance.choices([one for _, one in acts], [weight for weight, _ in acts])[0]
        await self.within_patience(act(home), act.__name__)

    async def within_patience(self, work: Awaitable[None], what: str) -> None:
        """Do ``work``; BrokenPromiseError if it has no end."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await work
        except TimeoutError as error:
            raise BrokenPromiseError(
                f"an operation of {self.name} has no end: {what} took {PATIENCE_S:g} s"
            ) from error

    # --- choosing --------------------------------------------------------------------------------

    def _path(self, tops: frozenset[str]) -> str:
        top = self.chance.choice(sorted(tops))
        if top == SELDOM and self.chance.random() < 0.75:
            top = self.chance.choice(sorted(tops))
        return f"{top}/{self.chance.randrange(NAMES):02d}"

    def _existing(self, tops: frozenset[str]) -> str | None:
        files = self.desk.files
        found = [
            path
            for path in files.paths()
            if f"/{path.split('/')[1]}" in tops and files.certain(path) is not None
        ]
        return self.chance.choice(found) if found else None

    # --- changes ---------------------------------------------------------------------------------

    async def _change(  # noqa: C901 - each way that a change can end
        self, changes: dict[str, Value], work: Awaitable[Any], what: str
    ) -> CollectiveError | None:
        """Do ``work``, which makes ``changes``; return why not."""
        desk, files = self.desk, self.desk.files
        before = {path: files.may_be(path) for path in changes}
        begun: list[Change] = []
        restores = desk.restores
        process = self.machine.process
        for path, value in changes.items():
            desk.busy[path] = None
            begun.append(files.begin(path, value))

        def end(act: Callable[[Change], None]) -> None:
            for path in changes:
                desk.busy.pop(path, None)
            if restores == desk.restores:
                for change in begun:
                    act(change)

        def died() -> None:
            end(files.cut_off)

        assert process is not None
        process.on_death.append(died)
        try:
            await work
        except CollectiveError as error:
            self._note(f"{what} {list(changes)}: {error.code} {error.message}")
            if isinstance(error, InternalError):
                raise BrokenPromiseError(f"{what} met a defect: {error.message}") from error
            self._check_refusal(error, changes, before, what)
            end(files.refused if self._is_without_effect(error, what) else files.cut_off)
            return error
        except asyncio.CancelledError:
            end(files.cut_off)
            raise
        finally:
            if died in process.on_death:
                process.on_death.remove(died)
        self._note(f"{what} {changes}: done")
        if what in {"write", "copy"} and restores == desk.restores:
            for path, value in changes.items():
                assert value is not None
                desk.check_acknowledged(path, value)
        self.desk.member.trace.count("acknowledged")
        end(files.done)
        return None

    def _is_without_effect(self, error: CollectiveError, what: str) -> bool:
        """Tell whether nothing of a change that ended so is there, nor will be."""
        del what
        return isinstance(error, WITHOUT_EFFECT)

    def _check_refusal(
        self,
        error: CollectiveError,
        changes: dict[str, Value],
        before: dict[str, frozenset[Value]],
        what: str,
    ) -> None:
        if isinstance(error, PermissionDeniedError):
            raise BrokenPromiseError(
                f"a write is refused that the rules allow: {what} {list(changes)}: {error.message}"
            )
        if isinstance(error, NotFoundError) and what not in {"write", "copy"}:
            for path, value in changes.items():
                if value is None and None not in before[path]:
                    raise BrokenPromiseError(f"{path} was acknowledged and is not found")
        if self.desk.calm and isinstance(error, NotEnoughCopiesError | UnreachableError):
            raise BrokenPromiseError(
                f"a write is refused that the rules allow, in quiet: {what}: {error.message}"
            )

    def _note(self, text: str) -> None:
        self.desk.member.trace.note(f"{self.name} {text}")

    async def _write(self, home: Home) -> None:
        if not self.rights.write:
            return await self._read(home)
        path = self._path(self.rights.write)
        if path in self.desk.busy:
            return None
        if self.chance.random() < 0.1 and (other := self._existing(self.rights.write)):
            value = self.desk.files.certain(other)  # the same chunks again
            assert value is not None
        else:
            value = self.desk.fresh()
        await self._change({path: value}, home.write(path, content(value)), "write")
        return None

    async def _write_slowly(self, home: Home) -> None:
        """Write as a program does that makes its bytes while it goes."""
        if not self.rights.write:
            return await self._read_range(home)
        path = self._path(self.rights.write)
        if path in self.desk.busy:
            return None
        value = self.desk.fresh(self.chance.randrange(SLOW_BYTES, 2 * SLOW_BYTES))
        longest_s = self.chance.choice((2.0, 10.0, 40.0, 40.0))

        async def pieces() -> AsyncIterator[bytes]:
            data = content(value)
            yield data[:SLOW_BYTES]
            step = max(1, (len(data) - SLOW_BYTES) // 4)
            for at in range(SLOW_BYTES, len(data), step):
                await asyncio.sleep(self.chance.uniform(0.4, 1.0) * longest_s)
                yield data[at : at + step]

        await self._change({path: value}, home.write(path, pieces()), "write")
        return None

    async def _resume(self, home: Home) -> None:  # noqa: C901 - each way that it can end
        """Write as ``put`` does: what is cut off goes on where it stopped."""
        if not self.rights.write:
            return
        path = self._path(self.rights.write)
        if path in self.desk.busy:
            return
        value = self.desk.fresh()
        upload: UploadId | None = None

        async def opened(begun: UploadId) -> None:
            nonlocal upload
            upload = begun

        async def put() -> None:
            nonlocal upload
            for left in (2, 1, 0):
                try:
                    await home.resume(path, content(value), Resuming(upload, opened))
                except UnreachableError:
                    if not left:
                        raise
                    await asyncio.sleep(self.chance.random() * 10)
                except NotFoundError:  # the upload has ended meanwhile, or is of a lost future
                    if not left or upload is None:
                        raise
                    upload = None
                else:
                    return

        await self._change({path: value}, put(), "write")

    async def _tree(self, home: Home) -> None:
        """Make a folder with files, or remove it with all that is in it."""
        if not self.rights.write:
            return
        top = self.chance.choice(sorted(self.rights.write))
        folder = f"{top}/d{self.chance.randrange(3)}"
        files, busy = self.desk.files, self.desk.busy
        below = [path for path in files.paths() if path.startswith(f"{folder}/")]
        if any(path in busy or not files.is_quiet(path) for path in below):
            return
        if any(files.may_be(path) - {None} for path in below):
            work = home.remove(folder, recursive=True)
            await self._change(dict.fromkeys(below), work, "remove tree")
            return
        try:
            await home.mkdir(folder, parents=True)
        except CollectiveError as error:
            self._note(f"mkdir {folder}: {error.code}")
            return
        for name in ("a", "b"):
            path = f"{folder}/{name}"
            if path not in busy:
                value = self.desk.fresh()
                await self._change({path: value}, home.write(path, content(value)), "write")

    async def _huge(self, home: Home) -> None:
        """Write a file of very many pieces, and remove it soon."""
        if not self.rights.write:
            return
        path = f"{self.chance.choice(sorted(self.rights.write))}/huge"
        if path in self.desk.busy or not self.desk.files.is_quiet(path):
            return
        value = self.desk.fresh(HUGE_BYTES + self.chance.randrange(HUGE_MORE_BYTES))
        if await self._change({path: value}, home.write(path, content(value)), "write") is None:
            await asyncio.sleep(self.chance.uniform(0.0, 2 * PAUSE_S))
            await self._change({path: None}, home.remove(path), "remove")

    async def _remove(self, home: Home) -> None:
        path = self._existing(self.rights.write) if self.rights.write else None
        if path is None or path in self.desk.busy or not self.desk.files.is_quiet(path):
            return
        await self._change({path: None}, home.remove(path), "remove")

    async def _move(self, home: Home) -> None:
        source = self._existing(self.rights.write) if self.rights.write else None
        files, busy = self.desk.files, self.desk.busy
        if source is None or source in busy or not files.is_quiet(source):
            return
        target = f"/{source.split('/')[1]}/{self.chance.randrange(NAMES):02d}"
        if target == source or target in busy:
            return
        changes = {source: None, target: files.certain(source)}
        lost = files.may_be_lost(source)
        if await self._change(changes, home.move(source, target), "move") is None and lost:
            files.give_up([target])

    # --- reads -----------------------------------------------------------------------------------

    async def _read(self, home: Home) -> None:
        path = self._existing(self.rights.read) or self._path(self.rights.read)
        await self.read(home, path)

    async def _read_range(self, home: Home) -> None:
        path = self._existing(self.rights.read)
        if path is None:
            return
        value = self.desk.files.certain(path)
        size = (value or 1) & 0xFFFFFF
        offset = self.chance.randrange(size)
        length = self.chance.randrange(1, size - offset + 1)
        await self.read(home, path, offset, length)

    async def read(  # noqa: C901 - each way that a read can end
        self,
        home: Home,
        path: str,
        offset: int = 0,
        length: int | None = None,
        *,
        must: bool = False,
    ) -> bool:
        """Read and judge what comes; return whether it came.  ``must``: it has to."""
        desk, files = self.desk, self.desk.files
        watch = files.watch(path)
        restores = desk.restores
        try:
            data = await home.read(path, offset=offset, length=length)
        except NotFoundError as error:
            if restores == desk.restores and not files.seen(watch, None):
                raise BrokenPromiseError(
                    f"{path} was acknowledged and is not found ({sorted(map(str, watch.values))})"
                ) from error
            return True
        except CollectiveError as error:
            files.unseen(watch)
            self._note(f"read {path}: {error.code} {error.message}")
            if isinstance(error, InternalError | PermissionDeniedError):
                raise BrokenPromiseError(f"read of {path} was refused: {error.message}") from error
            if isinstance(error, ConflictError):
                return False
            if (must or desk.calm) and not files.may_be_lost(path):
                raise BrokenPromiseError(
                    f"{path} was acknowledged and cannot be read: {error.message}"
                ) from error
            if isinstance(error, CorruptionError) and not files.may_be_lost(path):
                self._note(f"every copy of {path} that can be reached is damaged")
            return False
        if restores != desk.restores:
            files.unseen(watch)
            return True
        end = None if length is None else offset + length
        fits = [
            value
            for value in watch.values
            if value is not None and content(value)[offset:end] == data
        ]
        if not fits:
            raise BrokenPromiseError(
                f"{path} was read wrong: {len(data)} bytes at {offset} that were never written there"
            )
        if len(fits) == 1 and length is None:
            files.seen(watch, fits[0])
        else:
            files.unseen(watch)
        desk.member.trace.count("acknowledged")
        self._note(f"read {path} {offset}+{len(data)}")
        return True

    async def _stat(self, home: Home) -> None:
        path = self._existing(self.rights.read) or self._path(self.rights.read)
        files = self.desk.files
        watch = files.watch(path)
        restores = self.desk.restores
        try:
            size: int | None = (await home.stat(path)).size_bytes
        except NotFoundError:
            size = None
        except CollectiveError as error:
            files.unseen(watch)
            self._note(f"stat {path}: {error.code}")
            return
        files.unseen(watch)
        sizes = {None if one is None else one & 0xFFFFFF for one in watch.values}
        if size not in sizes and restores == self.desk.restores:
            raise BrokenPromiseError(f"{path} has {size} bytes and may have {sizes}")
        self.desk.member.trace.count("acknowledged")

    async def _list(self, home: Home) -> None:
        top = self.chance.choice(sorted(self.rights.read))
        await self.list(home, top)

    async def list(self, home: Home, top: str) -> bool:
        """List and judge what comes; return whether it came."""
        files = self.desk.files
        below = [path for path in files.paths() if path.startswith(f"{top}/")]
        watches = [files.watch(path) for path in below]
        restores = self.desk.restores
        try:
            found = {
                str(entry.path): entry.size_bytes
                async for entry in home.list(top, recursive=True)
                if entry.kind is EntryKind.FILE
            }
        except CollectiveError as error:
            self._note(f"list {top}: {error.code}")
            if isinstance(error, PermissionDeniedError | NotFoundError):
                raise BrokenPromiseError(f"{top} cannot be listed: {error.message}") from error
            return False
        finally:
            for watch in watches:
                files.unseen(watch)
        if restores != self.desk.restores:
            return True
        for watch in watches:
            size = found.pop(watch.path, None)
            sizes = {None if one is None else one & 0xFFFFFF for one in watch.values}
            if size not in sizes:
                raise BrokenPromiseError(
                    f"the list shows {watch.path} with {size} bytes; it may have {sizes}"
                )
        strange = [path for path in found if path not in files.paths()]
        if strange:
            raise BrokenPromiseError(f"the list shows files that nobody wrote: {strange}")
        self.desk.member.trace.count("acknowledged")
        return True

    # --- what nobody may ---------------------------------------------------------------------------

    async def _trespass(self, home: Home) -> None:
        """Try what no grant allows; everything but a refusal is wrong."""
        tops = frozenset(f"/{path.split('/')[1]}" for path in self.desk.files.paths())
        unread = sorted(tops - self.rights.read)
        unwritten = sorted(tops - self.rights.write)
        if unread and self.chance.random() < 0.6:
            path = self._existing(frozenset(unread))
            if path is None:
                return
            try:
                await home.read(path)
            except CollectiveError:
                self.desk.member.trace.count("refused as it must be")
                return
            raise BrokenPromiseError(f"{self.name} read {path}, which no grant shows")
        if unwritten:
            path = self._path(frozenset(unwritten))
            try:
                await home.write(path, b"trespass")
            except CollectiveError:
                self.desk.member.trace.count("refused as it must be")
                return
            raise BrokenPromiseError(f"{self.name} wrote {path}, which no grant allows")
