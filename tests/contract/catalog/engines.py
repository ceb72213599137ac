"""The engines that this suite holds to the interface: no other file of the suite names one.

A test says what it needs of an engine in words that hold for every engine: a smaller bound, a backup put
back, an act between two transactions.  Each engine says here how it is done.  Another engine is another
class in ``ENGINES``; what is about one engine alone is tested beside this suite (``catalog_sqlite``).
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, Self

import pytest

from collective.catalog.decisions import leases as decisions_of_leases
from collective.catalog.decisions import quarantine as decisions_of_quarantine
from collective.catalog.decisions import quotas
from collective.catalog.interface import Catalog
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.collection import dooming, unreferenced
from collective.catalog.sqlite.copies import inventories, quarantine
from collective.catalog.sqlite.files import rechecking
from collective.catalog.sqlite.names import folders, name_removal, policies, quota_rows
from collective.catalog.sqlite.nodes import removal, restores
from collective.catalog.sqlite.people import grants
from collective.catalog.sqlite.store import catalog_life_rows
from collective.catalog.sqlite.store.counting import disagreements
from collective.catalog.sqlite.store.custody import DATABASE
from collective.catalog.sqlite.store.engine import Engine
from collective.core.clock import ManualClock
from collective.core.randomness import SeededRandomness
from tests.worlds import world_of


class Bound(Enum):
    """What an engine does at once, looks at or keeps at most; tests make it small."""

    CHECKED_EXTENTS = auto()
    """Extents of an upload that one step checks again."""
    CLEARED_ROWS = auto()
    """Rows of what is gone that one step of collection clears."""
    COUNTED_PAGES = auto()
    """Pages of a node's copies that the refusal of its removal counts."""
    DROPPED_GRANTS = auto()
    """Grants that one step deletes with the grant that they came from."""
    ENDED_UPLOADS = auto()
    """Uploads that one step ends for the room that they take."""
    FORGOTTEN_COPIES = auto()
    """Copies on removed nodes that one step forgets."""
    GUARDED_DELETES = auto()
    """Deletes of a restored catalogue that one step guards again."""
    GUARDED_STRANGERS = auto()
    """Copies of a chunk in use that one node has and that are no file's copies."""
    GUARDS_LIFTED = auto()
    """Guards that go at once with a chunk that nothing needs."""
    INVENTORY_STEP = auto()
    """Copies of an inventory that one transaction changes."""
    INVENTORY_WINDOW = auto()
    """Copies of an inventory that are compared at once."""
    LEASES = auto()
    """Open reads of everybody."""
    LEASES_PER_HOLDER = auto()
    """Open reads of one caller."""
    LIVES = auto()
    """Lives of the catalogue that are remembered."""
    LOOKED_AT_CHUNKS = auto()
    """Chunks that one step of collection looks at."""
    LOOKED_AT_COPIES = auto()
    """Copies on a node in a page that its removal looks at."""
    LOOKED_AT_USES = auto()
    """Uses of a chunk that are looked at before fewer copies of it are asked for."""
    LOOKED_AT_VERSIONS = auto()
    """Old versions that one step of collection looks at."""
    MEASURED_NAMES = auto()
    """Names of a tree that is to be moved which one step looks at."""
    QUARANTINED_COPIES = auto()
    """Copies in quarantine, of all nodes."""
    REMOVED_NAMES = auto()
    """Names that one step of a removal takes away."""
    SETTLED_AT_ONCE = auto()
    """Rows that a change of copies wanted settles within itself."""
    SETTLED_IN_A_STEP = auto()
    """Rows that one step settles later."""
    STRANGERS = auto()
    """Copies to be deleted of one node that are no files' copies."""
    UPLOADS_PER_CALLER = auto()
    """Uploads that one caller has open."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup; only the engines that made it know what lies there."""

    path: Path


class KilledError(Exception):
    """The process dies here: what an event of :meth:`Engines.between` raises."""


Event = Callable[[int], Awaitable[object]]
"""Is awaited before a transaction; the first one has the number 1."""
Ask = Callable[[Coroutine[Any, Any, Any]], Awaitable[asyncio.Task[Any]]]
"""Begins a change and returns once it waits for its turn."""


