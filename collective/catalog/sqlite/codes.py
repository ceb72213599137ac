"""Join codes: who may make them, what they pass on, and what has become of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import apsw

from collective.access.book import GrantBook
from collective.access.model import Caller, Right
from collective.catalog.model import CodeKind, CodeRecord, CodeUse
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath

OPEN_CODES_MAX = 1000
"""Codes that can still be redeemed, of one maker who is no operator."""
GRANTS_MAX = 64
"""Grants that one code may give."""
LIST_MAX = 5000

SELECT = (
    "SELECT id, kind, verifier, uses_left, uses_total, expires_s, created_by, description, grants,"
    " revoked, created_s, bound, grants_expire_s, sources, created_key FROM codes"
)


class CodesPart(Part):
    """The methods of ``Trust`` about join codes, but for their redemption."""

    async def add_code(self, actor: Caller, code: CodeRecord) -> CodeRecord:
        """Store a new join code; return it as stored."""
        if len(code.grants) > GRANTS_MAX:
            raise UsageError(f"An invite may give at most {GRANTS_MAX} grants; make two invites.")

        def work(tx: Transaction) -> CodeRecord:
            stored, sources = _authorise(tx, actor, code)
            if not actor.is_operator:
                _limit(tx, actor)
            tx.run(
                "INSERT INTO codes (id, kind, verifier, uses_left, uses_total, expires_s,"
                " created_by, description, grants, revoked, created_s, bound, grants_expire_s,"
                " sources, created_key) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                stored.id,
                stored.kind.value,
                stored.verifier,
                stored.uses_left,
                stored.uses_total,
                stored.expires_s,
                str(stored.created_by),
                stored.description,
                json.dumps([[str(path), int(rights)] for path, rights in stored.grants]),
                int(stored.revoked),
                stored.created_s,
                None if stored.bound is None else str(stored.bound),
                stored.grants_expire_s,
                json.dumps(sources),
                actor.key_digest or None,
            )
            tx.audit(actor, "invite", stored.id, f"{stored.kind.value}, {stored.uses_left} uses")
            return stored

        wanted = ", ".join(str(path) for path, _ in code.grants) or f"for a {code.kind.value}"
        return await self._engine.write(work, caller=actor, action="invite", target=wanted)

    async def code(self, code_id: str) -> CodeRecord:
        """Return a code, or NotFoundError."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()
        return await self._engine.read(
            lambda db: code_value(rows.fetch(db, f"{SELECT} WHERE id = ?", code_id), book, now_s)
        )

    async def codes(self) -> Sequence[CodeRecord]:
        """Return all codes, newest first."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()

        def work(db: apsw.Connection) -> Sequence[CodeRecord]:
            found: Any = db.execute(f"{SELECT} ORDER BY created_s DESC, rowid DESC").fetchall()
            return [code_value(row, book, now_s) for row in found]

        return await self._engine.read(work)

    async def invites(self, caller: Caller, *, only_open: bool) -> Sequence[CodeRecord]:
        """Return the codes that ``caller`` made (an admin: all), newest first, with their uses."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()
        is_admin = self._engine.decider(caller).is_admin

        def work(db: apsw.Connection) -> Sequence[CodeRecord]:
            found: Any = db.execute(
                f"{SELECT} WHERE (?1 OR created_by = ?2) AND (NOT ?3 OR"
                " (revoked = 0 AND uses_left > 0 AND expires_s > ?4))"
                " ORDER BY created_s DESC, rowid DESC LIMIT ?5",
                (int(is_admin), str(caller.principal), int(only_open), now_s, LIST_MAX),
            ).fetchall()
            codes = [code_value(row, book, now_s) for row in found]
            if only_open:
                codes = [code for code in codes if not code.void]
            return [replace(code, uses=_uses(db, code.id)) for code in codes]

        return await self._engine.read(work)

    async def revoke_code(self, actor: Caller, code_id: str) -> CodeRecord:
        """Make a code unusable from now on; ConflictError if it is already."""

        def work(tx: Transaction) -> CodeRecord:
            row = tx.one(f"{SELECT} WHERE id = ?", code_id)
            if not tx.decider(actor).is_admin and (row is None or row[6] != str(actor.principal)):
                raise PermissionDeniedError(
                    "Only an operator or its maker may revoke an invite; ask one of them."
                )
            code = code_value(row, tx.book, tx.now_s)
            if code.revoked:
                raise ConflictError("This invite is revoked already.")
            tx.run("UPDATE codes SET revoked = 1 WHERE id = ?", code_id)
            tx.audit(actor, "invite-revoke", code_id)
            return replace(code, revoked=True, uses=_uses(tx.db, code_id))

        return await self._engine.write(work, caller=actor, action="invite-revoke", target=code_id)


