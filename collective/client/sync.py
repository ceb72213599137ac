"""The library for scripts: every call blocks, and an event loop of its own runs in a thread.

>>> with connect(credentials) as home:
...     home.write("/shared/a.txt", b"hello")
...     for entry in home.list("/shared"):
...         print(entry.path)

There is no global state: each connection has its thread, and both end with the ``with``.  It may be used from
several threads at once, but not from one that runs an event loop: use :class:`Collective` there.  Ctrl-C in a
blocking call cancels what it began, waits for that to end, and raises KeyboardInterrupt: as after any error, a
write that was interrupted has left nothing visible.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Any, Final, Generic, TypeVar

from collective.client.collective import Collective
from collective.client.files.interface import FileReader, Files, FileWriter, OpenFile
from collective.client.files.outcomes import Outcome
from collective.client.logins import Login, Logins
from collective.client.options import ClientOptions
from collective.client.trees.result import TreeResult
from collective.core.errors import UnreachableError
from collective.core.units import Address
from collective.core.world import World, real_world
from collective.model.changes import Cursor, Since
from collective.model.entries import Entry
from collective.model.pages import EntryPage
from collective.model.rights import Right
from collective.model.status import Status
from collective.model.writing import Attributes, Precondition
from collective.pki.credentials import Credentials
from collective.transfer.engine.write_sources import Readable

T = TypeVar("T")
Item = TypeVar("Item")

SyncSource = bytes | Iterator[bytes] | Readable
"""What a file is written from: bytes, an iterator of bytes, or a binary file object; read in a thread."""


LOOK_S: Final = 0.05
"""How often a thread that waits looks for itself: Ctrl-C may have lost it the call that woke it."""


class _Signal:
    """Something that happens once, for one thread that waits for it and may be interrupted.

    ``threading.Event`` will not do: an interrupt at the wrong moment leaves its lock taken, and then whoever sets
    it waits for ever.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._waking = threading.Lock()
        self._waking.acquire()

    def set(self) -> None:
        """Say that it has happened; called once, or by the same thread again."""
        if not self.is_set:
            self.is_set = True
            self._waking.release()

    def wait(self) -> None:
        """Return once it has."""
        while not self.is_set:
            self._waking.acquire(timeout=LOOK_S)


class _Outcome(Generic[T]):
    """What a call came to, for the thread that waits for it."""

    def __init__(self) -> None:
        self.done: Final = _Signal()
        self.task: asyncio.Task[None] | None = None
        self.is_dropped = False
        self._value: T | None = None
        self._error: BaseException | None = None

    async def carry(self, work: Callable[[], Awaitable[T]]) -> None:
        """Do ``work`` in the loop, and keep what it came to."""
        try:
            self._value = await work()
        except BaseException as error:  # noqa: BLE001 - the edge of a task: it goes to the caller
            self._error = error
        finally:
            self.done.set()

    def fail(self, error: Exception) -> None:
        """End it by ``error``, unless it has ended."""
        if not self.done.is_set:
            self._error = error
            self.done.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # it is there


def _closed() -> UnreachableError:
    return UnreachableError("This connection is closed; connect again.")


