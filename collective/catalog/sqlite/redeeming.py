"""Redemption: use, certificate, identity, key, grants and audit in one transaction."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from collective.catalog.interface.values import IssuedCertificate, Redemption
from collective.catalog.sqlite.codes import SELECT, code_value
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.grant_places import require_places
from collective.catalog.sqlite.grants import insert_grants
from collective.catalog.sqlite.keys import bind_by_code, require_key, store_issued
from collective.catalog.sqlite.nodes import record_enrolment
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import ConflictError, NameTakenError
from collective.core.ids import SpiffeId
from collective.core.randomness import hex_id
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.people import Invite, InviteKind

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
        issue: Callable[[Invite], IssuedCertificate],
        *,
        display_name: str = "",
        request_id: str = "",
    ) -> Redemption:
        """Count one use and store all that comes of it, in one transaction."""
        randomness = self._engine.randomness

        def work(tx: Transaction) -> Redemption:
            row = tx.one(f"{SELECT} WHERE id = ?", code_id)
            code = code_value(row, tx.book, tx.now_s)
            require_key(tx, key_digest)
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
                sources = json.loads(row[13])
                require_places(tx, code.created_by, made.identity, len(code.grants))
                insert_grants(
                    tx,
                    [
                        _grant(tx, hex_id(randomness), made.identity, code, number, sources)
                        for number in range(len(code.grants))
                    ],
                )
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


def _grant(
    tx: Transaction,
    grant_id: str,
    principal: SpiffeId,
    code: Invite,
    number: int,
    sources: list[list[str]],
) -> Grant:
    path, rights = code.grants[number]
    came_from = tuple(sources[number]) if number < len(sources) else ()
    until_s = tx.book.until(came_from)
    return Grant(
        grant_id,
        path,
        rights,
        principal,
        code.created_by,
        None if until_s == math.inf else until_s,
        came_from,
    )


def _require_not_revoked(tx: Transaction, identity: SpiffeId) -> None:
    if tx.book.is_revoked(identity):
        who = identity.global_id or identity
        raise NameTakenError(f"{who} was revoked here; ask the operator for another identity.")