class Engines(ABC):
    """Opens the engine under test, again and again on the same data."""

    def __init__(
        self,
        data_dir: Path,
        clock: ManualClock,
        settings: CatalogSettings | None = None,
        *,
        seed: int = 7,
    ) -> None:
        self.data_dir = data_dir
        self.clock = clock
        self.settings = settings or CatalogSettings(copies=3)
        """Those of the next :meth:`open`."""
        self.randomness = SeededRandomness(seed)
        self._patch = pytest.MonkeyPatch()
        self._beside: list[Engines] = []
        self._count_kept = 0

    @abstractmethod
    async def open(self, *, quiet: bool = True) -> Catalog:
        """Open the catalogue; ``quiet``: as one of which all leases of before have run out."""

    @property
    @abstractmethod
    def opened(self) -> Sequence[Catalog]:
        """The catalogues that :meth:`close` has to close."""

    @abstractmethod
    async def close(self) -> None:
        """Close what is open; what the engine keeps twice must agree by then."""

    @abstractmethod
    async def disagreements(self, catalog: Catalog) -> list[str]:
        """Return where what the engine keeps twice differs."""

    @abstractmethod
    def bound(self, bound: Bound, most: int) -> None:
        """Set a bound of the engine, until the end of the test."""

    @abstractmethod
    async def keep(self) -> Kept:
        """Back up: an open catalogue by its snapshot, else the data as they lie."""

    @abstractmethod
    async def put_back(self, kept: Kept) -> Catalog:
        """Close all, put a backup in the place of what is there now, and open it."""

    @abstractmethod
    def between(self, catalog: Catalog, event: Event) -> AbstractContextManager[None]:
        """Within, await ``event`` before each transaction that reads or changes.

        Those that the event itself makes are none of them.  Where it raises, there is no transaction:
        as if the process had been killed before it.
        """

    @abstractmethod
    def held_up(self, catalog: Catalog) -> AbstractAsyncContextManager[Ask]:
        """Within, no change is made; at the end they are made in the order in which they were asked."""

    async def steps_of(self, catalog: Catalog, work: Awaitable[object]) -> int:
        """Return how many transactions ``work`` takes."""
        steps = 0

        async def count(number: int) -> None:
            nonlocal steps
            steps = number

        with self.between(catalog, count):
            await work
        return steps

    def beside(self, seed: int) -> Self:
        """Return engines on other, empty data, whose chance begins elsewhere; they end with these."""
        data_dir = self._place("beside")
        data_dir.mkdir()
        made = type(self)(data_dir, self.clock, self.settings, seed=seed)
        self._beside.append(made)
        return made

    async def end(self) -> None:
        """Close all for good, and lift the bounds."""
        try:
            for other in self._beside:
                await other.end()
            await self.close()
        finally:
            self._patch.undo()

    def _place(self, what: str) -> Path:
        """Return a new path beside the data."""
        self._count_kept += 1
        return self.data_dir.with_name(f"{self.data_dir.name}-{what}-{self._count_kept}")


# --- SQLite ------------------------------------------------------------------------------------------

_SQLITE_BOUNDS: Final[Mapping[Bound, tuple[tuple[object, str], ...]]] = {
    Bound.CHECKED_EXTENTS: ((rechecking, "PAGE_EXTENTS"),),
    Bound.CLEARED_ROWS: ((unreferenced, "CLEARED_ROWS"),),
    Bound.COUNTED_PAGES: ((removal, "COUNTED_PAGES"),),
    Bound.DROPPED_GRANTS: ((grants, "DROPPED_AT_ONCE"),),
    Bound.ENDED_UPLOADS: ((quota_rows, "ENDED_AT_ONCE"),),
    Bound.FORGOTTEN_COPIES: ((removal, "FORGET_ROWS"),),
    Bound.GUARDED_DELETES: ((restores, "GUARDED_AT_ONCE"),),
    Bound.GUARDED_STRANGERS: ((dooming, "OF_ONE_CHUNK_MAX"),),
    Bound.GUARDS_LIFTED: ((dooming, "GUARDS_LIFTED"),),
    Bound.INVENTORY_STEP: ((inventories, "STEP_COPIES"),),
    Bound.INVENTORY_WINDOW: ((inventories, "WINDOW_COPIES"),),
    Bound.LEASES: ((decisions_of_leases, "LEASES_MAX"),),
    Bound.LEASES_PER_HOLDER: ((decisions_of_leases, "LEASES_PER_HOLDER_MAX"),),
    Bound.LIVES: ((catalog_life_rows, "LIVES_MAX"),),
    Bound.LOOKED_AT_CHUNKS: ((unreferenced, "CHUNKS_LOOKED_AT"),),
    Bound.LOOKED_AT_COPIES: ((removal, "LOOK_ROWS"),),
    Bound.LOOKED_AT_USES: ((policies, "USES_LOOKED_AT"),),
    Bound.LOOKED_AT_VERSIONS: ((unreferenced, "VERSIONS_LOOKED_AT"),),
    Bound.MEASURED_NAMES: ((folders, "PAGE_NAMES"),),
    Bound.QUARANTINED_COPIES: ((decisions_of_quarantine, "ROWS_MAX"),),
    Bound.REMOVED_NAMES: ((name_removal, "STEP_NAMES"),),
    Bound.SETTLED_AT_ONCE: ((policies, "AT_ONCE_ROWS"),),
    Bound.SETTLED_IN_A_STEP: ((policies, "BATCH_ROWS"),),
    Bound.STRANGERS: ((inventories, "STRANGERS_MAX"), (quarantine, "STRANGERS_MAX")),
    Bound.UPLOADS_PER_CALLER: ((quotas, "UPLOADS_PER_CALLER_MAX"),),
}
"""The modules' attributes that are each bound."""


