"""Join codes: who may make them, what they pass on, and what has become of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import apsw

from collective.catalog.decisions.codes import (
    CodesMade,
    authorise,
    require_admissible_key,
    require_open,
    require_revocable,
    require_room,
)
from collective.catalog.interface.values import IssuedCertificate, Redemption
from collective.catalog.sqlite.people import redeeming
from collective.catalog.sqlite.people.code_rows import SELECT, code_value, no_such_code, uses_of
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.paging import page_of, parse_token
from collective.catalog.sqlite.store.writer import Transaction
from collective.core import limits
from collective.core.errors import (
    UsageError,
)
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.pages import Page
from collective.model.people import Invite, InviteKind

_DAY_S = 86400.0
GRANTS_MAX = 64
"""Grants that one code may give."""

_APPROVING = frozenset((InviteKind.NODE, InviteKind.PEER))
"""Kinds of codes that may approve whoever comes by them."""


class SqliteCodes:
    """Codes by which users, devices and nodes join."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def add(self, actor: Call, code: Invite) -> Invite:
        """Store a new join code; return it as stored."""
        assert not code.approves or (code.kind in _APPROVING and code.uses_total == 1)
        if len(code.grants) > GRANTS_MAX:
            raise UsageError(f"An invite may give at most {GRANTS_MAX} grants; make two invites.")

        def work(tx: Transaction) -> Invite:
            stored, came_from = authorise(actor, code, tx.decider(actor), tx.book, tx.now_s)
            grants = json.dumps([[str(path), int(rights)] for path, rights in stored.grants])
            sources = json.dumps([list(one) for one in came_from])
            weight = limits.CODE_LEAST_BYTES + len(grants) + len(sources)
            weight += len(stored.description.encode())
            if not actor.is_operator:
                require_room(_made_by(tx, actor), weight)
            tx.run(
                "INSERT INTO codes (id, kind, verifier, uses_left, uses_total, expires_s,"
                " created_by, description, grants, revoked, created_s, bound, grants_expire_s,"
                " sources, created_key, weight, approves)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                stored.id,
                stored.kind.value,
                stored.verifier,
                stored.uses_left,
                stored.uses_total,
                stored.expires_s,
                str(stored.created_by),
                stored.description,
                grants,
                int(stored.revoked),
                stored.created_s,
                None if stored.bound is None else str(stored.bound),
                stored.grants_expire_s,
                sources,
                actor.key_digest or None,
                weight,
                int(stored.approves),
            )
            tx.audit(actor, "invite", stored.id, f"{stored.kind.value}, {stored.uses_left} uses")
            return stored

        wanted = ", ".join(str(path) for path, _ in code.grants) or f"for a {code.kind.value}"
        return await self._engine.write(work, caller=actor, action="invite", target=wanted)

    async def get(self, code_id: str) -> Invite:
        """Return a code, or NotFoundError."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()
        return await self._engine.read(
            lambda db: code_value(rows.fetch(db, f"{SELECT} WHERE id = ?", code_id), book, now_s)
        )

    async def list(
        self,
        caller: Call,
        *,
        only_open: bool,
        token: str = "",
        max_bytes: int = limits.ANSWER_MAX_BYTES,
    ) -> Page[Invite]:
        """Return a page of the codes that ``caller`` made (an admin: all), newest first, with uses."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()
        is_admin = self._engine.decider(caller).is_admin
        after_s, after_id = parse_token(token, (int, float), str) or (None, "")

        def found(db: apsw.Connection) -> Iterator[Invite]:
            which = "" if is_admin else "created_by = ?1 AND "
            for row in db.execute(
                f"{SELECT} WHERE {which} (NOT ?2 OR"  # noqa: S608 - a constant
                " (revoked = 0 AND uses_left > 0 AND expires_s > ?3))"
                " AND (?4 IS NULL OR created_s <= ?4) AND (?4 IS NULL OR created_s < ?4"
                " OR rowid < (SELECT rowid FROM codes WHERE id = ?5))"
                " ORDER BY created_s DESC, rowid DESC",
                (str(caller.principal), int(only_open), now_s, after_s, after_id),
            ):
                code = code_value(row, book, now_s)
                if not (only_open and code.void):
                    yield replace(code, uses=uses_of(db, code.id))

        return await self._engine.read(
            lambda db: page_of(
                found(db),
                weigh=_weigh,
                key=lambda code: (code.created_s, code.id),
                max_bytes=max_bytes,
            )
        )

    async def count_open(self) -> Mapping[InviteKind, int]:
        """Return how many codes of each kind can be redeemed."""

        def work(db: apsw.Connection) -> Mapping[InviteKind, int]:
            found: Any = db.execute(
                "SELECT kind, count(*) FROM codes WHERE ended_s IS NULL AND revoked = 0"
                " AND uses_left > 0 AND expires_s > ? GROUP BY kind",
                (self._engine.clock.wall_s(),),
            ).fetchall()
            counts = {InviteKind(kind): count for kind, count in found}
            return {kind: counts.get(kind, 0) for kind in InviteKind}

        return await self._engine.read(work)

    async def newest_node_code(self) -> Invite | None:
        """Return the newest code for several nodes that is not revoked, if there is one."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()

        def work(db: apsw.Connection) -> Invite | None:
            row = rows.fetch(
                db,
                f"{SELECT} WHERE kind = ? AND revoked = 0 AND approves = 0"
                " ORDER BY created_s DESC, rowid DESC LIMIT 1",
                InviteKind.NODE.value,
            )
            return None if row is None else code_value(row, book, now_s)

        return await self._engine.read(work)

    async def revoke(self, actor: Call, code_id: str) -> Invite:
        """Make a code unusable from now on; ConflictError if it is already."""

        def work(tx: Transaction) -> Invite:
            row = tx.one(f"{SELECT} WHERE id = ?", code_id)
            known = None if row is None else code_value(row, tx.book, tx.now_s)
            require_revocable(actor, known, tx.decider(actor))
            if known is None:
                raise no_such_code()
            tx.run("UPDATE codes SET revoked = 1 WHERE id = ?", code_id)
            tx.audit(actor, "invite-revoke", code_id)
            return replace(known, revoked=True, uses=uses_of(tx.db, code_id))

        return await self._engine.write(work, caller=actor, action="invite-revoke", target=code_id)

    async def redeemed(self, code_id: str, key_digest: bytes) -> Redemption | None:
        """Return what the same key was answered before; None where the code can be redeemed."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()

        def work(db: apsw.Connection) -> Redemption | None:
            code = code_value(rows.fetch(db, f"{SELECT} WHERE id = ?", code_id), book, now_s)
            require_admissible_key(key_digest, book)
            answer = redeeming.stored_answer(db, book, code_id, key_digest)
            if answer is None:
                require_open(code, now_s)
            return answer

        return await self._engine.read(work)

    async def redeem(
        self,
        code_id: str,
        key_digest: bytes,
        made: IssuedCertificate,
        *,
        display_name: str = "",
        request_id: str = "",
    ) -> Redemption:
        """Count one use and store all that comes of it, in one transaction."""
        randomness = self._engine.randomness
        return await self._engine.change(
            lambda tx: redeeming.redeem(
                tx, randomness, code_id, key_digest, made, display_name, request_id
            )
        )

    async def has_redeemed(self, identity: SpiffeId, key_digest: bytes) -> bool:
        """Tell whether ``identity`` was given by a code, or certified, to the key of that SHA-256."""

        def work(db: apsw.Connection) -> bool:
            sql = (
                "SELECT 1 FROM redemptions WHERE identity = ?1 AND key_digest = ?2"
                " UNION ALL SELECT 1 FROM issued WHERE identity = ?1 AND key_digest = ?2"
            )
            return rows.fetch(db, sql, str(identity), key_digest) is not None

        return await self._engine.read(work)


def _made_by(tx: Transaction, actor: Call) -> CodesMade:
    today, today_bytes = tx.one(
        "SELECT count(*), coalesce(sum(weight), 0) FROM codes WHERE created_by = ?"
        " AND created_s > ?",
        str(actor.principal),
        tx.now_s - _DAY_S,
    )
    still_open = tx.value(
        "SELECT count(*) FROM codes WHERE created_by = ? AND revoked = 0 AND uses_left > 0"
        " AND expires_s > ?",
        str(actor.principal),
        tx.now_s,
    )
    total = tx.value("SELECT coalesce(sum(weight), 0) FROM codes")
    return CodesMade(today, today_bytes, still_open, total)


def _weigh(code: Invite) -> int:
    """Return at least the bytes that a code has on the wire."""
    grants = sum(len(str(path).encode()) + 16 for path, _ in code.grants)
    uses = sum(len(str(use.identity)) + 16 for use in code.uses)
    return grants + uses + len(code.description.encode()) + len(str(code.created_by)) + 150
