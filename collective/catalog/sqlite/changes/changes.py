"""What changed in a folder since a cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

import apsw

from collective.catalog.decisions.changes import Bounds, Numbered, together
from collective.catalog.decisions.cursors import (
    NONCE_BYTES,
    CursorSeal,
    Known,
    holding,
    may_go_on,
)
from collective.catalog.decisions.names import absent, refuse_peer
from collective.catalog.sqlite.changes import rows as change_rows
from collective.catalog.sqlite.changes.change_notifier import NotifiedWaiter
from collective.catalog.sqlite.names.datastores import copies_for
from collective.catalog.sqlite.names.entries import load_entry
from collective.catalog.sqlite.names.listing import weigh
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.catalog_life_rows import past_of
from collective.catalog.sqlite.store.engine import Engine
from collective.core import limits
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.changes import Change, Changes, Cursor, ListAnew, Since
from collective.model.entries import Entry
from collective.model.rights import Right

PAGE_MAX_CHANGES: Final = 1000


class SqliteChanges:
    """The newest changes of names."""

    def __init__(self, engine: Engine, key: bytes) -> None:
        """Use ``engine``; cursors are sealed under what comes of ``key``."""
        self._engine = engine
        self._seal = CursorSeal(key)
        settings = engine.settings
        self._bounds = Bounds(
            settings.changes_max,
            settings.changes_max_bytes,
            round(settings.changes_kept_s * 1000),
        )

    async def since(self, caller: Call, folder: FilePath, cursor: str, *, page_size: int) -> Since:
        """Return what changed in ``folder`` since ``cursor``."""
        most = min(page_size, PAGE_MAX_CHANGES)

        def work(db: apsw.Connection) -> Since:
            decider = self._engine.decider(caller)
            decider.require(Right.READ, folder)
            refuse_peer(folder)
            known = self._seal.open(cursor, caller, folder) if cursor else None
            grants = holding(decider, folder)
            past = past_of(db, "" if known is None else known.life)
            kept = change_rows.kept(db)

            def reached(number: int, grant: bytes) -> Cursor:
                now = Known(number, past.epoch, past.sequence, past.life, grant)
                nonce = self._engine.randomness.token(NONCE_BYTES)
                return self._seal.seal(now, caller, folder, nonce)

            if known is None or not may_go_on(known, past, kept, grants):
                if not cursor and rows.find(db, folder) is None:
                    raise absent(folder)
                return ListAnew(reached(kept.newest, grants[0]))
            found = change_rows.since(db, folder, known.number, most + 1)
            fitting, entries = self._loaded(db, found[:most])
            more = fitting < len(found)
            changes = [
                Change(one.touched.path, entries[one.touched.path], one.touched.below)
                for one in together(found[:fitting])
            ]
            number = found[fitting - 1].number if more else kept.newest
            return Changes(reached(number, known.grant), changes, more=more)

        return await self._engine.read_for(caller, "changes", str(folder), work)

    def _loaded(
        self, db: apsw.Connection, told: Sequence[Numbered]
    ) -> tuple[int, Mapping[FilePath, Entry | None]]:
        """Return how many of ``told`` one answer takes, and what is at their paths now.

        It is cut between changes in their order: a path that comes again later is told again then.
        """
        default = self._engine.settings.copies
        entries: dict[FilePath, Entry | None] = {}
        weight = 0
        for count, one in enumerate(told):
            path = one.touched.path
            if path in entries:
                continue
            found = rows.find(db, path)
            entry = None
            if found is not None:
                entry = load_entry(db, found[0], path, copies_for(db, path, default))
            weight += len(str(path).encode()) + (0 if entry is None else weigh(entry))
            if entries and weight > limits.ANSWER_MAX_BYTES:
                return count, entries
            entries[path] = entry
        return len(told), entries

    def waiting(self, folder: FilePath) -> AbstractContextManager[NotifiedWaiter]:
        """Return what enters as one who waits for a change in ``folder``."""
        return self._engine.writer.notifier.waiting(folder)

    def end_waits(self) -> None:
        """Have nobody wait any more."""
        self._engine.writer.notifier.notify_all(is_last=True)

    async def prune(self) -> bool:
        """Drop some of the oldest changes that are beyond the bounds; return whether more are."""
        return await self._engine.change(partial(change_rows.prune, bounds=self._bounds))