def code_value(row: Any, book: GrantBook, now_s: float) -> CodeRecord:
    """Return the code in a row of SELECT, judged by ``book``; NotFoundError for None."""
    if row is None:
        raise NotFoundError("There is no such invite; run: collective invite list")
    maker = SpiffeId.parse(row[6])
    sources = [one for per_grant in json.loads(row[13]) for one in per_grant]
    return CodeRecord(
        row[0],
        CodeKind(row[1]),
        row[2],
        row[3],
        row[4],
        row[5],
        maker,
        row[7],
        tuple((FilePath.parse(path), rights) for path, rights in json.loads(row[8])),
        bool(row[9]),
        row[10],
        None if row[11] is None else SpiffeId.parse(row[11]),
        row[12],
        void=book.is_revoked(maker) or book.is_revoked_key(row[14]) or book.until(sources) <= now_s,
    )


def _authorise(
    tx: Transaction, actor: Caller, code: CodeRecord
) -> tuple[CodeRecord, list[list[str]]]:
    """Check that ``actor`` may make ``code``; return it as stored, and what each grant comes from."""
    if tx.book.is_revoked_key(actor.key_digest):
        raise PermissionDeniedError("The key of this machine was revoked; ask the operator.")
    decider = tx.decider(actor)
    stored = replace(code, created_by=actor.principal, created_s=code.created_s or tx.now_s)
    if code.kind is CodeKind.DEVICE:
        if code.bound != actor.principal or code.grants or actor.is_operator:
            raise PermissionDeniedError("A device is added to one's own identity only.")
        return stored, []
    if actor.is_operator:
        return stored, [[] for _ in code.grants]
    if code.kind is not CodeKind.USER:
        decider.require_admin(f"make an invite for a {code.kind.value}")
        wanted = [(FilePath(), int(Right.READ | Right.WRITE | Right.SHARE))]
    else:
        wanted = list(code.grants)
        if not wanted:
            decider.require_admin("make an invite that grants nothing")
    sources: list[list[str]] = []
    for path, rights in wanted:
        decider.require_share(path, Right(rights))
        found = tx.book.sources(actor.principal, path, Right(rights), tx.now_s)
        sources.append(list(found or ()))
    until_s = tx.book.until(one for some in sources for one in some)
    if until_s < math.inf:
        stored = replace(stored, expires_s=min(stored.expires_s, until_s), grants_expire_s=until_s)
    return stored, sources


def _limit(tx: Transaction, actor: Caller) -> None:
    count = tx.value(
        "SELECT count(*) FROM codes WHERE created_by = ? AND revoked = 0 AND uses_left > 0"
        " AND expires_s > ?",
        str(actor.principal),
        tx.now_s,
    )
    if count >= OPEN_CODES_MAX:
        raise ConflictError(
            f"You have {OPEN_CODES_MAX} open invites already; revoke some of them first."
        )


def _uses(db: apsw.Connection, code_id: str) -> tuple[CodeUse, ...]:
    found: Any = db.execute(
        "SELECT identity, at_ms FROM redemptions WHERE code = ? ORDER BY at_ms LIMIT 1000",
        (code_id,),
    ).fetchall()
    return tuple(CodeUse(SpiffeId.parse(identity), at_ms) for identity, at_ms in found)