class SqliteEngines(Engines):
    """The catalogue in one SQLite file."""

    def __init__(
        self,
        data_dir: Path,
        clock: ManualClock,
        settings: CatalogSettings | None = None,
        *,
        seed: int = 7,
    ) -> None:
        super().__init__(data_dir, clock, settings, seed=seed)
        self._opened: list[SqliteCatalog] = []

    async def open(self, *, quiet: bool = True) -> SqliteCatalog:
        catalog = await SqliteCatalog.open(
            str(self.data_dir), world_of(self.clock, self.randomness), self.settings
        )
        self._opened.append(catalog)
        if quiet:
            self.clock.advance(self.settings.lease_life_s + 1)
        return catalog

    @property
    def opened(self) -> list[SqliteCatalog]:
        return self._opened

    async def close(self) -> None:
        wrong: list[str] = []
        while self._opened:
            catalog = self._opened.pop()
            if not catalog._engine.writer._closed:
                wrong += await self.disagreements(catalog)
            await catalog.close()
        assert not wrong

    async def disagreements(self, catalog: Catalog) -> list[str]:
        return await _engine_of(catalog).read(disagreements)

    def bound(self, bound: Bound, most: int) -> None:
        for module, name in _SQLITE_BOUNDS[bound]:
            self._patch.setattr(module, name, most)

    async def keep(self) -> Kept:
        place = self._place("kept")
        if self._opened:
            shutil.copy(await self._opened[-1].upkeep.snapshot(), place)
        else:
            shutil.copytree(self.data_dir, place)
        return Kept(place)

    async def put_back(self, kept: Kept) -> SqliteCatalog:
        await self.close()
        if kept.path.is_dir():
            shutil.rmtree(self.data_dir)
            shutil.copytree(kept.path, self.data_dir)
        else:  # the database alone, as an operator copies it
            for suffix in ("-wal", "-shm"):
                (self.data_dir / f"{DATABASE}{suffix}").unlink(missing_ok=True)
            shutil.copy(kept.path, self.data_dir / DATABASE)
        return await self.open()

    @contextmanager
    def between(self, catalog: Catalog, event: Event) -> Iterator[None]:
        engine = _engine_of(catalog)
        number, is_acting = 0, False

        def watched(transact: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def do(operation: Any) -> Any:
                nonlocal number, is_acting
                if not is_acting:
                    number += 1
                    is_acting = True
                    try:
                        await event(number)
                    finally:
                        is_acting = False
                return await transact(operation)

            return do

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine.writer, "write", watched(engine.writer.write))
            patch.setattr(engine, "read", watched(engine.read))
            yield

    @asynccontextmanager
    async def held_up(self, catalog: Catalog) -> AsyncIterator[Ask]:
        engine = _engine_of(catalog)
        holds, go_on = threading.Event(), threading.Event()

        def hold(_: object) -> None:
            holds.set()
            go_on.wait()

        async def ask(change: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            before = len(engine.writer._queue)
            task = asyncio.create_task(change)
            while len(engine.writer._queue) == before:
                await asyncio.sleep(0)
            return task

        holding = asyncio.create_task(engine.change(hold))
        await asyncio.to_thread(holds.wait)
        try:
            yield ask
        finally:
            go_on.set()
            await holding


def _engine_of(catalog: Catalog) -> Engine:
    assert isinstance(catalog, SqliteCatalog)
    return catalog._engine


ENGINES: Final[Mapping[str, type[Engines]]] = {"sqlite": SqliteEngines}
"""Whatever is in here is held to the whole suite."""
