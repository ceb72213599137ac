"""The rows of codes as values."""

from __future__ import annotations

import json
from typing import Any

import apsw

from collective.access.grant_book import GrantBook
from collective.core.errors import NotFoundError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.people import Invite, InviteKind, InviteUse
from collective.model.rights import GrantTerms, Right

SELECT = (
    "SELECT id, kind, verifier, uses_left, uses_total, expires_s, created_by, description, grants,"
    " revoked, created_s, bound, grants_expire_s, sources, created_key, approves FROM codes"
)


def code_value(row: Any, book: GrantBook, now_s: float) -> Invite:
    """Return the code in a row of SELECT, judged by ``book``; NotFoundError for None."""
    if row is None:
        raise no_such_code()
    maker = SpiffeId.parse(row[6])
    sources = [one for per_grant in json.loads(row[13]) for one in per_grant]
    return Invite(
        row[0],
        InviteKind(row[1]),
        row[2],
        row[3],
        row[4],
        row[5],
        maker,
        row[7],
        tuple(
            GrantTerms(FilePath.parse(path), Right(rights)) for path, rights in json.loads(row[8])
        ),
        bool(row[9]),
        row[10],
        None if row[11] is None else SpiffeId.parse(row[11]),
        row[12],
        void=book.is_revoked(maker) or book.is_revoked_key(row[14]) or book.until(sources) <= now_s,
        approves=bool(row[15]),
    )


def no_such_code() -> NotFoundError:
    """Return the error for a code that is not there."""
    return NotFoundError("There is no such invite; run: collective invite list")


def uses_of(db: apsw.Connection, code_id: str) -> tuple[InviteUse, ...]:
    """Return who redeemed a code, in order of time."""
    found: Any = db.execute(
        "SELECT identity, at_ms FROM redemptions WHERE code = ? ORDER BY at_ms LIMIT 1000",
        (code_id,),
    ).fetchall()
    return tuple(InviteUse(SpiffeId.parse(identity), at_ms) for identity, at_ms in found)
