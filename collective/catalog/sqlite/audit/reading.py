"""The audit as it is read, page by page; what others than the catalogue note goes on to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from collective.catalog.sqlite.store.engine import Engine
from collective.model.audit import AuditRow, Refusal
from collective.model.calls import Call

AUDIT_PAGE_MAX = 10_000


class SqliteAudit:
    """Who did what, and who was refused what."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def list(self, *, since_ms: int, limit: int) -> Sequence[AuditRow]:
        """Return audit rows in order of time."""
        await self._engine.flush_denials()

        def work(db: apsw.Connection) -> Sequence[AuditRow]:
            found: Any = db.execute(
                "SELECT at_ms, actor, action, target, detail, request_id FROM audit"
                " WHERE at_ms >= ? ORDER BY at_ms, id LIMIT ?",
                (since_ms, min(limit, AUDIT_PAGE_MAX)),
            ).fetchall()
            return [AuditRow(*row) for row in found]

        return await self._engine.read(work)

    async def note_change(self, actor: Call, action: str, target: str, detail: str) -> None:
        """Write a row of the audit for a change that is made outside the catalogue, before it."""
        await self._engine.change(lambda tx: tx.audit(actor, action, target, detail))

    def note_denial(self, refusal: Refusal) -> None:
        """Note a refusal; it is written with the next upkeep or page of the audit."""
        self._engine.note_denial(refusal)
