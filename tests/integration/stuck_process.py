"""``collective serve`` with one part of it stuck; run as ``python -m tests.integration.stuck_process HOW …``.

It says ``stuck`` on stderr once it is.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any

from collective.__main__ import main
from collective.catalog.sqlite.store.upkeep import SqliteUpkeep
from collective.catalog.sqlite.store.writer import Transaction
from collective.chunking.store.core import StoreCore

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


def say_stuck() -> None:
    os.write(2, b"stuck\n")


def statement(tx: Transaction) -> None:
    """A statement of the catalogue's writer that takes for ever, but can be interrupted."""
    say_stuck()
    tx.value(ENDLESS)


def thread(tx: Transaction) -> None:
    """The writer's thread hangs where nothing reaches it, as in a disk that does not answer."""
    del tx
    say_stuck()
    threading.Event().wait()


async def stuck_expire(self: SqliteUpkeep, **_: Any) -> None:
    await self._engine.change({"statement": statement, "thread": thread}[HOW])


async def stubborn_expire(self: SqliteUpkeep, **_: Any) -> None:
    """A worker's step that swallows its cancellation."""
    del self
    say_stuck()
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def blocking_expire(self: SqliteUpkeep, **_: Any) -> None:
    """A step that keeps the event loop itself, a moment after SIGTERM came."""
    del self
    say_stuck()
    loop = asyncio.get_running_loop()
    try:
        await asyncio.Event().wait()
    finally:
        loop.call_soon(lambda: threading.Event().wait())


async def deaf_expire(self: SqliteUpkeep, **_: Any) -> None:
    """A step that keeps the event loop before SIGTERM comes."""
    del self
    say_stuck()
    threading.Event().wait()


def stuck_close(self: StoreCore) -> None:
    """A node's disk that does not answer when the store is closed."""
    del self
    threading.Event().wait()


if __name__ == "__main__":
    HOW = sys.argv.pop(1)
    patched: Any = SqliteUpkeep
    match HOW:
        case "statement" | "thread":
            patched.expire = stuck_expire
        case "step":
            patched.expire = stubborn_expire
        case "deaf":
            patched.expire = deaf_expire
        case "loop":
            patched.expire = blocking_expire
        case "store":
            StoreCore.close = stuck_close  # type: ignore[method-assign]
            say_stuck()
    main()