class Portal:
    """An event loop in a thread of its own, and the way into it for threads that block."""

    def __init__(self, world: World) -> None:
        """Have no thread before :meth:`open`."""
        self._pool = world.threads.pool(1, "collective-sync")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._group: asyncio.TaskGroup | None = None
        self._began = _Signal()
        self._ended = _Signal()
        self._failure: OSError | None = None
        self._pending: set[_Outcome[Any]] = set()
        """Calls whose threads wait."""
        self._is_over = False
        """Whether the loop runs nothing more; what is pending after that fails itself."""

    @contextmanager
    def open(self) -> Iterator[None]:
        """Run the loop within; what is under way at the end is cancelled."""
        self._pool.start(self._run)
        try:
            self._began.wait()
            if self._failure is not None:
                raise self._failure
            yield
        finally:
            self._began.wait()
            if self._loop is not None:
                with suppress(UnreachableError):  # it has ended
                    self._call_soon(self._end)
            self._ended.wait()
            self._pool.abandon()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:  # there is no loop to be had, for want of descriptors perhaps
            self._failure = error
        finally:
            self._is_over = True
            for outcome in tuple(self._pending):
                outcome.fail(_closed())
            if self._loop is None:
                self._began.set()
            self._ended.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        with suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as self._group:
                self._began.set()
                await self._stop.wait()
                raise asyncio.CancelledError  # ends what is under way

    def _end(self) -> None:
        if self._stop is not None:
            self._stop.set()

    def _call_soon(self, work: Callable[[], object]) -> None:
        assert self._loop is not None, "enter it first"
        if self._is_over:
            raise _closed()
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError as error:  # the loop has ended
            raise _closed() from error

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what ``work`` comes to in the loop.

        What interrupts this thread meanwhile (Ctrl-C) cancels it, and is raised once that has ended.
        UnreachableError where the loop has ended, or ends meanwhile.
        """
        outcome: _Outcome[T] = _Outcome()

        def begin() -> None:
            assert self._group is not None
            if outcome.is_dropped:
                return
            carrying = outcome.carry(work)
            try:
                outcome.task = self._group.create_task(carrying)
            except RuntimeError:  # the group has ended
                carrying.close()
                outcome.fail(_closed())

        def cancel() -> None:
            outcome.is_dropped = True
            if outcome.task is not None:
                outcome.task.cancel()
            else:
                outcome.done.set()

        self._pending.add(outcome)
        try:
            self._call_soon(begin)
            outcome.done.wait()
        except BaseException:
            with suppress(UnreachableError):
                self._call_soon(cancel)
                outcome.done.wait()
            raise
        finally:
            self._pending.discard(outcome)
        return outcome.result()

    @contextmanager
    def entered(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[Held[T]]:
        """Enter what ``make`` returns in a task of its own, and leave it there; by an error, as cancelled."""
        held = Held(self, make)
        held.enter()
        try:
            yield held
        except BaseException:
            held.leave(is_failed=True)
            raise
        held.leave(is_failed=False)

    def each(self, make: Callable[[], AsyncIterator[Item]]) -> Generator[Item]:
        """Yield what an asynchronous iterator does; what it holds is closed in the end."""
        found: AsyncIterator[Item] | None = None

        async def step() -> tuple[bool, Item | None]:
            nonlocal found
            if found is None:
                found = make()
            try:
                return True, await anext(found)
            except StopAsyncIteration:
                return False, None

        async def close() -> None:
            if isinstance(found, AsyncGenerator):
                await found.aclose()

        try:
            while True:
                is_there, item = self.call(step)
                if not is_there:
                    return
                yield item  # type: ignore[misc]  # it is there
        finally:
            with suppress(UnreachableError):  # then it was closed with the loop
                self.call(close)


class Held(Generic[T]):
    """An asynchronous context that is entered and left by one task of the loop."""

    def __init__(self, portal: Portal, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        """Enter what ``make`` returns by :meth:`enter`."""
        self._portal = portal
        self._make = make
        self._leaving: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self.value: T
        """What was entered."""

    def enter(self) -> None:
        """Enter; raises what entering raises."""
        self._portal.call(self._enter)

    async def _enter(self) -> None:
        self._leaving, entered = asyncio.Event(), asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._stay(self._leaving, entered))
        await _either(entered.wait(), self._task)

    async def _stay(self, leaving: asyncio.Event, entered: asyncio.Event) -> None:
        async with self._make() as self.value:
            entered.set()
            await leaving.wait()

    def call(self, work: Callable[[T], Awaitable[Item]]) -> Item:
        """Return what ``work`` comes to; what ends the context meanwhile is raised here."""

        async def during() -> Item:
            assert self._task is not None
            return await _either(work(self.value), self._task, ends_both=False)

        return self._portal.call(during)

    def leave(self, *, is_failed: bool) -> None:
        """Leave as without an error, or (``is_failed``) as cancelled; raises what leaving without one raises."""

        async def leave() -> None:
            assert self._leaving is not None
            assert self._task is not None
            if is_failed:
                self._task.cancel()
            else:
                self._leaving.set()
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError:
                await _ended(self._task)
                raise
            if not is_failed:
                self._task.result()
            elif not self._task.cancelled():
                self._task.exception()  # the body has raised what is to be known

        self._portal.call(leave)


async def _either(
    work: Awaitable[Item], context: asyncio.Task[None], *, ends_both: bool = True
) -> Item:
    """Return what ``work`` comes to, or raise what ends ``context`` before that.

    Cancelled, ``work`` is cancelled too, and ``context`` where this ``ends_both``.
    """
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.wait({doing, context}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await _ended(doing)
        if ends_both:
            await _ended(context)
        raise
    if not doing.done():
        await _ended(doing)
        await context  # raises
    return doing.result()


async def _ended(task: asyncio.Future[Item]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


class SyncReader:
    """A range of one version of a file, in order: an iterator of blocks."""

    def __init__(self, portal: Portal, held: Held[FileReader]) -> None:
        """Read what is held."""
        self._portal = portal
        self._held = held

    @property
    def entry(self) -> Entry:
        """The version that is read."""
        return self._held.value.entry

    def __iter__(self) -> Iterator[bytes]:
        """Yield the range as blocks of verified bytes."""

        async def copied() -> AsyncGenerator[bytes]:
            async for block in self._held.value:
                yield bytes(block)

        return self._portal.each(copied)


class SyncOpenFile:
    """One version of a file, for reading anywhere in it; see :class:`OpenFile`."""

    def __init__(self, held: Held[OpenFile]) -> None:
        """Read what is held."""
        self._held = held

    @property
    def entry(self) -> Entry:
        """The version that is open."""
        return self._held.value.entry

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` on; fewer at the end."""
        return self._held.call(lambda file: file.read_at(offset, length))


