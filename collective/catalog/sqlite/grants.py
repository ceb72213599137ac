"""Grants, and the audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from collective.access.decision import describe
from collective.access.model import Caller, Grant, Right
from collective.catalog.model import AuditRow
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import NotFoundError, PermissionDeniedError, UsageError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.core.randomness import hex_id

AUDIT_PAGE_MAX = 10_000


class GrantsPart(Part):
    """The methods of ``Trust`` about grants and audit."""

    async def add_grant(
        self,
        caller: Caller,
        path: FilePath,
        rights: Right,
        principal: SpiffeId,
        expires_s: float | None,
    ) -> Grant:
        """Give rights; needs ``share`` and at most one's own rights, or the operator."""
        if not rights:
            raise UsageError("A grant needs at least one of read, write and share.")
        grant_id = hex_id(self._engine.randomness)

        def work(tx: Transaction) -> Grant:
            tx.decider(caller).require_share(path, rights)
            insert_grant(tx, grant_id, path, int(rights), principal, caller.principal, expires_s)
            tx.audit(caller, "grant", str(path), f"{describe(rights)} to {principal}")
            return Grant(grant_id, path, rights, principal, caller.principal, expires_s)

        return await self._engine.write(work, caller=caller, action="grant", target=str(path))

    async def grants(self, caller: Caller) -> Sequence[Grant]:
        """Return the caller's own live grants; all live ones for an admin."""
        decider = self._engine.decider(caller)
        now_s = self._engine.clock.wall_s()
        found = self._engine.writer.book.live(now_s) if decider.is_admin else decider.grants
        return sorted(found, key=lambda grant: (grant.path, str(grant.principal), grant.id))

    async def remove_grant(self, caller: Caller, grant_id: str) -> None:
        """End a grant, and with it what was passed on under it."""

        def work(tx: Transaction) -> None:
            row = tx.one("SELECT path, principal, granted_by FROM grants WHERE id = ?", grant_id)
            admin = tx.decider(caller).is_admin
            if row is None and admin:
                raise NotFoundError("There is no such grant; run: collective grant list")
            if row is None or (not admin and row[2] != str(caller.principal)):
                raise PermissionDeniedError(
                    "Only an operator or the giver may end a grant; ask one of them."
                )
            tx.run("DELETE FROM grants WHERE id = ?", grant_id)
            tx.reload_grants()
            for grant in tx.book.all():
                if not tx.book.has_support(grant):
                    tx.run("DELETE FROM grants WHERE id = ?", grant.id)
            tx.reload_grants()
            tx.audit(caller, "ungrant", row[0], f"from {row[1]}")

        await self._engine.write(work, caller=caller, action="ungrant", target=grant_id)

    async def audit_denial(self, caller: Caller, action: str, target: str) -> None:
        """Note a refusal made outside the catalogue; written with the next upkeep or page."""
        self._engine.note_denial(caller, action, target)

    async def audit(self, *, since_ms: int, limit: int) -> Sequence[AuditRow]:
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


def insert_grant(
    tx: Transaction,
    grant_id: str,
    path: FilePath,
    rights: int,
    principal: SpiffeId,
    granted_by: SpiffeId,
    expires_s: float | None = None,
) -> None:
    """Write a grant and take it into account."""
    tx.run(
        "INSERT INTO grants VALUES (?,?,?,?,?,?)",
        grant_id,
        str(path),
        rights,
        str(principal),
        str(granted_by),
        expires_s,
    )
    tx.reload_grants()
