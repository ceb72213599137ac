"""Redemption: use, certificate, identity, key, grants and audit in one transaction."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from collective.access.model import Caller, Grant, Right
from collective.catalog.model import CodeKind, CodeRecord, IssuedCertificate, Redemption
from collective.catalog.sqlite.codes import SELECT, code_value
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.grants import insert_grants
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import ConflictError
from collective.core.ids import SpiffeId
from collective.core.randomness import hex_id

_REFUSALS = {
    "revoked": "This invite was revoked; ask for a new one.",
    "expired": "This invite has expired; ask for a new one.",
    "used up": "This invite is used up; ask for a new one.",
    "void": "This invite is void, since whoever made it lost the right to; ask for a new one.",
}


class RedeemingPart(Part):
    """``Trust.redeem`` and node numbers."""

    async def redeem(
        self,
        code_id: str,
        key_digest: bytes,
        issue: Callable[[CodeRecord], IssuedCertificate],
        *,
        display_name: str = "",
        request_id: str = "",
    ) -> Redemption:
        """Count one use and store all that comes of it, in one transaction."""
        randomness = self._engine.randomness

        def work(tx: Transaction) -> Redemption:
            row = tx.one(f"{SELECT} WHERE id = ?", code_id)
            code = code_value(row, tx.book, tx.now_s)
            before = tx.one(
                "SELECT identity, certificate FROM redemptions WHERE code = ? AND key_digest = ?",
                code_id,
                key_digest,
            )
            if before is not None:
                _require_not_revoked(tx, SpiffeId.parse(before[0]))
                return Redemption(code_id, key_digest, SpiffeId.parse(before[0]), before[1])
            state = code.state(tx.now_s)
            if state != "open":
                raise ConflictError(_REFUSALS[state])
            made = issue(code)
            _require_not_revoked(tx, made.identity)
            if made.identity.role == "user":
                _bind_key(tx, code, made.identity, key_digest, display_name)
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
            tx.run(
                "INSERT OR IGNORE INTO issued VALUES (?,?,?)",
                made.serial,
                str(made.identity),
                made.expires_ms,
            )
            if code.kind is CodeKind.USER:
                sources = json.loads(row[13])
                insert_grants(
                    tx,
                    [
                        _grant(tx, hex_id(randomness), made.identity, code, number, sources)
                        for number in range(len(code.grants))
                    ],
                )
            caller = Caller(made.identity, is_operator=False, request_id=request_id)
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


def _grant(
    tx: Transaction,
    grant_id: str,
    principal: SpiffeId,
    code: CodeRecord,
    number: int,
    sources: list[list[str]],
) -> Grant:
    path, rights = code.grants[number]
    came_from = tuple(sources[number]) if number < len(sources) else ()
    until_s = tx.book.until(came_from)
    return Grant(
        grant_id,
        path,
        Right(rights),
        principal,
        code.created_by,
        None if until_s == math.inf else until_s,
        came_from,
    )


def _require_not_revoked(tx: Transaction, identity: SpiffeId) -> None:
    if tx.book.is_revoked(identity):
        who = identity.global_id or identity
        raise ConflictError(f"{who} was revoked here; ask the operator for another identity.")


def _bind_key(
    tx: Transaction, code: CodeRecord, identity: SpiffeId, key_digest: bytes, display_name: str
) -> None:
    """Bind the key to the identity; a USER code never adds a key to one that has another."""
    keys = {
        bytes(row[0])
        for row in tx.all("SELECT key_digest FROM identity_keys WHERE principal = ?", str(identity))
    }
    if key_digest not in keys and code.kind is CodeKind.USER:
        if keys:
            raise ConflictError(
                f"{identity.global_id} belongs to another key already; run 'collective identity"
                " add-device' on the machine that has it, or choose another global id."
            )
        if tx.book.holds_any(identity):
            # It was given rights before it joined here (its certificate may be of 'pki issue'):
            # whoever holds any invite could otherwise take them over by naming it.
            raise ConflictError(
                f"{identity.global_id} has rights here already, so an invite cannot claim it; have"
                " the operator issue its certificate with 'collective pki issue', or choose another"
                " global id."
            )
    tx.run(
        "INSERT INTO identities VALUES (?,?,?,?) ON CONFLICT (principal) DO UPDATE SET"
        " display_name = iif(excluded.display_name = '', display_name, excluded.display_name)",
        str(identity),
        display_name,
        str(code.created_by),
        tx.now_ms,
    )
    tx.run(
        "INSERT OR IGNORE INTO identity_keys VALUES (?,?,?,?)",
        str(identity),
        key_digest,
        code.id,
        tx.now_ms,
    )
