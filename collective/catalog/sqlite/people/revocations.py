"""Identities, serials and keys that were revoked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apsw

from collective.access.permissions import Decider
from collective.catalog.decisions.revocations import KEY, SERIAL, require_form, require_revoker
from collective.catalog.sqlite.people.keys import key_of_serial
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.errors import PermissionDeniedError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.people import Consequences


class SqliteRevocations:
    """What was revoked, for good."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def all(self) -> tuple[int, Sequence[str]]:
        """Return the revocation epoch and everything revoked."""

        def work(db: apsw.Connection) -> tuple[int, Sequence[str]]:
            epoch = rows.fetch(db, "SELECT revocation_epoch FROM state")[0]
            found: Any = db.execute("SELECT what FROM revocations ORDER BY what").fetchall()
            return epoch, [row[0] for row in found]

        return await self._engine.read(work)

    async def revoke(self, actor: Call, what: str) -> int:
        """Revoke ``spiffe://…``, ``key:HEX`` or ``serial:HEX`` with its key; return the epoch."""
        require_form(what)

        def work(tx: Transaction) -> int:
            _require_revoker(tx.db, tx.decider(actor), actor, what)
            key = _key_ended_by(tx.db, what)
            with_it = [KEY + key.hex()] if what.startswith(SERIAL) and key is not None else []
            entries = [what, *with_it]
            epoch = _add(tx, entries)
            _end_device_codes(tx, entries)
            tx.audit(actor, "revoke", what, ", ".join(with_it))
            return epoch

        return await self._engine.write(work, caller=actor, action="revoke", target=what)

    async def require_revoker(self, caller: Call, what: str) -> None:
        """Raise PermissionDeniedError unless ``caller`` may revoke ``what``, as :meth:`revoke`."""

        def work(db: apsw.Connection) -> None:
            _require_revoker(db, self._engine.decider(caller), caller, what)

        try:
            await self._engine.read(work)
        except PermissionDeniedError as error:
            error.concerns = ("revoke", what)
            raise

    async def consequences(self, entries: Sequence[str]) -> Consequences:
        """Return what would end with ``entries``."""
        book, now_s = self._engine.writer.book, self._engine.clock.wall_s()
        who = {SpiffeId.parse(one) for one in entries if not one.startswith((SERIAL, KEY))}
        keys = {bytes.fromhex(one.removeprefix(KEY)) for one in entries if one.startswith(KEY)}
        held = [grant for one in who for grant in (*book.given_to(one), *book.given_by(one))]
        gone = set(book.removing(grant.id for grant in held)[1])
        ended = (one for one in book.all() if one.id in gone and book.is_live(one, now_s))
        losers = {grant.principal for grant in ended} - who

        def work(db: apsw.Connection) -> Consequences:
            invites = 0
            for maker, key, sources in db.execute(
                "SELECT created_by, created_key, sources FROM codes WHERE ended_s IS NULL"
                " AND revoked = 0 AND uses_left > 0 AND expires_s > ?",
                (now_s,),
            ):
                own = SpiffeId.parse(maker) in who or key in keys
                invites += own or any(one in gone for some in json.loads(sources) for one in some)
            owned: Any = db.execute(
                "SELECT e.name, d.owner FROM datastores d JOIN entries e ON e.id = d.entry"
                " WHERE d.owner IS NOT NULL ORDER BY e.name"
            ).fetchall()
            names = {str(one) for one in who}
            return Consequences(
                losers=tuple(sorted(losers, key=str)),
                invites=invites,
                datastores=tuple(
                    FilePath.parse(f"/{name}") for name, owner in owned if owner in names
                ),
            )

        return await self._engine.read(work)

    async def learn(self, revoked: Sequence[str], *, epoch: int = 0) -> None:
        """Take back revocations that nodes remember and a restored catalogue does not.

        The epoch never falls behind ``epoch``, the highest that a node has seen: tickets from
        before it are refused there.
        """
        for what in revoked:
            require_form(what)

        def work(tx: Transaction) -> None:
            known = {row[0] for row in tx.all("SELECT what FROM revocations")}
            missing = [what for what in revoked if what not in known]
            tx.run("UPDATE state SET revocation_epoch = max(revocation_epoch, ?)", epoch)
            if missing:
                _add(tx, missing)
            for what in missing:
                tx.audit_of("coordinator", "revoke", what, "learned back from a node")

        await self._engine.change(work)


def _require_revoker(db: apsw.Connection, decider: Decider, actor: Call, what: str) -> None:
    own = f"{KEY}{actor.key_digest.hex()}"
    key = _key_ended_by(db, what)
    is_own = key is not None and _is_only_of(db, actor.principal, key)
    ended = "SELECT 1 FROM revocations WHERE what IN (?, ?)"
    is_ended = (
        is_own
        and not decider.is_admin
        and rows.fetch(db, ended, own, str(actor.principal)) is not None
    )
    require_revoker(decider, what, key, is_own=is_own, is_ended=is_ended)


def _key_ended_by(db: apsw.Connection, what: str) -> bytes | None:
    """Return the SHA-256 of the key that is revoked with ``what``, if there is one and it is known."""
    if what.startswith(SERIAL):
        return key_of_serial(db, what.removeprefix(SERIAL))
    return bytes.fromhex(what.removeprefix(KEY)) if what.startswith(KEY) else None


def _is_only_of(db: apsw.Connection, identity: SpiffeId, key_digest: bytes) -> bool:
    """Tell whether a key belongs to ``identity`` and to nobody else."""
    found: Any = db.execute(
        "SELECT DISTINCT principal FROM identity_keys WHERE key_digest = ?", (key_digest,)
    ).fetchall()
    return [row[0] for row in found] == [str(identity)]


def revoke_node(tx: Transaction, actor: Call, identity: SpiffeId) -> int:
    """Revoke the identity of a node that is taken away; return the epoch."""
    epoch = _add(tx, [str(identity)])
    tx.audit(actor, "revoke", str(identity))
    return epoch


def _add(tx: Transaction, revoked: Sequence[str]) -> int:
    epoch: int = tx.value("SELECT revocation_epoch + 1 FROM state")
    tx.run("UPDATE state SET revocation_epoch = ?", epoch)
    for what in revoked:
        tx.run("INSERT OR IGNORE INTO revocations VALUES (?,?)", what, epoch)
    tx.book = tx.book.revoking(
        (SpiffeId.parse(what) for what in revoked if not what.startswith((SERIAL, KEY))),
        (bytes.fromhex(what.removeprefix(KEY)) for what in revoked if what.startswith(KEY)),
    )
    return epoch


def _end_device_codes(tx: Transaction, revoked: Sequence[str]) -> None:
    """End the device codes of which the maker's key was not kept, if it may be a revoked one."""
    for what in revoked:
        if what.startswith(KEY):
            tx.run(
                "UPDATE codes SET revoked = 1 WHERE kind = 'device' AND created_key IS NULL"
                " AND created_by IN (SELECT principal FROM identity_keys WHERE key_digest = ?)",
                bytes.fromhex(what.removeprefix(KEY)),
            )
