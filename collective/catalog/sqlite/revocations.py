"""Certificates that were issued, and identities and serials that were revoked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from collective.access.model import Caller
from collective.catalog.sqlite import rows
from collective.catalog.sqlite.engine import Part
from collective.catalog.sqlite.writer import Transaction
from collective.core.errors import UsageError
from collective.core.ids import SpiffeId

SERIAL = "serial:"


class RevocationsPart(Part):
    """The methods of ``Trust`` about certificates."""

    async def add_issued(self, identity: SpiffeId, serial: str, expires_ms: int) -> None:
        """Remember a certificate that was issued."""

        def work(tx: Transaction) -> None:
            tx.run("INSERT OR IGNORE INTO issued VALUES (?,?,?)", serial, str(identity), expires_ms)
            tx.audit(Caller(identity, is_operator=False), "issue", serial)

        await self._engine.change(work)

    async def revoke(self, actor: Caller, what: str) -> int:
        """Revoke ``spiffe://…`` or ``serial:HEX``; return the new revocation epoch."""
        _check(what)

        def work(tx: Transaction) -> int:
            tx.decider(actor).require_admin("revoke certificates")
            epoch = _add(tx, [what])
            tx.audit(actor, "revoke", what)
            return epoch

        return await self._engine.write(work, caller=actor, action="revoke", target=what)

    async def learn_revocations(self, revoked: Sequence[str], *, epoch: int = 0) -> None:
        """Take back revocations that nodes remember and a restored catalogue does not.

        The epoch never falls behind ``epoch``, the highest that a node has seen: tickets from
        before it are refused there.
        """
        for what in revoked:
            _check(what)

        def work(tx: Transaction) -> None:
            known = {row[0] for row in tx.all("SELECT what FROM revocations")}
            missing = [what for what in revoked if what not in known]
            tx.run("UPDATE state SET revocation_epoch = max(revocation_epoch, ?)", epoch)
            if missing:
                _add(tx, missing)

        await self._engine.change(work)

    async def has_redeemed(self, identity: SpiffeId, key_digest: bytes) -> bool:
        """Tell whether ``identity`` was given by a code to the key of that SHA-256."""

        def work(db: apsw.Connection) -> bool:
            sql = "SELECT 1 FROM redemptions WHERE identity = ? AND key_digest = ?"
            return rows.fetch(db, sql, str(identity), key_digest) is not None

        return await self._engine.read(work)

    async def certificate_holders(self) -> Sequence[SpiffeId]:
        """Return who was issued a certificate that has not run out, each once."""

        def work(db: apsw.Connection) -> Sequence[SpiffeId]:
            found: Any = db.execute(
                "SELECT DISTINCT identity FROM issued WHERE expires_ms > ? ORDER BY identity",
                (int(self._engine.clock.wall_s() * 1000),),
            ).fetchall()
            return [SpiffeId.parse(row[0]) for row in found]

        return await self._engine.read(work)

    async def revocations(self) -> tuple[int, Sequence[str]]:
        """Return the revocation epoch and everything revoked."""

        def work(db: apsw.Connection) -> tuple[int, Sequence[str]]:
            epoch = rows.fetch(db, "SELECT revocation_epoch FROM state")[0]
            found: Any = db.execute("SELECT what FROM revocations ORDER BY what").fetchall()
            return epoch, [row[0] for row in found]

        return await self._engine.read(work)


def _check(what: str) -> None:
    if not what.startswith(SERIAL):
        SpiffeId.parse(what)
    elif not what[len(SERIAL) :] or set(what[len(SERIAL) :]) - set("0123456789abcdef"):
        raise UsageError("A serial to revoke is written serial: and lower-case hexadecimal digits.")


def _add(tx: Transaction, revoked: Sequence[str]) -> int:
    epoch: int = tx.value("SELECT revocation_epoch + 1 FROM state")
    tx.run("UPDATE state SET revocation_epoch = ?", epoch)
    for what in revoked:
        tx.run("INSERT OR IGNORE INTO revocations VALUES (?,?)", what, epoch)
    tx.reload_grants()
    return epoch
