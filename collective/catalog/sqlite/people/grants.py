"""Grants: given, listed, ended with what came from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import apsw

from collective.access.permissions import describe
from collective.catalog.decisions.grants import as_given, require_may_end
from collective.catalog.decisions.peers import require_voucher
from collective.catalog.sqlite.people.grant_places import require_places
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.paging import page_of, parse_token
from collective.catalog.sqlite.store.writer import Transaction
from collective.core import limits
from collective.core.errors import UsageError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.core.randomness import hex_id
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.pages import Page
from collective.model.rights import Right

DROPPED_AT_ONCE: Final = 200
"""Grants that are deleted with the one that they came from."""


class SqliteGrants:
    """Rights on paths, given by one identity to another."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def add(
        self,
        caller: Call,
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
            wanted = Grant(grant_id, path, rights, principal, caller.principal, expires_s)
            grant = as_given(tx.decider(caller), tx.book, wanted, tx.now_s)
            state = tx.value("SELECT state FROM peers WHERE domain = ?", principal.trust_domain)
            require_voucher(principal.trust_domain, state)
            require_places(tx, caller, principal, 1)
            insert_grants(tx, [grant])
            tx.audit(caller, "grant", str(path), f"{describe(rights)} to {principal}")
            return grant

        return await self._engine.write(work, caller=caller, action="grant", target=str(path))

    async def list(
        self, caller: Call, *, token: str = "", max_bytes: int = limits.ANSWER_MAX_BYTES
    ) -> Page[Grant]:
        """Return a page of the caller's live grants and what came from them; of all for an admin."""
        book = self._engine.writer.book
        now_s = self._engine.clock.wall_s()
        is_admin = self._engine.decider(caller).is_admin
        after = parse_token(token, str, str, str)

        def work(_: apsw.Connection) -> Page[Grant]:
            found = book.live(now_s) if is_admin else book.below(caller.principal, now_s)
            if after is not None:
                last = (FilePath.parse(after[0]), after[1], after[2])
                found = [grant for grant in found if _order(grant) > last]
            return page_of(
                sorted(found, key=_order), weigh=_weigh, key=_token_key, max_bytes=max_bytes
            )

        return await self._engine.read(work)  # off the loop: there may be many

    async def own(self, caller: Call) -> Sequence[Grant]:
        """Return the live grants of the caller alone, in order of path."""
        found = self._engine.writer.book.of(caller.principal, self._engine.clock.wall_s())
        return sorted(found, key=_order)

    async def remove(self, caller: Call, grant_id: str) -> None:
        """End a grant, and with it what was passed on under it."""

        def work(tx: Transaction) -> None:
            is_admin = tx.decider(caller).is_admin
            grant = require_may_end(tx.book.get(grant_id), caller, is_admin=is_admin)
            drop_grant(tx, grant_id)
            tx.audit(caller, "ungrant", str(grant.path), f"from {grant.principal}")

        await self._engine.write(work, caller=caller, action="ungrant", target=grant_id)


def _order(grant: Grant) -> tuple[FilePath, str, str]:
    return (grant.path, str(grant.principal), grant.id)


def _token_key(grant: Grant) -> tuple[str, str, str]:
    return (str(grant.path), str(grant.principal), grant.id)


def _weigh(grant: Grant) -> int:
    """Return at least the bytes that a grant has on the wire."""
    names = len(str(grant.path).encode()) + len(str(grant.principal)) + len(str(grant.granted_by))
    return names + 100 + sum(len(one) + 4 for one in grant.sources)


def insert_grants(tx: Transaction, grants: Sequence[Grant]) -> None:
    """Write grants and take them into account."""
    for grant in grants:
        tx.run(
            "INSERT INTO grants (id, path, rights, principal, granted_by, expires_s, sources)"
            " VALUES (?,?,?,?,?,?,?)",
            grant.id,
            str(grant.path),
            int(grant.rights),
            str(grant.principal),
            str(grant.granted_by),
            grant.expires_s,
            json.dumps(list(grant.sources)),
        )
    if grants:
        tx.book = tx.book.adding(grants)


def drop_grant(tx: Transaction, grant_id: str) -> None:
    """End a grant, and with it what came from it."""
    drop_grants(tx, [grant_id])


def drop_grants(tx: Transaction, grant_ids: Sequence[str]) -> None:
    """End grants, and with them what came from them: of that a bounded part is deleted at once.

    The rest holds no more from now on, since what it came from is gone, and goes when it is swept.
    """
    tx.book, gone = tx.book.removing(grant_ids, DROPPED_AT_ONCE)
    for one in gone:
        tx.run("DELETE FROM grants WHERE id = ?", one)
