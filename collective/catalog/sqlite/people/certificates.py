"""Certificates that were issued or seen; what their keys are bound to stands in ``keys``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from collective.catalog.decisions.codes import require_admissible_key
from collective.catalog.sqlite.people.keys import (
    bind_seen,
    keep_renewal,
    key_of_serial,
    store_issued,
)
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.errors import ConflictError, ShutOutError
from collective.core.ids import SpiffeId
from collective.model.calls import Call


class SqliteCertificates:
    """Certificates of this member's CA, and the keys that they are for."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def add_issued(
        self,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
        certificate_der: bytes = b"",
    ) -> None:
        """Remember a certificate that renews one; ConflictError if identity or key is revoked."""

        def work(tx: Transaction) -> None:
            require_admissible_key(key_digest, tx.book)
            if tx.book.is_revoked(identity):
                raise ConflictError(f"{identity.shown} was revoked here; ask the operator.")
            store_issued(tx, identity, serial, expires_ms, key_digest)
            keep_renewal(tx, identity, serial, key_digest, certificate_der)
            tx.audit(Call(identity, is_operator=False), "issue", serial)

        await self._engine.change(work)

    async def last_renewal(self, identity: SpiffeId, key_digest: bytes) -> bytes | None:
        """Return the newest certificate (DER) that renewed one of this identity and key, if kept."""

        def work(db: apsw.Connection) -> bytes | None:
            found = rows.fetch(
                db,
                "SELECT certificate FROM issued WHERE key_digest = ? AND identity = ?"
                " AND certificate IS NOT NULL",
                key_digest,
                str(identity),
            )
            return None if found is None else bytes(found[0])

        return await self._engine.read(work)

    async def see(
        self,
        issuer: SpiffeId,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
    ) -> None:
        """Take note of a certificate that is in use; bind its key if it was issued offline."""

        def look(db: apsw.Connection) -> tuple[bool, bool]:
            found = rows.fetch(db, "SELECT key_digest FROM issued WHERE serial = ?", serial)
            is_bound = identity.role != "user" or rows.fetch(
                db,
                "SELECT 1 FROM identity_keys WHERE principal = ? AND key_digest = ?",
                str(identity),
                key_digest,
            )
            return found is not None and found[0] is not None, bool(is_bound)

        is_known, is_bound = await self._engine.read(look)
        if is_known and is_bound:
            return

        def work(tx: Transaction) -> None:
            if tx.book.is_revoked_key(key_digest):
                raise ShutOutError
            if identity.role == "user":
                bind_seen(tx, issuer, identity, key_digest)
            store_issued(tx, identity, serial, expires_ms, key_digest)

        await self._engine.change(work)

    async def key_of(self, serial: str) -> bytes | None:
        """Return the SHA-256 of the key of a certificate, or None where that is not known."""

        def work(db: apsw.Connection) -> bytes | None:
            return key_of_serial(db, serial)

        return await self._engine.read(work)

    async def holders(self) -> Sequence[SpiffeId]:
        """Return who was issued a certificate that has not run out, each once."""

        def work(db: apsw.Connection) -> Sequence[SpiffeId]:
            found: Any = db.execute(
                "SELECT DISTINCT identity FROM issued WHERE expires_ms > ? AND NOT EXISTS"
                " (SELECT 1 FROM revocations WHERE what IN"
                " ('serial:' || serial, 'key:' || lower(hex(key_digest)))) ORDER BY identity",
                (self._engine.now_ms(),),
            ).fetchall()
            return [SpiffeId.parse(row[0]) for row in found]

        return await self._engine.read(work)
