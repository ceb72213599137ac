"""Giving back the room of deleted copies, now and then."""

from __future__ import annotations

from typing import Final

import structlog

from collective.chunking.store import ChunkStore
from collective.core.work import Periodic, Worker

COMPACT_EVERY_S: Final = 600.0
_log = structlog.get_logger("collective.node")


def compaction(store: ChunkStore) -> Worker:
    """Return the worker that compacts the packs of ``store``."""

    async def compact() -> None:
        freed = await store.compact()
        _log.debug("packs compacted", freed_bytes=freed)

    return Periodic("compaction", COMPACT_EVERY_S, compact, sleeps_first=True)