class SyncWriter:
    """A file that is written piece by piece; see :class:`FileWriter`."""

    def __init__(self, held: Held[FileWriter]) -> None:
        """Write to what is held."""
        self._held = held

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add ``data`` to the end."""
        self._held.call(lambda writer: writer.write(data))

    @property
    def entry(self) -> Entry:
        """What was stored, once the writer was left without an error."""
        return self._held.value.entry


class SyncFiles:
    """:class:`~collective.client.files.interface.Files` whose methods block; each does what its namesake does."""

    def __init__(self, portal: Portal, files: Files) -> None:
        """Use ``files`` in the loop of ``portal``."""
        self._portal = portal
        self._files = files

    def stat(self, path: str) -> Entry:
        """Return what ``path`` names."""
        return self._portal.call(lambda: self._files.stat(path))

    def rights(self, path: str) -> Right:
        """Return what the caller may do at ``path``."""
        return self._portal.call(lambda: self._files.rights(path))

    def list(self, path: str, *, recursive: bool = False) -> Iterator[Entry]:
        """Yield what is below ``path`` in order of path, fetched page by page."""
        return self._portal.each(lambda: self._files.list(path, recursive=recursive))

    def list_page(
        self, path: str, *, recursive: bool = False, page_size: int = 1000, token: str = ""
    ) -> EntryPage:
        """Return one page of what is below ``path``."""
        return self._portal.call(
            lambda: self._files.list_page(
                path, recursive=recursive, page_size=page_size, token=token
            )
        )

    def mkdir(
        self, path: str, *, parents: bool = False, attributes: Attributes | None = None
    ) -> Entry:
        """Make a directory, or a datastore at top level."""
        return self._portal.call(
            lambda: self._files.mkdir(path, parents=parents, attributes=attributes)
        )

    def make_link(
        self,
        path: str,
        target: bytes,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Entry:
        """Make a symbolic link."""
        return self._portal.call(
            lambda: self._files.make_link(path, target, attributes=attributes, condition=condition)
        )

    def set_attributes(self, path: str, attributes: Attributes, *, if_version: int = 0) -> Entry:
        """Change time and mode of what is at ``path``."""
        return self._portal.call(
            lambda: self._files.set_attributes(path, attributes, if_version=if_version)
        )

    def remove(self, path: str, *, recursive: bool = False, if_version: int = 0) -> int:
        """Remove a file, an empty directory or (``recursive``) a tree; return how many names went."""
        return self._portal.call(
            lambda: self._files.remove(path, recursive=recursive, if_version=if_version)
        )

    def move(self, source: str, destination: str, *, if_version: int = 0) -> Entry:
        """Rename; a file at the destination is replaced."""
        return self._portal.call(
            lambda: self._files.move(source, destination, if_version=if_version)
        )

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file as bytes."""
        return self._portal.call(lambda: self._files.read(path, offset=offset, length=length))

    @contextmanager
    def open_read(
        self, path: str, *, offset: int = 0, length: int | None = None, if_version: int = 0
    ) -> Iterator[SyncReader]:
        """Enter a reader of a range in order, in bounded memory."""
        with self._portal.entered(
            lambda: self._files.open_read(path, offset=offset, length=length, if_version=if_version)
        ) as held:
            yield SyncReader(self._portal, held)

    @contextmanager
    def open(self, path: str, *, if_version: int = 0) -> Iterator[SyncOpenFile]:
        """Enter one version of a file, to be read at any offset."""
        with self._portal.entered(lambda: self._files.open(path, if_version=if_version)) as held:
            yield SyncOpenFile(held)

    def write(
        self,
        path: str,
        source: SyncSource,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Entry:
        """Store all of ``source`` as ``path`` and return when it is durable."""
        if isinstance(source, Iterator) and not hasattr(source, "readinto"):
            with self.open_write(path, attributes=attributes, condition=condition) as writer:
                for piece in source:
                    writer.write(piece)
            return writer.entry
        return self._portal.call(
            lambda: self._files.write(
                path,
                source,  # type: ignore[arg-type]  # no iterator is left
                attributes=attributes,
                condition=condition,
            )
        )

    @contextmanager
    def open_write(
        self,
        path: str,
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Iterator[SyncWriter]:
        """Enter a writer, for what comes piece by piece; left by an error, nothing is visible."""
        with self._portal.entered(
            lambda: self._files.open_write(path, attributes=attributes, condition=condition)
        ) as held:
            yield SyncWriter(held)

    def copy(self, source: str, target: str, *, condition: Precondition | None = None) -> Entry:
        """Make ``target`` a file like the file ``source``."""
        return self._portal.call(lambda: self._files.copy(source, target, condition=condition))

    def changes(
        self,
        path: str,
        cursor: Cursor | None = None,
        *,
        wait_s: float = 0.0,
        page_size: int = 1000,
    ) -> Since:
        """Return what changed in a folder since ``cursor``, or that it must be listed anew."""
        return self._portal.call(
            lambda: self._files.changes(path, cursor, wait_s=wait_s, page_size=page_size)
        )

    def watch(self, path: str, cursor: Cursor | None = None) -> Iterator[Since]:
        """Yield what changes in a folder, as it does."""
        return self._portal.each(lambda: self._files.watch(path, cursor))

    def stat_many(self, paths: Iterable[str]) -> Sequence[Outcome[Entry]]:
        """Return what each of ``paths`` names, or why not."""
        return self._portal.call(lambda: self._files.stat_many(paths))

    def read_many(self, paths: Iterable[str]) -> Sequence[Outcome[bytes]]:
        """Return all bytes of each file, or why not."""
        return self._portal.call(lambda: self._files.read_many(paths))

    def write_many(
        self,
        contents: Mapping[str, bytes],
        *,
        attributes: Attributes | None = None,
        condition: Precondition | None = None,
    ) -> Sequence[Outcome[Entry]]:
        """Store each of ``contents`` as the path it is under."""
        return self._portal.call(
            lambda: self._files.write_many(contents, attributes=attributes, condition=condition)
        )

    def remove_many(self, paths: Iterable[str]) -> Sequence[Outcome[int]]:
        """Remove each file or empty directory."""
        return self._portal.call(lambda: self._files.remove_many(paths))


class SyncCollective(SyncFiles):
    """One joined member whose methods block; made by :func:`connect`."""

    def __init__(self, portal: Portal, home: Collective) -> None:
        """Use ``home`` in the loop of ``portal``."""
        super().__init__(portal, home)
        self._home = home

    def run(self, work: Callable[[Collective], Awaitable[T]]) -> T:
        """Return what ``work`` does with the asynchronous one: whatever has no method here.

        >>> grants = home.run(lambda home: home.people.grants())
        """
        return self._portal.call(lambda: work(self._home))

    def put(self, local: str, path: str) -> Entry:
        """Upload a local file; an upload that was interrupted goes on where it stopped."""
        return self.run(lambda home: home.put(local, path))

    def get(self, path: str, local: str) -> Entry:
        """Download to a local file, which appears when all of it has been verified."""
        return self.run(lambda home: home.get(path, local))

    def put_tree(self, local: str, path: str) -> TreeResult:
        """Upload a local directory: what changed since the last time, and nothing else."""
        return self.run(lambda home: home.put_tree(local, path))

    def get_tree(self, path: str, local: str) -> TreeResult:
        """Download a directory; files that are there already are compared by content."""
        return self.run(lambda home: home.get_tree(path, local))

    def status(self) -> Status:
        """Return the member's state as the caller may see it."""
        return self.run(lambda home: home.status())


@contextmanager
def connect(
    who: Credentials | Login,
    addresses: Sequence[Address] = (),
    *,
    logins: Logins | None = None,
    options: ClientOptions | None = None,
    world: World | None = None,
) -> Iterator[SyncCollective]:
    """Talk to the coordinator of the member whose CA is in the credentials of ``who``; as :meth:`Collective.connect`."""
    within = world or real_world()
    portal = Portal(within)
    with (
        portal.open(),
        portal.entered(
            lambda: Collective.connect(who, addresses, logins=logins, options=options, world=within)
        ) as held,
    ):
        yield SyncCollective(portal, held.value)
