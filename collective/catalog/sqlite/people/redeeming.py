"""Redemption: use, certificate, identity, key, grants and audit in one transaction."""

from __future__ import annotations

import json

import apsw

from collective.access.grant_book import GrantBook
from collective.catalog.decisions.codes import (
    passed_on,
    require_admissible,
    require_admissible_key,
    require_open,
)
from collective.catalog.interface.values import IssuedCertificate, Redemption
from collective.catalog.sqlite.nodes.nodes import record_enrolment
from collective.catalog.sqlite.people.codes import SELECT, code_value
from collective.catalog.sqlite.people.grant_places import require_places
from collective.catalog.sqlite.people.grants import insert_grants
from collective.catalog.sqlite.people.keys import bind_by_code, store_issued
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Part
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import SpiffeId
from collective.core.randomness import hex_id
from collective.model.calls import Call
from collective.model.people import InviteKind


class RedeemingPart(Part):
    """``Trust.redeemed``, ``Trust.redeem`` and node numbers."""

    async def redeemed(self, code_id: str, key_digest: bytes) -> Redemption | None:
        """Return what the same key was answered before; None where the code can be redeemed."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()

        def work(db: apsw.Connection) -> Redemption | None:
            code = code_value(rows.fetch(db, f"{SELECT} WHERE id = ?", code_id), book, now_s)
            require_admissible_key(key_digest, book)
            answer = _stored_answer(db, book, code_id, key_digest)
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

        def work(tx: Transaction) -> Redemption:
            row = tx.one(f"{SELECT} WHERE id = ?", code_id)
            code = code_value(row, tx.book, tx.now_s)
            require_admissible_key(key_digest, tx.book)
            before = _stored_answer(tx.db, tx.book, code_id, key_digest)
            if before is not None:
                return before
            require_open(code, tx.now_s)
            require_admissible(made.identity, tx.book)
            if made.identity.role == "user":
                bind_by_code(tx, code, made.identity, key_digest, display_name, created_key=row[14])
            tx.run("UPDATE codes SET uses_left = uses_left - 1 WHERE id = ?", code_id)
            tx.run(
                "INSERT INTO redemptions (code, key_digest, identity, certificate, at_ms)"
                " VALUES (?,?,?,?,?)",
                code_id,
                key_digest,
                str(made.identity),
                made.der,
                tx.now_ms,
            )
            store_issued(tx, made.identity, made.serial, made.expires_ms, key_digest)
            if made.identity.role == "node":
                # In this transaction: a crash leaves no node with a certificate and no record.
                record_enrolment(tx, made.identity.node_id, made.serial, made.expires_ms, code)
            if code.kind is InviteKind.USER:
                require_places(tx, code.created_by, made.identity, len(code.grants))
                ids = [hex_id(randomness) for _ in code.grants]
                insert_grants(tx, passed_on(code, json.loads(row[13]), made.identity, ids, tx.book))
            caller = Call(made.identity, is_operator=False, request_id=request_id)
            tx.audit(
                caller,
                "redeem",
                code_id,
                f"{code.kind.value} invite of {code.created_by}, serial {made.serial}",
            )
            return Redemption(code_id, key_digest, made.identity, made.der)

        return await self._engine.change(work)

    async def next_node_number(self) -> int:
        """Return a number for ``<member>-node-NN`` that was never given before."""

        def work(tx: Transaction) -> int:
            number: int = tx.value("SELECT next_node FROM state")
            tx.run("UPDATE state SET next_node = next_node + 1")
            return number

        return await self._engine.change(work)


def _stored_answer(
    db: apsw.Connection, book: GrantBook, code_id: str, key_digest: bytes
) -> Redemption | None:
    """Return what the same key was answered before."""
    before = rows.fetch(
        db,
        "SELECT identity, certificate FROM redemptions WHERE code = ? AND key_digest = ?",
        code_id,
        key_digest,
    )
    if before is None:
        return None
    identity = SpiffeId.parse(before[0])
    require_admissible(identity, book)
    return Redemption(code_id, key_digest, identity, before[1])
