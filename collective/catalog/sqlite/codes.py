"""Join codes and what they were redeemed for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import apsw

from collective.access.model import Caller
from collective.catalog.model import CodeKind, CodeRecord, Redemption
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.grants import insert_grant
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import ConflictError, NotFoundError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.core.randomness import hex_id

_SELECT = (
    "SELECT id, kind, verifier, uses_left, uses_total, expires_s, created_by, description, grants,"
    " revoked, created_s FROM codes"
)


class CodesPart(Part):
    """The methods of ``Trust`` about join codes."""

    async def add_code(self, actor: Caller, code: CodeRecord) -> None:
        """Store a new join code."""

        def work(tx: Transaction) -> None:
            tx.run(
                "INSERT INTO codes VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                code.id,
                code.kind.value,
                code.verifier,
                code.uses_left,
                code.uses_total,
                code.expires_s,
                str(code.created_by),
                code.description,
                json.dumps([[str(path), int(rights)] for path, rights in code.grants]),
                int(code.revoked),
                code.created_s or tx.now_s,
            )
            tx.audit(actor, "invite", code.id, f"{code.kind.value}, {code.uses_left} uses")

        await self._engine.write(work, caller=actor, action="invite", target=code.id)

    async def code(self, code_id: str) -> CodeRecord:
        """Return a code, or NotFoundError."""
        return await self._engine.read(
            lambda db: _code(rows.fetch(db, f"{_SELECT} WHERE id = ?", code_id))
        )

    async def codes(self) -> Sequence[CodeRecord]:
        """Return all codes, newest first."""

        def work(db: apsw.Connection) -> Sequence[CodeRecord]:
            found: Any = db.execute(f"{_SELECT} ORDER BY created_s DESC, rowid DESC").fetchall()
            return [_code(row) for row in found]

        return await self._engine.read(work)

    async def revoke_code(self, actor: Caller, code_id: str) -> None:
        """Make a code unusable from now on; ConflictError if it is already."""

        def work(tx: Transaction) -> None:
            code = _code(tx.one(f"{_SELECT} WHERE id = ?", code_id))
            if code.revoked:
                raise ConflictError("This invite is revoked already.")
            tx.run("UPDATE codes SET revoked = 1 WHERE id = ?", code_id)
            tx.audit(actor, "invite-revoke", code_id)

        await self._engine.write(work, caller=actor, action="invite-revoke", target=code_id)

    async def redeem(
        self,
        code_id: str,
        key_digest: bytes,
        issue: Callable[[CodeRecord], tuple[SpiffeId, str, bytes]],
    ) -> Redemption:
        """Count one use and store the certificate that ``issue`` makes, in one transaction.

        A user code's grants are given in the same transaction.
        """
        randomness = self._engine.randomness

        def work(tx: Transaction) -> Redemption:
            code = _code(tx.one(f"{_SELECT} WHERE id = ?", code_id))
            if code.revoked:
                raise ConflictError("This invite was revoked; ask for a new one.")
            before = tx.one(
                "SELECT identity, certificate FROM redemptions WHERE code = ? AND key_digest = ?",
                code_id,
                key_digest,
            )
            if before is not None:
                return Redemption(code_id, key_digest, SpiffeId.parse(before[0]), before[1])
            if code.expires_s <= tx.now_s:
                raise ConflictError("This invite has expired; ask for a new one.")
            if code.uses_left <= 0:
                raise ConflictError("This invite is used up; ask for a new one.")
            identity, serial, certificate = issue(code)
            tx.run("UPDATE codes SET uses_left = uses_left - 1 WHERE id = ?", code_id)
            tx.run(
                "INSERT INTO redemptions VALUES (?,?,?,?)",
                code_id,
                key_digest,
                str(identity),
                certificate,
            )
            if code.kind is CodeKind.USER:
                for path, rights in code.grants:
                    insert_grant(tx, hex_id(randomness), path, rights, identity, code.created_by)
            tx.audit(Caller(identity, is_operator=False), "redeem", code_id, f"serial {serial}")
            return Redemption(code_id, key_digest, identity, certificate)

        return await self._engine.change(work)

    async def next_node_number(self) -> int:
        """Return a number for ``<member>-node-NN`` that was never given before."""

        def work(tx: Transaction) -> int:
            number: int = tx.value("SELECT next_node FROM state")
            tx.run("UPDATE state SET next_node = next_node + 1")
            return number

        return await self._engine.change(work)


def _code(row: Any) -> CodeRecord:
    if row is None:
        raise NotFoundError("There is no such invite; ask for a new one.")
    return CodeRecord(
        row[0],
        CodeKind(row[1]),
        row[2],
        row[3],
        row[4],
        row[5],
        SpiffeId.parse(row[6]),
        row[7],
        tuple((FilePath.parse(path), rights) for path, rights in json.loads(row[8])),
        bool(row[9]),
        row[10],
    )
